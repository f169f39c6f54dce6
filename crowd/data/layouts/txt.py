"""Text files, one a photo: JHU-Crowd++, and YOLO in fractions of the photo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
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

JHU_SHAPE = f"6 numbers 'x y w h occlusion blur': {REPLACE}"
YOLO_SHAPE = "a row is 'class x y width height' (a box) or 'class x y' (a point), in fractions"
POINT, BOX = 2, 4  # numbers after the class
LARGEST = 1.001  # rounding


def read_jhu(text: str, path: Path) -> Annotation:
    """Return the heads of JHU-Crowd++ and their boxes; an empty file is a photo without heads."""
    rows = _jhu_rows(text, path)
    return Annotation(as_points(rows[:, :2], path), heads=as_points(rows[:, 2:4], path))


def _jhu_rows(text: str, path: Path) -> np.ndarray:
    """Rows of x, y, box width, box height, occlusion, blur, float64 [N, 6]."""
    return np.array([*_rows(text, path, _jhu_row, JHU_SHAPE)]).reshape(-1, 6)


def _jhu_row(line: str) -> tuple[float, ...]:
    x, y, width, height, occlusion, blur = map(float, line.split())
    return x, y, width, height, occlusion, blur


def _rows(text: str, path: Path, read: Callable[[str], tuple], shape: str) -> Iterator[tuple]:
    """Yield what `read` makes of each line but blank ones; its `ValueError` is an `InputError`."""
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            if line.strip():
                yield read(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number} is not {shape}") from error


def write_jhu(path: Path, points: np.ndarray, original: Path, keep, sizes: np.ndarray) -> None:
    """Write rows of JHU-Crowd++ with new points and sizes."""
    rows = _jhu_rows(read_text(original, REPLACE), original)[keep]
    rows[:, :4] = np.hstack([points, sizes[keep]])
    write_text(path, "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in rows))


def is_yolo(lines: str) -> bool:
    """Whether there are rows, and each has a class and fractions."""
    try:
        return bool([_yolo_row(line) for line in lines.splitlines() if line.strip()])
    except ValueError:
        return False


def _yolo_row(line: str) -> tuple[int, float, float, bool]:
    """Return class, x, y and whether it is a box; raise `ValueError` where it is not YOLO's."""
    label, *places = line.split()
    places = [float(value) for value in places]
    if len(places) not in (POINT, BOX) or not all(0 <= value <= LARGEST for value in places):
        raise ValueError(line)
    return int(label), *places[:2], len(places) == BOX


def read_yolo(lines: str, path: Path) -> Annotation:
    """Return a photo's heads, labelled by the names of `classes.txt` or `data.yaml`, or numbers."""
    names, rows = _class_names(path), _rows(lines, path, _yolo_row, f"a row of YOLO: {YOLO_SHAPE}")
    heads = (Head(x, y, names.get(label, str(label)), box) for label, x, y, box in rows)
    return annotation_of(heads, path)


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
