"""Points of a data set in one text file, a line a photo, as FIDT's authors exchange them.

A photo's line is `id count` and then, for each head, `x y` (predicted) or `x y sigma_small
sigma_large level` (annotated; the sigmas are the radii of the two localisation scores, in pixels).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from crowd.io.errors import InputError
from crowd.io.files import require_file, write_text

PREDICTED, ANNOTATED = 2, 5


def read_points_file(path: str | os.PathLike, columns: int) -> dict[int, np.ndarray]:
    """Read the points of every photo.

    Args:
        path: text file.
        columns: numbers a head, `PREDICTED` or `ANNOTATED`.

    Returns:
        id -> float64 [N, columns].

    Raises:
        InputError: naming file and line, when that line is not as described, or repeats an id.
    """
    path = require_file(path, "name a text file of points, a line a photo")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text: name a text file of points") from error
    photos: dict[int, np.ndarray] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            photo, count, *values = line.split()
            # A count of -1 would leave the number to reshape.
            heads = np.array(values, np.float64).reshape(max(int(count), 0), columns)
            photo = int(photo)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number} is not 'id count' and {columns} numbers a head: correct it"
            ) from error
        if not np.isfinite(heads).all() or photo in photos:
            raise InputError(
                f"{path}, line {number} repeats photo {photo} or holds numbers that are not "
                "finite: correct it"
            )
        photos[photo] = heads
    if not photos:
        raise InputError(f"{path} holds no photos: name a text file of points, a line a photo")
    return photos


def write_points_file(path: str | os.PathLike, points: Sequence[np.ndarray]) -> None:
    """Write the predicted points [M, 2] of photos 1, 2, …, in pixels."""
    lines = []
    for number, heads in enumerate(points, start=1):
        values = (f"{value:g}" for value in np.asarray(heads, np.float64).ravel())
        lines.append(" ".join([str(number), str(len(heads)), *values]))
    write_text(path, "".join(f"{line}\n" for line in lines))
