"""makesense.ai: CSV without a header, a row a point or a box."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from crowd.data.images import IMAGE_SUFFIXES
from crowd.data.layouts.annotation import Annotation, Head, annotation_of
from crowd.io.errors import InputError

SUFFIXES = (".csv",)
FORMAT = "a row is 'label,x,y,image,width,height', or of a box 'label,x,y,w,h,image,width,height'"
LACKS = "has no rows of makesense.ai"
POINT, BOX = 6, 8


def recognise(rows) -> bool:
    """Whether the first row, or the one below a header, is a point or a box of makesense."""
    if not isinstance(rows, list) or not all(isinstance(row, tuple) for row in rows[:2]):
        return False
    return any(_is_head(row) for _, row in rows[:2])


def _is_head(row: list[str]) -> bool:
    if len(row) not in (POINT, BOX):
        return False
    numbers = [*row[1:-3], *row[-2:]]
    named = row[-3].strip().lower().endswith(IMAGE_SUFFIXES)
    return named and all(_is_number(value) for value in numbers)


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def read(rows: list, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every photo that has any; others are not in the file."""
    heads: dict[str, list[Head]] = defaultdict(list)
    sizes: dict[str, tuple[str, str]] = {}
    for number, (line, row) in enumerate(rows):
        if not _is_head(row):
            header = number == 0 and not any(_is_number(value) for value in row)
            if header or not row:
                continue
            raise InputError(f"{path}, line {line} is not a head: {FORMAT}")
        label, x, y, *box = row[:-3]
        width, height = (float(side) for side in box) if box else (0.0, 0.0)
        head = Head(float(x) + width / 2, float(y) + height / 2, label, box=bool(box))
        name = row[-3].strip()
        heads[name].append(head)
        sizes[name] = row[-2], row[-1]
    for name, found in heads.items():
        size = (float(side) for side in sizes[name])
        yield name, annotation_of(found, f"{path}, '{name}'", *size)
