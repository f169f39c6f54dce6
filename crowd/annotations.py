"""Annotated heads of the public data sets, and of your own CSV or JSON.

| layout | photo | annotation |
|---|---|---|
| qnrf | `Train/N.jpg`, `Test/N.jpg` | `N_ann.mat` beside it, key annPoints |
| ucf_cc_50 | `N.jpg` | `N_ann.mat` beside it, key annPoints |
| sht | `{train,test}_data/images/IMG_N.jpg` | `ground_truth/GT_IMG_N.mat`, key image_info |
| jhu | `{train,val,test}/images/N.jpg` | `gt/N.txt`: x y w h occlusion blur |
| nwpu | `images/N.jpg`, lists `train.txt` … | `jsons/N.json` (points) or `mats/N.mat` (annPoints) |
| brt | `{train,test}/frame/N.jpg` | `ground_truth/N.mat`, key loc |
| csv, json | a folder, or `train/`, `val/`, `test/` | see `crowd.annotation_tables` |
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from crowd.annotation_files import as_points, read_jhu_rows, read_mat_points, read_nwpu_json
from crowd.annotation_folders import LAYOUTS, annotation_path, find_photos
from crowd.annotation_tables import read_table_points
from crowd.depth import AUTO
from crowd.images import read_orientation, read_upright

__all__ = [
    "LAYOUTS",
    "annotation_path",
    "find_photos",
    "read_box_heights",
    "read_photo",
    "read_points",
    "upright_points",
]

MAT_KEYS = {
    "qnrf": "annPoints",
    "ucf_cc_50": "annPoints",
    "sht": "image_info",
    "nwpu": "annPoints",
    "brt": "loc",
}


def read_points(image_path: str | os.PathLike, layout: str) -> np.ndarray:
    """Read the annotated heads of one photo.

    Args:
        image_path: the photo; only its annotation is opened.
        layout: one of `LAYOUTS`.

    Returns:
        float32 [N, 2], (x, y) in pixels of the photo as stored, before any EXIF rotation; all
        points of the file, those outside the photo included.

    Raises:
        InputError: the annotation is missing, damaged, or holds anything but finite points.
    """
    path = annotation_path(image_path, layout)
    if layout in ("csv", "json"):
        return read_table_points(Path(image_path), path.suffix)
    if layout == "jhu":
        return as_points(read_jhu_rows(path)[:, :2], path)
    if path.suffix == ".json":
        return read_nwpu_json(path)
    return read_mat_points(path, MAT_KEYS[layout])


def read_photo(
    image_path: str | os.PathLike, layout: str, depth: str = AUTO
) -> tuple[np.ndarray, np.ndarray]:
    """Read a photo upright, by `depth` (see `crowd.depth`), and its heads in its upright pixels.

    Returns:
        image uint8 [H, W, 3] RGB, and points float32 [N, 2], those outside the photo included.

    Raises:
        InputError: as `read_points`, or the photo is missing, truncated or no picture.
    """
    image, orientation = read_upright(image_path, depth)
    height, width = image.shape[:2]
    return image, upright_points(read_points(image_path, layout), orientation, width, height)


def upright_points(points: np.ndarray, orientation: int, width: int, height: int) -> np.ndarray:
    """Carry points of the stored photo through its EXIF orientation.

    Args:
        points: [N, 2] in pixels as stored.
        orientation: EXIF orientation, 1 to 8.
        width: width of the upright photo, in pixels.
        height: height of the upright photo, in pixels.

    Returns:
        [N, 2] in pixels of the upright photo.
    """
    x, y = points.T if orientation < 5 else points.T[::-1]
    x = width - x if orientation in (2, 3, 6, 7) else x
    y = height - y if orientation in (3, 4, 7, 8) else y
    return np.stack([x, y], axis=1)


def read_box_heights(image_path: str | os.PathLike) -> np.ndarray:
    """Read the annotated head heights of a JHU-Crowd++ photo.

    Returns:
        float32 [N] in pixels of the upright photo, in the order of `read_points`.

    Raises:
        InputError: as `read_points`, and when the photo cannot be opened.
    """
    rows = read_jhu_rows(annotation_path(image_path, "jhu"))
    column = 3 if read_orientation(image_path) < 5 else 2
    return rows[:, column].astype(np.float32)
