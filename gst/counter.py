"""A trained counter from its checkpoint alone."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch
from torch import nn

from crowd.checkpoints import load_checkpoint, load_weights
from crowd.devices import place
from crowd.errors import InputError
from gst.models import MODELS, build_model
from gst.photos import Preprocessing


class Counter(NamedTuple):
    """A model in evaluation mode with what its photos need before it sees them.

    Attributes:
        model: on the requested device.
        name: of `gst.build_model`.
        preprocessing: constants of the training.
        train_median: median count of its training photos; None for weights alone.
    """

    model: nn.Module
    name: str
    preprocessing: Preprocessing
    train_median: float | None


def load_counter(
    path: str | os.PathLike, device: torch.device, model_name: str | None = None
) -> Counter:
    """Rebuild a counter from a checkpoint of train_gs.py, or from a plain state dict.

    Args:
        path: `best.pth` or `last.pth` of a run, or weights as the authors released them (with or
            without `module.`, possibly under `model_state_dict`).
        device: where the model shall be.
        model_name: needed for plain weights; otherwise must agree with the checkpoint.

    Raises:
        InputError: the file is damaged, holds another model, or needs a model name.
    """
    state = load_checkpoint(path)
    recipe = state.get("recipe")
    if recipe is None:
        return _from_weights(state, path, device, model_name)
    name = recipe.get("model_name")
    if name not in MODELS:
        raise InputError(
            f"{path} holds a model of another method ({name}): name one of train_gs.py"
        )
    if model_name not in (None, name):
        raise InputError(f"{path} holds {name}, not {model_name}: leave --model-name out")
    model = build_model(name, **recipe["model_options"])
    load_weights(model, evaluated_weights(state), path)
    preprocessing = Preprocessing(**recipe["preprocessing"])
    return Counter(place(model, device).eval(), name, preprocessing, recipe["train_median"])


def evaluated_weights(state: dict) -> dict:
    """Return the weights that a checkpoint is tested with: the moving average if it has one."""
    average = state.get("average")
    if average is None:
        return state["model"]
    return {name: value for name, value in average.items() if name != "n_averaged"}


def _from_weights(
    state: dict, path: str | os.PathLike, device: torch.device, model_name: str | None
) -> Counter:
    if model_name is None:
        raise InputError(
            f"{path} does not say which model it holds: add --model-name ({', '.join(MODELS)})"
        )
    model = build_model(model_name)
    load_weights(model, state.get("model_state_dict", state), path)
    return Counter(place(model, device).eval(), model_name, Preprocessing(), None)
