"""CSV files: your own points with the header `image,x,y`, and makesense.ai without a header."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crowd.data.folders import IMAGE_SUFFIXES
from crowd.data.layouts.annotation import Annotation, Format, Head, annotation_of, as_points
from crowd.io.errors import InputError

OWN_SHAPE = "the header is 'image,x,y', then a row a head ('NAME,,' for a photo without heads)"
COLUMNS = ("image", "x", "y")
MAKESENSE_SHAPE = (
    "a row is 'label,x,y,image,width,height', or of a box 'label,x,y,w,h,image,width,height'"
)
POINT, BOX = 6, 8


def header(rows) -> list[str]:
    """The names in the first row of what may be rows [(line, row), …]; empty for anything else."""
    first = rows[0] if isinstance(rows, list) and rows else None
    return [name.strip().lower() for name in first[1]] if isinstance(first, tuple) else []


def read_own(rows: list, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every photo that the table names."""
    image, x, y = (header(rows).index(name) for name in COLUMNS)
    heads: dict[str, list[tuple[float, float]]] = {}
    for line, row in rows[1:]:
        try:
            found = heads.setdefault(row[image].strip(), [])
            if row[x].strip() or row[y].strip():
                found.append((float(row[x]), float(row[y])))
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}, line {line} is not a head: {OWN_SHAPE}") from error
    for name, found in heads.items():
        yield name, Annotation(as_points(found, f"{path}, '{name}'"))


def own_text(photos: dict[str, np.ndarray]) -> str:
    """Return the text of a file of your own points."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for name, points in photos.items():
        rows.writerows([name, f"{x:.9g}", f"{y:.9g}"] for x, y in points)
        if not len(points):
            rows.writerow([name, "", ""])
    return text.getvalue()


def _is_makesense(rows) -> bool:
    """Whether the first row, or the one below a header, is a point or a box of makesense."""
    return bool(header(rows)) and any(_is_head(row) for _, row in rows[:2])


def _is_head(row: list[str]) -> bool:
    try:
        [float(value) for value in (*row[1:-3], *row[-2:])]
    except ValueError:
        return False
    return len(row) in (POINT, BOX) and row[-3].strip().lower().endswith(IMAGE_SUFFIXES)


def read_makesense(rows: list, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every photo that has any; others are not in the file."""
    heads: dict[str, list[Head]] = defaultdict(list)
    sizes: dict[str, tuple[float, float]] = {}
    for number, (line, row) in enumerate(rows):
        if number == 0 and not any(map(str.isdigit, "".join(row))):  # a header
            continue
        if not _is_head(row):
            raise InputError(f"{path}, line {line} is not a head: {MAKESENSE_SHAPE}")
        label, name = row[0], row[-3].strip()
        x, y, *box = map(float, row[1:-3])
        width, height = box or (0, 0)
        heads[name].append(Head(x + width / 2, y + height / 2, label, box=bool(box)))
        sizes[name] = float(row[-2]), float(row[-1])
    for name, found in heads.items():
        yield name, annotation_of(found, f"{path}, '{name}'", *sizes[name])


OWN = Format(
    (".csv",),
    read_own,
    OWN_SHAPE,
    lambda rows: set(COLUMNS) <= set(header(rows)),
    own_text,
)
MAKESENSE = Format((".csv",), read_makesense, MAKESENSE_SHAPE, _is_makesense)
