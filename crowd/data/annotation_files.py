"""One annotation file each: MATLAB (v5 to v7.3), JHU-Crowd++'s text, NWPU-Crowd's JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from crowd.data.mat_child import read_mat
from crowd.io.errors import InputError
from crowd.io.files import require_file, unreadable

REPLACE = "copy it again from the data set, or take the photo out"


def as_points(values, path: Path | str) -> np.ndarray:
    """Return `values` as finite points, float32 [N, 2] in (x, y); empty of any shape is [0, 2].

    Raises `InputError` naming `path` (a file, or a place in one) for text, another number of
    columns, NaN and infinity.
    """
    try:
        values = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{path}: its points are not pairs 'x, y': {REPLACE}") from error
    if values.size == 0:
        return np.zeros((0, 2), np.float32)
    if values.dtype.kind not in "iuf":
        raise InputError(f"{path}: its points are not numbers: {REPLACE}")
    if values.ndim != 2 or values.shape[1] != 2:
        shape = " x ".join(map(str, values.shape))
        raise InputError(f"{path}: its points are {shape}, not a row 'x, y' a head: {REPLACE}")
    with np.errstate(over="ignore"):
        points = values.astype(np.float32)
    faulty = np.flatnonzero(~np.isfinite(points).all(1))
    if len(faulty):
        raise InputError(f"{path}: point {faulty[0] + 1} is not finite: mend or remove the point")
    return points


def read_text(path: Path, remedy: str = REPLACE) -> str:
    """Read UTF-8 text, with or without a byte order mark; raise `InputError` otherwise."""
    path = require_file(path, remedy)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        raise unreadable(path, error, f"is not readable as UTF-8 text: {remedy}") from error


def read_json(path: Path, remedy: str = REPLACE, kinds: tuple[type, ...] = (dict,)) -> dict | list:
    """Read a JSON file that holds an object (or one of `kinds`); raise `InputError` otherwise."""
    try:
        values = json.loads(read_text(path, remedy))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged or not JSON: {remedy}") from error
    if not isinstance(values, kinds):
        raise InputError(f"{path} holds no JSON object {{…}}: {remedy}")
    return values


def read_mat_points(path: Path, key: str) -> np.ndarray:
    """Read the points that a MATLAB file of any version keeps under `key`, float32 [N, 2].

    Cells and structs around them (ShanghaiTech's `image_info[0,0][0,0][0]`) are opened: a cell at
    its first element, a struct at its field `location`, or else its first.
    Raises `InputError` when the file is missing, damaged, or has no such key.
    """
    path = require_file(path, "every photo needs its annotation beside it; " + REPLACE)
    return as_points(read_mat(path, key), path)


def read_jhu_rows(path: Path) -> np.ndarray:
    """Read JHU-Crowd++'s heads, float64 [N, 6]: x, y, box width, box height, occlusion, blur.

    An empty file is a photo without heads.
    """
    rows = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            rows.append([float(value) for value in line.split()])
        except ValueError as error:
            raise InputError(f"{path}, line {number} is not numbers: {REPLACE}") from error
        if len(rows[-1]) != 6:
            raise InputError(
                f"{path}, line {number} has {len(rows[-1])} columns, not the 6 'x y w h occlusion "
                f"blur': {REPLACE}"
            )
    rows = np.array(rows).reshape(-1, 6)
    as_points(rows[:, 2:4], path)
    return rows


def read_nwpu_json(path: Path) -> np.ndarray:
    """Read the points of an NWPU-Crowd JSON file, float32 [N, 2]."""
    content = read_json(path)
    if "points" not in content:
        raise InputError(f"{path} has no 'points': check --layout")
    return as_points(content["points"], path)
