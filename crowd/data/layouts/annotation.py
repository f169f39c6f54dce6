"""What an annotation file says of one photo, and how a format is read and written."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from crowd.io.errors import InputError
from crowd.io.files import read_text

REPLACE = "copy it again from the data set, or take the photo out"


@dataclass(frozen=True)
class Format:
    """How one kind of annotation file is read."""

    suffixes: tuple[str, ...]  # endings of its files
    # From (what the file holds, its path) to its `Annotation`; of a file for many photos to an
    # iterator of `Heads`.
    read: Callable[[Any, Path], Any]
    shape: str = REPLACE  # what a file looks like, for messages
    # Whether what a file holds is of this format; None where only `read` can tell.
    recognise: Callable[[Any], bool] | None = None
    # Writes a file (path, points [n, 2]) as the original is, which follows with what says which of
    # its heads these are, bool [N], and the sizes of all, [N, 2]; of a file for many photos returns
    # the text of {name: points}.
    write: Callable | None = None


class Head(NamedTuple):
    """A head as a file has it: a place, its label, and whether it is the centre of a box."""

    x: float
    y: float
    label: str | None = None
    box: bool = False


Heads = tuple
"""A photo's name and its list of `Head`, then its width and height where the file gives them."""


@dataclass(frozen=True)
class Annotation:
    """What a file says of one photo, in the file's own units and order."""

    points: np.ndarray  # float32 [N, 2]
    labels: tuple[str, ...] = ()  # of the points, [N]; empty where the format has none
    boxes: int = 0  # how many of the points are centres of boxes
    size: tuple[int, int] | None = None  # (width, height) of the photo as the file gives them
    heads: np.ndarray | None = None  # (width, height) of the heads' boxes, float32 [N, 2]

    @property
    def digest(self) -> str:
        """SHA-256, hex, of all that decides where heads are and how large."""
        boxes = None if self.heads is None else self.heads.tolist()
        values = json.dumps([self.points.tolist(), self.labels, boxes])
        return hashlib.sha256(values.encode()).hexdigest()


NONE = Annotation(np.zeros((0, 2), np.float32))


def annotation_of(
    heads: Iterable[Head], where: str | Path, width: float | str | None = None, height=None
) -> Annotation:
    """Gather the heads of one photo; `where` names the place in messages of `InputError`."""
    heads = list(heads)
    points = as_points([(head.x, head.y) for head in heads], where)
    labels = tuple(str(head.label) for head in heads if head.label is not None)
    # Converters write 0 or nothing where they do not know the size.
    size = int(width or 0), int(height or 0)
    boxes = sum(head.box for head in heads)
    return Annotation(points, labels, boxes, size if min(size) > 0 else None)


def box_centre(xs: Sequence[float], ys: Sequence[float], label: str) -> Head:
    """Return the centre of the smallest upright box around the corners of a shape."""
    return Head((min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2, label, box=True)


def as_points(values, path: Path | str) -> np.ndarray:
    """Return `values` as finite points, float32 [N, 2] in (x, y); empty of any shape is [0, 2].

    Raises `InputError` naming `path` (a file, or a place in one) for text, another number of
    columns, NaN and infinity.
    """
    try:
        values = np.asarray(values)
        if values.size == 0:
            return np.zeros((0, 2), np.float32)
        if values.dtype.kind not in "iuf" or values.shape[1:] != (2,):
            raise ValueError
    except ValueError as error:
        raise InputError(f"{path}: its points are not rows 'x, y' of numbers: {REPLACE}") from error
    with np.errstate(over="ignore"):
        points = values.astype(np.float32)
    faulty = np.flatnonzero(~np.isfinite(points).all(1))
    if len(faulty):
        raise InputError(f"{path}: point {faulty[0] + 1} is not finite: mend or remove the point")
    return points


def read_json(path: Path, remedy: str = REPLACE) -> Any:
    """Return what a JSON file holds; raise `InputError` for one that is damaged.

    Of a key that stands twice Python would keep the last, and a photo lose heads.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values = dict(pairs)
        if len(values) < len(pairs):
            ((twice, _),) = Counter(key for key, _ in pairs).most_common(1)
            raise InputError(f"{path} has '{twice}' twice: join what is said of it, under one")
        return values

    try:
        return json.loads(read_text(path, remedy), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged or not JSON: {remedy}") from error
