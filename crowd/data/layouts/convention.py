"""How the points of a data set are meant: which picture, units, order, label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from crowd.data.layouts.annotation import Annotation
from crowd.data.layouts.registry import FRACTION, PERCENT, PIXELS, STORED, UPRIGHT, layout_of
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError

XY, ROW_COLUMN = "xy", "row-col"
ALL = "all"


@dataclass(frozen=True)
class PointConvention:
    """How points are meant, where the user says so; None leaves it to the layout.

    Attributes:
        points: whose pixels they are: the photo `stored`, or `upright` (EXIF rotation applied).
        point_units: `pixels`, or `fraction` or `percent` of that picture's width and height.
        point_order: `xy`, or `row-col` for (row, column), which is (y, x).
        label: of the annotations that are heads, several with commas between them, or `all`.
    """

    points: str | None = None
    point_units: str | None = None
    point_order: str | None = None
    label: str | None = None

    @classmethod
    def of(cls, arguments) -> PointConvention:
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


def in_pixels(
    annotation: Annotation, size: tuple[int, int], layout: str, convention: PointConvention
) -> np.ndarray:
    """Return an annotation's heads, float32 [N, 2], (x, y) in pixels of the picture it is of.

    Args:
        annotation: as the file has it.
        size: (width, height) of that picture.
        layout: of the file.
        convention: what the user says of it.
    """
    points = annotation.points[chosen(annotation, convention.label)]
    if convention.point_order == ROW_COLUMN:
        points = points[:, ::-1]
    return points * scale(size, convention.units(layout))


def scale(size: tuple[int, int], units: str) -> np.ndarray:
    """Return the pixels of one unit along x and y, float32 [2]."""
    parts = {PIXELS: size, FRACTION: (1, 1), PERCENT: (100, 100)}[units]
    return np.divide(size, parts, dtype=np.float32)


def chosen(annotation: Annotation, label: str | None) -> np.ndarray:
    """Mark the points that have one of the labels, bool [N]; without `label` all of them."""
    if label in (None, ALL):
        return np.ones(len(annotation.points), bool)
    wanted = chosen_labels(label)
    return np.array([one in wanted for one in annotation.labels], bool)


def chosen_labels(label: str) -> set[str]:
    """Return the labels that `--label` names: the whole of it, and its parts between commas."""
    return {label, *(part.strip() for part in label.split(","))}


def require_picture(
    layout: str, convention: PointConvention, photo: Path | str, orientation: int
) -> str:
    """Return `stored` or `upright` for a photo; raise `InputError` where it is not said."""
    picture = convention.picture(layout)
    if picture is None and orientation != 1:
        raise InputError(
            f"{photo} is rotated by EXIF (orientation {orientation}), and {layout} does not say "
            f"which picture its points are of: {WHICH}"
        )
    return picture or STORED


WHICH = (
    f"say --points {UPRIGHT} (as labelling tools and browsers show it) or --points {STORED} (as "
    "programs read it that ignore EXIF)"
)


def upright_size(size: Sequence[int], orientation: int) -> tuple[int, int]:
    """Return (width, height) of a photo upright, from those of the photo as stored."""
    width, height = size
    return (width, height) if orientation < 5 else (height, width)
