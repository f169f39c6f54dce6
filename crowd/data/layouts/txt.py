"""Text files, one a photo: JHU-Crowd++, and YOLO in fractions of the photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crowd.data.layouts.annotation import (
    REPLACE,
    Annotation,
    Format,
    Head,
    annotation_of,
    as_points,
)
from crowd.io.errors import InputError
from crowd.io.files import read_text, read_yaml, write_text

YOLO_SHAPE = "a row is 'class x y width height' (a box) or 'class x y' (a point), in fractions"
POINT, BOX = 3, 5
LARGEST = 1.001  # rounding


def read_jhu(text: str, path: Path) -> Annotation:
    """Return the heads of JHU-Crowd++ and their boxes; an empty file is a photo without heads."""
    rows = _jhu_rows(text, path)
    return Annotation(as_points(rows[:, :2], path), heads=as_points(rows[:, 2:4], path))


def _jhu_rows(text: str, path: Path) -> np.ndarray:
    """Rows of x, y, box width, box height, occlusion, blur, float64 [N, 6]."""
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
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
    return np.array(rows).reshape(-1, 6)


def write_jhu(path: Path, points: np.ndarray, original: Path, keep, sizes: np.ndarray) -> None:
    """Write rows of JHU-Crowd++ with new points and sizes."""
    rows = _jhu_rows(read_text(original, REPLACE), original)[keep]
    rows[:, :4] = np.hstack([points, sizes[keep]])
    write_text(path, "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in rows))


def is_yolo(lines: str) -> bool:
    """Whether there are rows, and each has a class and fractions."""
    try:
        for line in lines.splitlines():
            _yolo_row(line)
    except ValueError:
        return False
    return bool(lines.strip())


def _yolo_row(line: str) -> tuple[int, list[float]]:
    """Return class and places of a row; raise `ValueError` for one that is not YOLO's."""
    label, *places = line.split() or ["0", "0", "0"]
    places = [float(value) for value in places]
    if len(places) + 1 not in (POINT, BOX) or not all(0 <= value <= LARGEST for value in places):
        raise ValueError(line)
    return int(label), places


def read_yolo(lines: str, path: Path) -> Annotation:
    """Return a photo's heads, labelled by the names of `classes.txt` or `data.yaml`, or numbers."""
    return annotation_of(_yolo_heads(lines, path), path)


def _yolo_heads(lines: str, path: Path) -> Iterator[Head]:
    names = _class_names(path)
    for number, line in enumerate(lines.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, places = _yolo_row(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number} is not a row of YOLO: {YOLO_SHAPE}") from error
        yield Head(*places[:2], names.get(label, str(label)), box=len(places) + 1 == BOX)


def _class_names(path: Path) -> dict[int, str]:
    for folder in path.absolute().parents[:4]:
        if (folder / "classes.txt").is_file():
            names = read_text(folder / "classes.txt", REPLACE).splitlines()
            return {number: name.strip() for number, name in enumerate(names) if name.strip()}
        for file in (folder / "data.yaml", folder / "data.yml"):
            if file.is_file():
                names = read_yaml(file, "mend or remove it").get("names") or []
                pairs = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(number): str(name) for number, name in pairs}
    return {}


JHU = Format((".txt",), read_jhu, write=write_jhu)
YOLO = Format((".txt",), read_yolo, YOLO_SHAPE, is_yolo)
