"""JSON files: your own points, NWPU-Crowd, labelme, COCO."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crowd.data.layouts.annotation import (
    Annotation,
    Format,
    Head,
    annotation_of,
    as_points,
    box_centre,
    read_json,
)
from crowd.data.layouts.mat import mat
from crowd.io.errors import InputError
from crowd.io.files import write_text


def read_own(content: dict, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every photo that {"NAME.jpg": [[x, y], …]} names."""
    for name, points in content.items():
        yield name, Annotation(as_points(points, f"{path}, '{name}'"))


def own_text(photos: dict[str, np.ndarray]) -> str:
    """Return the text of a file of your own points."""
    return json.dumps({name: points.tolist() for name, points in photos.items()}, indent=1)


def read_nwpu(content, path: Path) -> Annotation:
    """Return the heads of a photo of NWPU-Crowd, which has MATLAB files too."""
    if path.suffix == ".mat":
        return _NWPU_MAT.read(content, path)
    if "points" not in content:
        raise InputError(f"{path} has no 'points': check --layout")
    return Annotation(as_points(content["points"], path))


def write_nwpu(path: Path, points: np.ndarray, original: Path, *_) -> None:
    """Write an annotation of NWPU-Crowd; boxes and the like, which belong to heads, go."""
    if path.suffix == ".mat":
        _NWPU_MAT.write(path, points)
        return
    content = {"img_id": read_json(original).get("img_id"), "human_num": len(points)}
    write_text(path, json.dumps({**content, "points": points.tolist()}))


def read_labelme(content: dict, path: Path) -> Annotation:
    """Return a photo's heads: points, centres of circles, and centres of the boxes of others."""
    size = content.get("imageWidth"), content.get("imageHeight")
    return annotation_of(_shapes(content["shapes"]), path, *size)


def _shapes(shapes: list) -> Iterator[Head]:
    for shape in shapes:
        label = shape.get("label") or ""
        xs, ys = zip(*shape["points"], strict=True)
        if len(xs) == 1:
            yield Head(xs[0], ys[0], label)
        elif shape.get("shape_type") == "circle":  # its centre, and a point of its rim
            yield Head(xs[0], ys[0], label, box=True)
        else:
            yield box_centre(xs, ys, label)


def read_coco(content: dict, path: Path) -> Iterator[tuple[str, Annotation]]:
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
        heads[one["image_id"]] += _coco_heads(one, categories.get(one.get("category_id"), {}))
    for number, one in images.items():
        where = f"{path}, '{one['file_name']}'"
        size = one.get("width"), one.get("height")
        yield one["file_name"], annotation_of(heads[number], where, *size)


def _coco_heads(one: dict, category: dict) -> Iterator[Head]:
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


def _holds_lists(*keys: str):
    return lambda content: (
        isinstance(content, dict) and all(isinstance(content.get(key), list) for key in keys)
    )


_NWPU_MAT = mat("annPoints")
NWPU = Format((".json", ".mat"), read_nwpu, write=write_nwpu)
OWN = Format(
    (".json",),
    read_own,
    'the file is {"NAME.jpg": [[x, y], …], …}, with [] for a photo without heads',
    lambda content: isinstance(content, dict),
    own_text,
)
LABELME = Format(
    (".json",),
    read_labelme,
    "labelme keeps NAME.json beside NAME.jpg, or in labels/ or annotations/",
    _holds_lists("shapes"),
)
COCO = Format(
    (".json",),
    read_coco,
    "COCO is one file with 'images' and 'annotations', beside the photos or in annotations/",
    _holds_lists("images", "annotations"),
)
