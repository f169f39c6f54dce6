"""A trained counter from its checkpoint alone."""

import dataclasses
import os
from collections.abc import Callable, Collection
from typing import NamedTuple

import torch
from torch import nn

from crowd.data.network_input import Preprocessing
from crowd.io.errors import InputError
from crowd.train.checkpoints import load_checkpoint, load_weights, require_fit
from crowd.train.devices import place

# Where checkpoints of other people keep their weights.
WEIGHTS = ("model_state_dict", "state_dict", "model")


class Counter(NamedTuple):
    """A model in evaluation mode with what its photos need before it sees them."""

    model: nn.Module  # on the requested device
    name: str  # of the method's `build_model`
    preprocessing: Preprocessing
    train_median: float | None  # median count of its training photos; None for weights alone
    options: dict  # of the method's `build_model`
    # Whether `preprocessing` is the training's, or the default for weights that come without.
    from_training: bool = True
    path: str | os.PathLike = ""  # of its checkpoint


class Method(NamedTuple):
    """What tells one paper's counters from another's."""

    build_model: Callable[..., nn.Module]  # returns the network of a name, with options
    models: Collection[str]  # known names
    preprocessing: type[Preprocessing]  # class of the constants that a checkpoint holds
    command: str  # that trains


def load_counter(
    path: str | os.PathLike,
    device: torch.device,
    model_name: str | None = None,
    *,
    method: Method,
) -> Counter:
    """Rebuild a counter from a checkpoint of a training, or from a plain state dict.

    `path` is `best.pth` or `last.pth` of a run, or weights as the authors released them (with or
    without `module.`, possibly under `model_state_dict` or `state_dict`). These need `model_name`;
    otherwise it must agree with the checkpoint.

    Raises `InputError` when the file is damaged, holds weights that are not finite or a model that
    is another one or not of `method`, or needs a model name.
    """
    state = load_checkpoint(path)
    name = named_model(state, path, model_name, method.models, method.command)
    recipe, weights = state.get("recipe"), weights_of(state, path)
    if recipe is None:
        model, options, median = method.build_model(name), {}, None
        preprocessing = method.preprocessing()
    else:
        try:
            median = recipe["train_median"]
            median = None if median is None else float(median)
            preprocessing = method.preprocessing(**recipe["preprocessing"])
            # Said here, "none" cannot be said there: nothing is downloaded or opened for a file.
            options = dict(recipe["model_options"])
            if options:
                # Built without memory first: options may ask for any size, weights of it not.
                # Without options the size is known, and torch's compiler, imported to draw random
                # weights of no memory, takes longer than counting a photo.
                with torch.device("meta"):
                    require_fit(method.build_model(name, "none", **options), weights, path)
            model = method.build_model(name, "none", **options)
        except (KeyError, TypeError, ValueError, RuntimeError, MemoryError, OverflowError) as error:
            raise InputError(
                f"{path} lacks a part, or describes a model that cannot be built: copy it again or "
                "train anew"
            ) from error
    load_weights(model, weights, path)
    model = place(model, device).eval()
    return Counter(model, name, preprocessing, median, options, recipe is not None, path)


def named_model(
    state: dict,
    path: str | os.PathLike,
    model_name: str | None,
    models: Collection[str],
    source: str,
) -> str:
    """Name of the model in a checkpoint, which `model_name` gives where the file does not say it.

    Raises `InputError` when neither does, when they differ, or when it is none of `models`, which
    `source` trains.
    """
    recipe = state.get("recipe")
    if recipe is None:
        if model_name is None:
            known = ", ".join(models)
            raise InputError(
                f"{path} does not say which model it holds: add --model-name ({known})"
            )
        return model_name
    name = str(recipe.get("model_name")) if isinstance(recipe, dict) else "unnamed"
    if name not in models:
        raise InputError(f"{path} holds a model of another method ({name}): name one of {source}")
    if model_name not in (None, name):
        raise InputError(
            f"{path} holds {name}, not {model_name}: leave --model-name, or model_name in the YAML "
            "file, out"
        )
    return name


def with_depth(counter: Counter, depth: str | None) -> Counter:
    """Read photos of more than 8 bits by `depth` (`crowd.data.images`); None: as trained."""
    if depth is None:
        return counter
    changed = dataclasses.replace(counter.preprocessing, depth=depth)
    return counter._replace(preprocessing=changed)


def weights_of(state: dict, path: str | os.PathLike) -> dict:
    """Return the weights that a checkpoint is tested with, or goes on from.

    Of a training these are the moving average if it has one; other people keep theirs under one of
    `WEIGHTS`, or nothing else in the file. Raises `InputError` when a training's are missing.
    """
    if state.get("recipe") is None:
        return next((state[key] for key in WEIGHTS if isinstance(state.get(key), dict)), state)
    try:
        if state.get("average") is None:
            return dict(state["model"])
        return {name: one for name, one in state["average"].items() if name != "n_averaged"}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} lacks a part or is damaged: copy it again") from error
