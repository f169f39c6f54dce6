"""How the points of a data set are meant (picture, units, order, label), and a photo's heads."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np

from crowd.data.images import read_orientation, read_size
from crowd.data.layouts.annotation import NONE, Annotation
from crowd.data.layouts.beside import annotation_path
from crowd.data.layouts.registry import FRACTION, PERCENT, PIXELS, STORED, UPRIGHT, layout_of
from crowd.data.layouts.tables import name_in, parse, read_table
from crowd.io.errors import InputError

XY, ROW_COLUMN = "xy", "row-col"
ALL = "all"
WHICH = (
    f"say --points {UPRIGHT} (as labelling tools and browsers show it) or --points {STORED} (as "
    "programs read it that ignore EXIF)"
)


@dataclass(frozen=True)
class PointConvention:
    """How points are meant, where the user says so; None leaves it to the layout."""

    points: str | None = None  # of the photo `stored`, or `upright` (EXIF rotation applied)
    point_units: str | None = None  # `pixels`, or `fraction` or `percent` of that picture's sides
    point_order: str | None = None  # `xy`, or `row-col` for (row, column), which is (y, x)
    label: str | None = None  # of heads, several with commas between them, or `all`

    @classmethod
    def of(cls, arguments) -> Self:
        """Return what a command's arguments say (see `add_convention`)."""
        return cls(**{field.name: arguments[field.name] for field in fields(cls)})

    def picture(self, layout: str) -> str | None:
        """Return `stored` or `upright`, or None where neither user nor layout says which."""
        return self.points or layout_of(layout).picture

    def units(self, layout: str) -> str:
        """Return the units of the points in the file."""
        return self.point_units or layout_of(layout).units


DEFAULT = PointConvention()


def add_convention(parser: ArgumentParser) -> None:
    """Add the arguments that say how points are meant."""
    add = parser.add_argument
    add(
        "--points",
        choices=(STORED, UPRIGHT),
        help="photos rotated by EXIF: points are of the photo as stored, or upright, as tools and "
        "browsers show it; without it as the layout defines it, which csv, json and yolo do not",
    )
    add(
        "--point-units",
        choices=(PIXELS, FRACTION, PERCENT),
        help="of the points in the files; without it as the layout defines them, mostly pixels",
    )
    add(
        "--point-order",
        choices=(XY, ROW_COLUMN),
        help="of the two numbers; without it xy, unless it looks wrong",
    )
    add("--label", type=str, help="labels that are heads, commas between them, or 'all'")


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

        JHU-Crowd++ alone has them. Raises `InputError` as `heads` does of the picture.
        """
        picture, size = self.picture(convention)
        boxes = self.annotation.heads * _unit(size, convention.units(self.layout))
        return boxes[:, ::-1] if picture == STORED and self.orientation >= 5 else boxes

    def picture(self, convention: PointConvention) -> tuple[str, tuple[int, int]]:
        """Whose pixels the points are, `stored` or `upright`, and its (width, height)."""
        picture = convention.picture(self.layout)
        if picture is None and self.orientation != 1:
            raise InputError(
                f"{self.photo} is rotated by EXIF (orientation {self.orientation}), and "
                f"{self.layout} does not say which picture its points are of: {WHICH}"
            )
        return picture or STORED, self.upright_size if picture == UPRIGHT else self.size


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
    """Return what a photo's annotation says, in its own units and order, and the file of it.

    A photo that no file speaks of has no heads where the layout is a list of heads, which has no
    other way to say so; elsewhere it is an `InputError`.
    """
    known, file = layout_of(layout), annotation_path(photo, layout)
    if not known.table:
        return NONE if known.unlisted and not file.exists() else parse(file, layout), file
    table = read_table(file, layout)
    name = name_in(table, photo)
    if name is None and not known.unlisted:
        raise InputError(f"{file} does not name the photo {photo}: annotate it, or take it out")
    return table.photos.get(name, NONE), file


def in_pixels(
    annotation: Annotation, size: tuple[int, int], layout: str, convention: PointConvention
) -> np.ndarray:
    """Return an annotation's heads, float32 [N, 2], (x, y) in pixels of the picture they are of.

    `size` is (width, height) of that picture.
    """
    points = annotation.points
    if convention.label not in (None, ALL):
        wanted = {convention.label, *named_labels(convention.label)}
        points = points[[number for number, one in enumerate(annotation.labels) if one in wanted]]
    if convention.point_order == ROW_COLUMN:
        points = points[:, ::-1]
    return points * _unit(size, convention.units(layout))


def _unit(size: tuple[int, int], units: str) -> np.ndarray:
    """Return the pixels of one unit along x and y, float32 [2]."""
    parts = {PIXELS: size, FRACTION: (1, 1), PERCENT: (100, 100)}[units]
    return np.divide(size, parts, dtype=np.float32)


def named_labels(label: str) -> list[str]:
    """Return the labels that `--label` names with commas between them."""
    return [part.strip() for part in label.split(",") if part.strip()]


def upright_size(size: Sequence[int], orientation: int) -> tuple[int, int]:
    """Return (width, height) of a photo upright, from those of the photo as stored."""
    width, height = size
    return (width, height) if orientation < 5 else (height, width)


def upright_points(points: np.ndarray, orientation: int, width: int, height: int) -> np.ndarray:
    """Carry points [N, 2] of the stored photo through its EXIF orientation, 1 to 8.

    `width` and `height` are those of the upright photo; all is in pixels.
    """
    x, y = (points if orientation < 5 else points[:, ::-1]).T
    x = width - x if orientation in (2, 3, 6, 7) else x
    y = height - y if orientation in (3, 4, 7, 8) else y
    return np.stack([x, y], axis=1)


def stored_points(points: np.ndarray, orientation: int, width: int, height: int) -> np.ndarray:
    """Carry points of the upright photo back to the photo as stored: undo `upright_points`."""
    size = upright_size((width, height), orientation)
    return upright_points(points, {6: 8, 8: 6}.get(orientation, orientation), *size)
