"""Annotated heads of the public data sets, of labelling tools, and of your own CSV or JSON.

docs/FORMATS.md has a table of the layouts.
"""

import os
from pathlib import Path

import numpy as np

from crowd.data.layouts.places import find_photos
from crowd.data.layouts.points import DEFAULT, PointConvention, in_pixels, look, read_annotation
from crowd.data.layouts.registry import LAYOUTS, PIXELS

__all__ = ["LAYOUTS", "find_photos", "read_points"]


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
        stored, before any EXIF rotation, in public sets; the upright photo in most files of
        labelling tools; in csv, json and yolo as the file has them, where `convention` says
        nothing. All points of the file, those outside the photo included.

    Raises:
        InputError: the annotation is missing, damaged, or holds anything but finite points; or
            units are relative, and nothing says which picture of a rotated photo they are of.
    """
    annotation, _ = read_annotation(Path(image_path), layout)
    size = (1, 1)
    if convention.units(layout) != PIXELS and len(annotation.points):
        _, size = look(Path(image_path), layout).picture(convention)
    return in_pixels(annotation, size, layout, convention)
