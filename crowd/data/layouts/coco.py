"""COCO: one JSON file with images, annotations (keypoints or boxes) and categories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from crowd.data.layouts.annotation import Annotation, Head, annotation_of
from crowd.io.errors import InputError

SUFFIXES = (".json",)
FORMAT = "COCO is one file with 'images' and 'annotations', beside the photos or in annotations/"
LACKS = "has no 'images' and 'annotations'"


def recognise(content) -> bool:
    """Whether the file holds lists of images and annotations."""
    return isinstance(content, dict) and all(
        isinstance(content.get(key), list) for key in ("images", "annotations")
    )


def read(content: dict, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every image.

    An annotation with keypoints gives those that are labelled; several keypoints a person get a
    label each, `person/nose`. One without gives the centre of its box; an `iscrowd` region, which
    is no single head, gets the label `person (crowd)`.
    """
    categories = {one["id"]: one for one in content.get("categories") or []}
    images = {one["id"]: one for one in content["images"]}
    heads: dict[object, list[Head]] = defaultdict(list)
    for one in content["annotations"]:
        if one["image_id"] not in images:
            raise InputError(
                f"{path}: an annotation is of image {one['image_id']}, which 'images' lacks: "
                "export it again"
            )
        heads[one["image_id"]] += _heads(one, categories.get(one.get("category_id"), {}))
    for number, one in images.items():
        where = f"{path}, '{one['file_name']}'"
        size = one.get("width"), one.get("height")
        yield one["file_name"], annotation_of(heads[number], where, *size)


def _heads(one: dict, category: dict) -> Iterator[Head]:
    label = str(category.get("name", one.get("category_id", "")))
    keypoints = one.get("keypoints") or []
    if any(keypoints[2::3]):
        names = category.get("keypoints") or []
        for number, visible in enumerate(keypoints[2::3]):
            if visible:
                part = names[number] if number < len(names) else str(number + 1)
                name = f"{label}/{part}" if len(keypoints) > 3 else label
                yield Head(keypoints[3 * number], keypoints[3 * number + 1], name)
    else:
        x, y, width, height = one["bbox"]
        name = f"{label} (crowd)" if one.get("iscrowd") else label
        yield Head(x + width / 2, y + height / 2, name, box=True)
