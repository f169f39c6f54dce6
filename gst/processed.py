"""Reading the training photos of GST: annotations and Gaussians that belong together."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from crowd.data.images import read_size
from crowd.data.processed import PREPROCESS, read_annotation, require_beside, split_photos
from crowd.io.errors import InputError
from GS2D.store import gaussians_path, read_gaussians, stand_at
from gst.augment import box_sides
from gst.heads import round_scales
from gst.photos import Preprocessing
from gst.preprocess import target_size

FIT = "run 2dgs_counting_1gs_gsplat.py again"


def training_photos(data_dir: str | os.PathLike, fitted: bool = True) -> list[Path]:
    """Return the training photos.

    Raises `InputError` when annotations are missing or, with `fitted`, Gaussians.
    """
    paths = split_photos(data_dir, "train")
    if fitted:
        require_beside(paths, gaussians_path, "Gaussians", FIT)
    return paths


def read_heads(
    path: Path, preprocessing: Preprocessing, fitted: bool = True
) -> tuple[np.ndarray, ...]:
    """Read points [N, 2], scales [N, 2], rotations [N] and box sides [N] of a training photo.

    A Gaussian whose scales were not fitted (NaN) becomes round with a sixth of its head's extent
    (released code); without `fitted` all are, and no file of Gaussians is read.
    Raises `InputError` naming the file that does not fit.
    """
    size = read_size(path)
    if target_size(*size, preprocessing.min_size, preprocessing.max_size) != size:
        raise InputError(
            f"{path} is {size[0]} × {size[1]} although short sides must lie in "
            f"[{preprocessing.min_size}, {preprocessing.max_size}]: {PREPROCESS}"
        )
    annotation = read_annotation(path, columns=3)
    points, extents = annotation[:, :2], annotation[:, 2]
    unfitted = round_scales(extents)
    if not fitted:
        return points, unfitted, np.zeros_like(extents), box_sides(extents)
    params = _read_fit(path, points)
    whole = np.isfinite(params[:, 2:4]).all(axis=1, keepdims=True)
    scales = np.where(whole, params[:, 2:4], unfitted)
    return points, scales, params[:, 4], box_sides(extents)


def _read_fit(path: Path, points: np.ndarray) -> np.ndarray:
    """Read the Gaussians [N, 8] of a photo; raise `InputError` when they are of other heads."""
    params = read_gaussians(gaussians_path(path))
    if len(params) != len(points):
        raise InputError(
            f"{gaussians_path(path)} holds {len(params)} Gaussians for {len(points)} heads: {FIT}"
        )
    if not stand_at(params, points):
        raise InputError(f"{gaussians_path(path)} has its Gaussians at other points: {FIT}")
    return params
