"""Your own points as JSON: {"NAME.jpg": [[x, y], …], …}, with [] for a photo without heads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crowd.data.annotation_files import as_points
from crowd.data.layouts.annotation import Annotation

SUFFIXES = (".json",)
FORMAT = 'the file is {"NAME.jpg": [[x, y], …], …}, with [] for a photo without heads'
LACKS = "holds no JSON object {…}"


def recognise(content) -> bool:
    """Whether the file may be an object of photos."""
    return isinstance(content, dict)


def read(content: dict, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every photo that the file names."""
    for name, points in content.items():
        yield name, Annotation(as_points(points, f"{path}, '{name}'"))
