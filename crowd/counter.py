"""A trained counter from its checkpoint alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import nn

from crowd.checkpoints import load_checkpoint, load_weights
from crowd.devices import place
from crowd.errors import InputError
from crowd.photos import Preprocessing

# Where checkpoints of other people keep their weights.
WEIGHTS = ("model_state_dict", "state_dict", "model")


class Counter(NamedTuple):
    """A model in evaluation mode with what its photos need before it sees them.

    Attributes:
        model: on the requested device.
        name: of the method's `build_model`.
        preprocessing: constants of the training.
        train_median: median count of its training photos; None for weights alone.
        options: of the method's `build_model`.
    """

    model: nn.Module
    name: str
    preprocessing: Preprocessing
    train_median: float | None
    options: dict


class Method(NamedTuple):
    """What tells one paper's counters from another's.

    Attributes:
        build_model: returns the network of a name, with options.
        models: known names.
        preprocessing: class of the constants that a checkpoint holds.
        command: that trains.
        option: of the command line that names a model.
    """

    build_model: Callable[..., nn.Module]
    models: Collection[str]
    preprocessing: type[Preprocessing]
    command: str
    option: str


def load_counter(
    path: str | os.PathLike, device: torch.device, method: Method, model_name: str | None = None
) -> Counter:
    """Rebuild a counter from a checkpoint of a training, or from a plain state dict.

    Args:
        path: `best.pth` or `last.pth` of a run, or weights as the authors released them (with or
            without `module.`, possibly under `model_state_dict` or `state_dict`).
        device: where the model shall be.
        method: that the counter must be of.
        model_name: needed for plain weights; otherwise must agree with the checkpoint.

    Raises:
        InputError: the file is damaged, holds another model or weights that are not finite, or
            needs a model name.
    """
    state = load_checkpoint(path)
    recipe = state.get("recipe")
    if recipe is None:
        weights = next((state[key] for key in WEIGHTS if isinstance(state.get(key), dict)), state)
        name, options, median = model_name, {}, None
        preprocessing = method.preprocessing()
        if name is None:
            raise InputError(
                f"{path} does not say which model it holds: add {method.option} "
                f"({', '.join(method.models)})"
            )
    else:
        weights, name, options = evaluated_weights(state), recipe["model_name"], {}
        if name not in method.models:
            raise InputError(
                f"{path} holds a model of another method ({name}): name one of {method.command}"
            )
        if model_name not in (None, name):
            raise InputError(f"{path} holds {name}, not {model_name}: leave {method.option} out")
        options, median = recipe["model_options"], recipe["train_median"]
        preprocessing = method.preprocessing(**recipe["preprocessing"])
    model = method.build_model(name, **options)
    _require_finite(weights, path)
    load_weights(model, weights, path)
    return Counter(place(model, device).eval(), name, preprocessing, median, options)


def evaluated_weights(state: dict) -> dict:
    """Return the weights that a checkpoint is tested with: the moving average if it has one."""
    average = state.get("average")
    if average is None:
        return state["model"]
    return {name: value for name, value in average.items() if name != "n_averaged"}


def _require_finite(weights: dict, path: str | os.PathLike) -> None:
    for name, value in weights.items():
        if isinstance(value, torch.Tensor) and not value.isfinite().all():
            raise InputError(
                f"{path} holds weights that are not finite ({name}): name a checkpoint from before "
                "the training diverged"
            )
