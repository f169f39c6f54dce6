"""What is known of a photo before its pixels are decoded: its annotation, size and orientation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crowd.data.images import read_orientation, read_size
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
from crowd.data.layouts.places import annotation_path
from crowd.data.layouts.registry import STORED, UPRIGHT, layout_of
from crowd.data.layouts.tables import read_table_annotation
from crowd.io.errors import InputError


@dataclass(frozen=True)
class Seen:
    """A photo of a data set, as far as its header and its annotation tell."""

    photo: Path
    layout: str
    size: tuple[int, int] = (0, 0)  # (width, height) as stored; 0 where it cannot be read
    orientation: int = 1  # of EXIF, 1 to 8
    annotation: Annotation = NONE  # in its own units and order
    file: Path | None = None  # of the annotation
    fault: str = ""  # why the annotation cannot be read

    @property
    def upright_size(self) -> tuple[int, int]:
        """(width, height) of the upright photo, pixels."""
        return upright_size(self.size, self.orientation)

    def heads(self, convention: PointConvention = DEFAULT) -> np.ndarray:
        """Return the heads, float32 [N, 2], in pixels of the upright photo.

        Raises `InputError` when the annotation cannot be read, or the photo is rotated and neither
        layout nor convention says which picture its points are of.
        """
        if self.fault:
            raise InputError(self.fault)
        if not len(self.annotation.points):
            return self.annotation.points
        picture, size = self.picture(convention)
        points = in_pixels(self.annotation, size, self.layout, convention)
        if picture == UPRIGHT:
            return points
        return upright_points(points, self.orientation, *self.upright_size)

    def boxes(self, convention: PointConvention = DEFAULT) -> np.ndarray:
        """Return (width, height) of the heads' boxes, float32 [N, 2], in pixels upright.

        JHU-Crowd++ alone has them. Raises `InputError` as `heads` does.
        """
        if self.fault:
            raise InputError(self.fault)
        picture, size = self.picture(convention)
        boxes = self.annotation.heads * scale(size, convention.units(self.layout))
        return boxes[:, ::-1] if picture == STORED and self.orientation >= 5 else boxes

    def picture(self, convention: PointConvention) -> tuple[str, tuple[int, int]]:
        """Whose pixels the points are, `stored` or `upright`, and its (width, height)."""
        picture = require_picture(self.layout, convention, self.photo, self.orientation)
        return picture, self.upright_size if picture == UPRIGHT else self.size


def look(photo: Path, layout: str) -> Seen:
    """Read a photo's header and annotation; what is wrong with the photo its decoder will say."""
    try:
        annotation, file, fault = *read_annotation(photo, layout), ""
    except InputError as error:
        annotation, file, fault = NONE, None, str(error)
    try:
        size, orientation = read_size(photo), read_orientation(photo)
    except InputError:
        size, orientation = (0, 0), 1
    return Seen(photo, layout, size, orientation, annotation, file, fault)


def read_annotation(photo: Path, layout: str) -> tuple[Annotation, Path]:
    """Return what a photo's annotation says, in its own units and order, and the file of it."""
    known, file = layout_of(layout), annotation_path(photo, layout)
    if known.table:
        return read_table_annotation(file, photo, layout), file
    return NONE if known.unlisted and not file.exists() else parse(file, layout), file


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


def stored_points(points: np.ndarray, orientation: int, width: int, height: int) -> np.ndarray:
    """Carry points of the upright photo back to the photo as stored: undo `upright_points`."""
    x, y = points.T
    x = width - x if orientation in (2, 3, 6, 7) else x
    y = height - y if orientation in (3, 4, 7, 8) else y
    return np.stack([x, y] if orientation < 5 else [y, x], axis=1)
