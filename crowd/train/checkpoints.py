"""Checkpoints: written whole or not at all, read without executing anything, loaded strictly."""

import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crowd.io.errors import InputError
from crowd.io.files import atomic_path, require_file, unreadable

# Published checkpoints hold figures such as their best MAE as numpy scalars, of numpy 1 or 2.
_SCALAR = np.float64(0).__reduce__()[0]
_NUMPY_SCALARS = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"},
]


def save_checkpoint(path: str | os.PathLike, **state) -> None:
    """Write tensors, numbers, strings and containers of them atomically; the same bytes again."""
    with atomic_path(path) as part:
        try:
            # Of a file that is named torch writes the name into it.
            with open(part, "wb") as file:
                torch.save(state, file)
        except RuntimeError as error:  # torch's, for a full disk
            raise OSError("torch stopped half-way, most likely for want of room") from error


def load_checkpoint(path: str | os.PathLike) -> dict:
    """Read a checkpoint on the CPU with `weights_only`; raise `InputError` when it is not one."""
    path = require_file(path, "name a checkpoint that a training command wrote")
    try:
        packed = _is_packed(path)
        with torch.serialization.safe_globals(_NUMPY_SCALARS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            state = {} if packed else torch.load(path, map_location="cpu", weights_only=True)
    # A damaged pickle or archive may raise anything.
    except Exception as error:
        damage = "is damaged or not a checkpoint of tensors alone: copy it again or train anew"
        raise unreadable(path, error, damage) from error
    if packed:
        raise InputError(f"{path} is compressed, which no checkpoint is: save it with torch again")
    if not isinstance(state, dict):
        raise InputError(f"{path} holds no dictionary of weights: name a checkpoint of this model")
    return state


def save_release(path: str | os.PathLike, state: dict, weights: dict) -> None:
    """Write `weights` in half precision, and of a training's `state` what rebuilds its counter."""
    half = {
        name: value.half() if value.is_floating_point() else value
        for name, value in weights.items()
    }
    save_checkpoint(path, model=half, recipe=state["recipe"])


def _is_packed(path: Path) -> bool:
    """Whether a part of the archive is compressed, so that it may unpack to any size."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist())


def load_weights(model: nn.Module, weights: dict, path: str | os.PathLike) -> None:
    """Load `weights` into `model` strictly, with or without DataParallel's `module.` prefix.

    Raises `InputError` listing missing, unexpected and misshapen names, or naming weights that are
    not finite; the model stays as it was.
    """
    weights = require_fit(model, weights, path)
    # After the shapes: a tensor of a file can be one number that stands for any size.
    for name, value in weights.items():
        if not value.isfinite().all():
            raise InputError(
                f"{path} holds weights that are not finite ({name}): name a checkpoint from before "
                "the training diverged"
            )
    model.load_state_dict(weights)


def require_fit(model: nn.Module, weights: dict, path: str | os.PathLike) -> dict:
    """Return `weights` without the prefix `module.`; only names and shapes are looked at.

    Raises `InputError` listing missing, unexpected and misshapen names.
    """
    weights = {str(name).removeprefix("module."): value for name, value in weights.items()}
    expected = model.state_dict()
    faults = {
        "missing": [name for name in expected if name not in weights],
        "unexpected": [name for name in weights if name not in expected],
        "of another shape": [
            name
            for name, value in expected.items()
            if name in weights and not _fits(weights[name], value)
        ],
    }
    if any(faults.values()):
        listed = "; ".join(f"{kind}: {_first(names)}" for kind, names in faults.items() if names)
        raise InputError(f"{path} does not fit this model ({listed}): name the model that made it")
    return weights


def _fits(value: object, expected: Tensor) -> bool:
    """Whether a value from a file is a tensor of that shape, and an ordinary one."""
    if not isinstance(value, Tensor) or value.is_nested or value.layout != torch.strided:
        return False
    return value.shape == expected.shape and not value.is_meta and not value.is_quantized


def _first(names: list[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
