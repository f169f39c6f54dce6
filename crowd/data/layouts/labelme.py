"""labelme: one JSON file a photo, shapes with a label; pixels of the upright photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from crowd.data.layouts.annotation import Annotation, Head, annotation_of, box_centre

SUFFIXES = (".json",)
FOLDERS = ("labels", "annotations")
FORMAT = "labelme keeps NAME.json beside NAME.jpg, or in labels/ or annotations/"
LACKS = "has no 'shapes'"


def recognise(content) -> bool:
    """Whether the file holds labelme's shapes."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def read(content: dict, path: Path) -> Annotation:
    """Return a photo's heads: points, centres of circles, and centres of the boxes of others."""
    size = content.get("imageWidth"), content.get("imageHeight")
    return annotation_of(_heads(content["shapes"]), path, *size)


def _heads(shapes: list) -> Iterator[Head]:
    for shape in shapes:
        label = shape.get("label") or ""
        xs, ys = zip(*shape["points"], strict=True)
        if len(xs) == 1:
            yield Head(xs[0], ys[0], label)
        elif shape.get("shape_type") == "circle":  # its centre, and a point of its rim
            yield Head(xs[0], ys[0], label, box=True)
        else:
            yield box_centre(xs, ys, label)
