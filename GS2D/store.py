"""Stored Gaussians: `gs_params/NAME_gs_params.h5` beside the photos.

The dataset `params`, float32 [N, 8], holds x, y, s0, s1, theta, r, g, b of every head: centre and
standard deviations in pixels of the photo, angle of the first axis in radians, colour in [0, 1].
Row i belongs to row i of the annotation.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from crowd.errors import InputError
from crowd.files import read_h5, write_h5

FOLDER = "gs_params"
SUFFIX = "_gs_params.h5"
COLUMNS = ("x", "y", "s0", "s1", "theta", "r", "g", "b")
_REMEDY = "remove it and fit again with 2dgs_counting_1gs_gsplat.py"


def gaussians_path(image_path: str | os.PathLike) -> Path:
    """Where the Gaussians of a photo are stored."""
    image_path = Path(image_path)
    return image_path.parent / FOLDER / f"{image_path.stem}{SUFFIX}"


def write_gaussians(path: str | os.PathLike, params: np.ndarray) -> None:
    """Write `params` [N, 8] as float32, whole or not at all; raise `ValueError` unless finite."""
    params = np.asarray(params, dtype=np.float32)
    if params.ndim != 2 or params.shape[1] != len(COLUMNS):
        raise ValueError(f"Gaussians are [N, {len(COLUMNS)}], not {list(params.shape)}")
    if not np.isfinite(params).all():
        raise ValueError(f"{path} would hold values that are not finite")
    write_h5(path, params=params)


def read_gaussians(path: str | os.PathLike) -> np.ndarray:
    """Read Gaussians, float32 [N, 8]; scales may be NaN, which training replaces (released code).

    Raises `InputError` when the file is missing, cut short, of another shape, or when a value other
    than a scale is not finite.
    """
    params = read_h5(path, "params", _REMEDY)
    numeric = np.issubdtype(params.dtype, np.number)
    if not numeric or params.ndim != 2 or params.shape[1] != len(COLUMNS):
        raise InputError(f"{path} holds no [N, {len(COLUMNS)}] array of Gaussians: {_REMEDY}")
    params = params.astype(np.float32)
    if not np.isfinite(np.delete(params, [2, 3], axis=1)).all():
        raise InputError(f"{path} holds values that are not finite: {_REMEDY}")
    return params
