"""Reading a processed set: photos, annotations and Gaussians that belong together."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from crowd.errors import InputError
from crowd.files import read_array, require_folder
from crowd.images import list_images, open_image
from GS2D.store import gaussians_path, read_gaussians
from gst.augment import box_sides
from gst.photos import Preprocessing
from gst.preprocess import target_size

PREPROCESS = "run preprocess_dataset_ucf.py again"
FIT = "run 2dgs_counting_1gs_gsplat.py again"


def split_photos(data_dir: str | os.PathLike, split: str) -> list[Path]:
    """Return the photos of a split, each of which has its annotation.

    Raises `InputError` when the folder is missing or empty, or naming photos without annotation.
    """
    folder = require_folder(
        Path(data_dir) / split, "name a set that preprocess_dataset_ucf.py wrote with --data-dir"
    )
    paths = list_images(folder)
    if not paths:
        raise InputError(f"{folder} holds no photos: {PREPROCESS} or choose another set")
    require_beside(paths, lambda path: path.with_suffix(".npy"), "annotation", PREPROCESS)
    return paths


def require_beside(
    paths: list[Path], companion: Callable[[Path], Path], what: str, remedy: str
) -> None:
    """Raise one `InputError` that names the photos whose `companion(path)` does not exist."""
    missing = [path.name for path in paths if not companion(path).is_file()]
    if missing:
        first = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise InputError(
            f"{len(missing)} of {len(paths)} photos in {paths[0].parent} have no {what} ({first}): "
            f"{remedy}"
        )


def read_annotation(path: Path, columns: int | None = None) -> np.ndarray:
    """Read the annotation beside a photo, float32 [N, 2] or [N, 3] (third: neighbour distance).

    Raises `InputError` when the array has another shape (`columns`) or holds NaN.
    """
    file = path.with_suffix(".npy")
    points = read_array(file, PREPROCESS)
    if points.ndim != 2 or points.shape[1] not in ((columns,) if columns else (2, 3)):
        raise InputError(f"{file} has shape {points.shape}, not [N, {columns or 2}]: {PREPROCESS}")
    if points.dtype.kind not in "fiu" or not np.isfinite(points).all():
        raise InputError(f"{file} holds values that are no coordinates: {PREPROCESS}")
    return points.astype(np.float32)


def photo_size(path: Path) -> tuple[int, int]:
    """Return (width, height) as stored, without decoding; raise `InputError` for no picture."""
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, SyntaxError, ValueError):
        return open_image(path).size


def read_heads(path: Path, preprocessing: Preprocessing) -> tuple[np.ndarray, ...]:
    """Read points [N, 2], scales [N, 2], rotations [N] and box sides [N] of a training photo.

    A Gaussian whose scales were not fitted (NaN) becomes round with a sixth of the distance to
    its neighbours (released code). Raises `InputError` naming the file that does not fit.
    """
    size = photo_size(path)
    if target_size(*size, preprocessing.min_size, preprocessing.max_size) != size:
        raise InputError(
            f"{path} is {size[0]} × {size[1]} although short sides must lie in "
            f"[{preprocessing.min_size}, {preprocessing.max_size}]: {PREPROCESS}"
        )
    annotation = read_annotation(path, columns=3)
    params = read_gaussians(gaussians_path(path))
    if len(params) != len(annotation):
        raise InputError(
            f"{gaussians_path(path)} holds {len(params)} Gaussians for {len(annotation)} heads: "
            f"{FIT}"
        )
    points, distances = annotation[:, :2], annotation[:, 2]
    if not np.allclose(params[:, :2], points, rtol=0, atol=0.01):
        raise InputError(f"{gaussians_path(path)} has its Gaussians at other points: {FIT}")
    fitted = np.isfinite(params[:, 2:4]).all(axis=1, keepdims=True)
    scales = np.where(fitted, params[:, 2:4], distances[:, None] / 6)
    return points, scales, params[:, 4], box_sides(distances)


def median_count(data_dir: str | os.PathLike, split: str) -> float | None:
    """Median number of heads in the photos of a split; None when the set lacks the split."""
    if not (Path(data_dir) / split).is_dir():
        return None
    return float(np.median([len(read_annotation(path)) for path in split_photos(data_dir, split)]))
