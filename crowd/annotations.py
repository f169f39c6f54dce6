"""Annotated heads of the public data sets, of labelling tools, and of your own CSV or JSON.

`crowd.data.layouts.registry` has a table of the layouts.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from crowd.data.depth import AUTO
from crowd.data.images import read_orientation, read_size, read_upright
from crowd.data.layouts.annotation import NONE, Annotation
from crowd.data.layouts.content import parse
from crowd.data.layouts.convention import (
    DEFAULT,
    PointConvention,
    in_pixels,
    require_picture,
    scale,
    upright_size,
)
from crowd.data.layouts.places import annotation_path, find_photos
from crowd.data.layouts.registry import LAYOUTS, PIXELS, STORED, UPRIGHT, layout_of
from crowd.data.layouts.tables import read_table_annotation

__all__ = [
    "LAYOUTS",
    "annotation_path",
    "find_photos",
    "read_annotation",
    "read_box_sizes",
    "read_photo",
    "read_points",
    "read_upright_points",
    "upright_points",
]


def read_annotation(image_path: str | os.PathLike, layout: str) -> Annotation:
    """Read what a photo's annotation says, in its own units and order; see `read_points`."""
    known = layout_of(layout)
    if known.table:
        return read_table_annotation(Path(image_path), layout)
    path = annotation_path(image_path, layout)
    return NONE if known.unlisted and not path.exists() else parse(path, layout)


def read_points(
    image_path: str | os.PathLike, layout: str, convention: PointConvention = DEFAULT
) -> np.ndarray:
    """Read the annotated heads of one photo.

    Args:
        image_path: the photo; it is only opened for its size, where units are relative to that.
        layout: one of `LAYOUTS`.
        convention: how the points are meant, where the layout leaves it open or is overruled.

    Returns:
        float32 [N, 2], (x, y) in pixels of the picture that the points are of: the photo as
        stored, before any EXIF rotation, in public sets; the upright photo in files of labelling
        tools. All points of the file, those outside the photo included.

    Raises:
        InputError: the annotation is missing, damaged, or holds anything but finite points.
    """
    annotation = read_annotation(image_path, layout)
    if convention.units(layout) == PIXELS or not len(annotation.points):
        return in_pixels(annotation, (1, 1), layout, convention)
    size = picture_size(image_path, layout, convention)
    return in_pixels(annotation, size, layout, convention)


def picture_size(
    image_path: str | os.PathLike, layout: str, convention: PointConvention = DEFAULT
) -> tuple[int, int]:
    """Return (width, height) in pixels of the picture that a photo's points are of."""
    orientation, size = read_orientation(image_path), read_size(image_path)
    upright = require_picture(layout, convention, image_path, orientation) == UPRIGHT
    return upright_size(size, orientation) if upright else size


def read_upright_points(
    image_path: str | os.PathLike,
    layout: str,
    orientation: int,
    size: tuple[int, int],
    convention: PointConvention = DEFAULT,
) -> np.ndarray:
    """Read a photo's heads in pixels of the upright photo.

    Args:
        image_path: as in `read_points`, and the two others that have these names.
        layout: the same.
        orientation: the photo's EXIF orientation.
        size: (width, height) of the upright photo.
        convention: the same.

    Raises:
        InputError: as `read_points`, or the photo is rotated and neither layout nor convention
            says which picture its points are of.
    """
    points = read_points(image_path, layout, convention)
    if not len(points):
        return points
    picture = require_picture(layout, convention, image_path, orientation)
    return upright_points(points, orientation, *size) if picture == STORED else points


def read_photo(
    image_path: str | os.PathLike,
    layout: str,
    depth: str = AUTO,
    convention: PointConvention = DEFAULT,
) -> tuple[np.ndarray, np.ndarray]:
    """Read a photo upright, by `depth` (`crowd.data.depth`), and its heads in its upright pixels.

    Returns:
        image uint8 [H, W, 3] RGB, and points float32 [N, 2], those outside the photo included.

    Raises:
        InputError: as `read_upright_points`, or the photo is missing, truncated or no picture.
    """
    image, orientation = read_upright(image_path, depth)
    size = image.shape[1], image.shape[0]
    return image, read_upright_points(image_path, layout, orientation, size, convention)


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


def read_box_sizes(
    image_path: str | os.PathLike, convention: PointConvention = DEFAULT
) -> np.ndarray:
    """Read the annotated (width, height) of a JHU-Crowd++ photo's heads.

    Returns:
        float32 [N, 2] in pixels of the upright photo, in the order of `read_points`.

    Raises:
        InputError: as `read_points`, and when the photo cannot be opened.
    """
    sizes = read_annotation(image_path, "jhu").heads
    sizes = sizes * scale(picture_size(image_path, "jhu", convention), convention.units("jhu"))
    on_its_side = read_orientation(image_path) >= 5 and convention.picture("jhu") == STORED
    return sizes[:, ::-1] if on_its_side else sizes
