"""Your own points as CSV: header `image,x,y`, then a row a head (`NAME,,` for none)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crowd.data.annotation_files import as_points
from crowd.data.layouts.annotation import Annotation
from crowd.io.errors import InputError

SUFFIXES = (".csv",)
FORMAT = "the header is 'image,x,y', then a row a head ('NAME,,' for a photo without heads)"
LACKS = "has no columns 'image', 'x' and 'y'"
COLUMNS = ("image", "x", "y")


def recognise(rows) -> bool:
    """Whether the header is that of a table of points."""
    return isinstance(rows, list) and set(COLUMNS) <= set(_header(rows))


def _header(rows: list) -> list[str]:
    return [str(name).strip().lower() for name in rows[0][1]] if rows else []


def read(rows: list, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every photo that the table names."""
    image, x, y = (_header(rows).index(name) for name in COLUMNS)
    heads: dict[str, list[tuple[float, float]]] = {}
    for line, row in rows[1:]:
        try:
            found = heads.setdefault(row[image].strip(), [])
            if row[x].strip() or row[y].strip():
                found.append((float(row[x]), float(row[y])))
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}, line {line} is not a head: {FORMAT}") from error
    for name, found in heads.items():
        yield name, Annotation(as_points(found, f"{path}, '{name}'"))
