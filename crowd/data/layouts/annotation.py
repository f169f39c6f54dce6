"""What an annotation file says of one photo, before units, order and orientation are applied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crowd.data.annotation_files import as_points
from crowd.io.errors import InputError


@dataclass(frozen=True)
class Head:
    """A head as a file has it: a place, its label, and whether it is the centre of a box."""

    x: float
    y: float
    label: str = ""
    box: bool = False


@dataclass(frozen=True)
class Annotation:
    """What a file says of one photo.

    Attributes:
        points: float32 [N, 2], in the file's own units and order.
        labels: of the points, [N]; empty where the format has none.
        boxes: how many of the points are centres of boxes.
        size: (width, height) of the photo as the file gives them, pixels, or None.
    """

    points: np.ndarray
    labels: tuple[str, ...] = ()
    boxes: int = 0
    size: tuple[int, int] | None = None


def annotation_of(
    heads: Iterable[Head], where: str | Path, width: float | str | None = None, height=None
) -> Annotation:
    """Gather the heads of one photo; `where` names the place in messages of `InputError`."""
    heads = list(heads)
    points = as_points([(float(head.x), float(head.y)) for head in heads], where)
    labels = tuple(str(head.label) for head in heads)
    # Converters write 0 or nothing where they do not know the size.
    size = (int(width), int(height)) if width and height else None
    size = size if size and min(size) > 0 else None
    return Annotation(points, labels, sum(head.box for head in heads), size)


def box_centre(xs: Sequence[float], ys: Sequence[float], label: str = "") -> Head:
    """Return the centre of the smallest upright box around the corners of a shape."""
    xs, ys = [float(x) for x in xs], [float(y) for y in ys]
    return Head((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, label, box=True)


@contextlib.contextmanager
def parsing(path: Path, layout: str) -> Iterator[None]:
    """Turn what a damaged or unexpected structure raises into one `InputError` with its file."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise InputError(
            f"{path} is not as {layout} writes it ({reason}): export it again"
        ) from error
