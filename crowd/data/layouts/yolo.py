"""YOLO: one text file a photo, a row a box or point, in fractions of the photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crowd.data.annotation_files import read_text
from crowd.data.layouts.annotation import Annotation, Head, annotation_of
from crowd.io.errors import InputError
from crowd.io.files import read_yaml

SUFFIXES = (".txt",)
FOLDERS = ("labels",)
FORMAT = "a row is 'class x y width height' (a box) or 'class x y' (a point), in fractions"
LACKS = ""  # reading says which line
POINT, BOX = 3, 5
LARGEST = 1.001  # rounding
# Texts that stand beside labels and are none.
OTHERS = ("classes.txt", "train.txt", "val.txt", "test.txt", "notes.txt", "readme.txt")


def recognise(lines) -> bool:
    """Whether there are rows, and each has a class and fractions."""
    try:
        for line in lines.splitlines():
            _row(line)
    except ValueError:
        return False
    return bool(lines.strip())


def _row(line: str) -> tuple[int, list[float]]:
    """Return class and places of a row; raise `ValueError` for one that is not YOLO's."""
    label, *places = line.split() or ["0", "0", "0"]
    places = [float(value) for value in places]
    if len(places) + 1 not in (POINT, BOX) or not all(0 <= value <= LARGEST for value in places):
        raise ValueError(line)
    return int(label), places


def read(lines: str, path: Path) -> Annotation:
    """Return a photo's heads, labelled by the names of `classes.txt` or `data.yaml`, or numbers."""
    return annotation_of(_heads(lines, path), path)


def _heads(lines: str, path: Path) -> Iterator[Head]:
    names = _class_names(path)
    for number, line in enumerate(lines.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            label, places = _row(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number} is not a row of YOLO: {FORMAT}") from error
        yield Head(*places[:2], names.get(label, str(label)), box=len(places) + 1 == BOX)


def _class_names(path: Path) -> dict[int, str]:
    for folder in path.absolute().parents[:4]:
        if (folder / "classes.txt").is_file():
            names = read_text(folder / "classes.txt").splitlines()
            return {number: name.strip() for number, name in enumerate(names) if name.strip()}
        for file in (folder / "data.yaml", folder / "data.yml"):
            if file.is_file():
                names = read_yaml(file, "mend or remove it").get("names") or []
                pairs = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(number): str(name) for number, name in pairs}
    return {}
