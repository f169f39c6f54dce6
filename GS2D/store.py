"""Stored Gaussians: `gs_params/NAME_gs_params.h5` beside the photos.

The dataset `params`, float32 [N, 8], holds x, y, s0, s1, theta, r, g, b of every head: centre and
standard deviations in pixels of the photo, angle of the first axis in radians, colour in [0, 1].
Row i belongs to row i of the annotation.
"""

import math
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crowd.io.errors import InputError
from crowd.io.h5 import open_h5, read_dataset, read_h5, write_h5

FOLDER = "gs_params"
SUFFIX = "_gs_params.h5"
COLUMNS = ("x", "y", "s0", "s1", "theta", "r", "g", "b")
SAME_PLACE = 0.01  # pixels
_REMEDY = "remove it and run 2dgs_counting_1gs_gsplat.py again"


def gaussians_path(image_path: str | os.PathLike) -> Path:
    """Where the Gaussians of a photo are stored."""
    image_path = Path(image_path)
    return image_path.parent / FOLDER / f"{image_path.stem}{SUFFIX}"


def backup_path(path: str | os.PathLike) -> Path:
    """Where deformity elimination keeps the Gaussians of `path` as they were fitted."""
    path = Path(path)
    return path.with_name(f"{path.stem}_bk{path.suffix}")


class Report(NamedTuple):
    """How a fit ended; all NaN where a file does not tell, as released ones do not."""

    render_loss: float = math.nan
    shape_loss: float = math.nan
    iterations: float = math.nan


UNTOLD = Report()


def write_gaussians(path: str | os.PathLike, params: np.ndarray, report: Report = UNTOLD) -> None:
    """Write Gaussians [N, 8] as float32, whole or not at all.

    How the fit ended goes into the datasets `losses` (render, shape) and `iterations`. Raises
    `ValueError` for another shape, or values that are not finite; only scales may be NaN.
    """
    params = np.asarray(params, dtype=np.float32)
    if (fault := _fault(params)) is not None:
        raise ValueError(f"Gaussians for {path}: {fault}")
    losses, iterations = np.array(report[:2], np.float64), np.array(report[2:], np.float64)
    write_h5(path, params=params, losses=losses, iterations=iterations)


def read_gaussians(path: str | os.PathLike) -> np.ndarray:
    """Read Gaussians, float32 [N, 8]; scales may be NaN, which training replaces (released code).

    Raises `InputError` when the file is missing, cut short, of another shape, or when a value other
    than a scale is not finite.
    """
    params = read_h5(path, "params", _REMEDY)
    if (fault := _fault(params)) is not None:
        raise InputError(f"{path} holds {fault}: {_REMEDY}")
    return params.astype(np.float32)


def stand_at(params: np.ndarray, points: np.ndarray) -> bool:
    """Whether Gaussians [N, 8] are those of the points [M, 2], pixels: one at each, in order."""
    same_number = len(params) == len(points)
    return same_number and np.allclose(params[:, :2], points, rtol=0, atol=SAME_PLACE)


def _fault(params: np.ndarray) -> str | None:
    """What is wrong with an array of Gaussians, or None."""
    if not np.issubdtype(params.dtype, np.number):
        return "values that are not numbers"
    if params.ndim != 2 or params.shape[1] != len(COLUMNS):
        return f"an array {list(params.shape)} in place of [N, {len(COLUMNS)}]"
    if not np.isfinite(np.delete(params, [2, 3], axis=1)).all() or np.isinf(params).any():
        return "values that are not finite"
    return None


def read_report(path: str | os.PathLike) -> Report:
    """Read how the fit ended; NaN for what the file does not tell."""
    with open_h5(path, _REMEDY) as file:
        told = {"losses": UNTOLD[:2], "iterations": UNTOLD[2:]}
        for name in told.keys() & file.keys():
            told[name] = read_dataset(file, name, _REMEDY)
        return Report(*map(float, (*told["losses"], *told["iterations"])))
