"""JSON files: your own points, NWPU-Crowd, labelme, COCO, Label Studio.

Of every shape that is no point the centre of its box is a head.
"""

import cmath
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from urllib.parse import unquote

import numpy as np

from crowd.data.folders import IMAGE_SUFFIXES
from crowd.data.layouts.annotation import (
    Annotation,
    Format,
    Head,
    Heads,
    annotation_of,
    as_points,
    box_centre,
    read_json,
)
from crowd.data.layouts.mat import mat
from crowd.io.errors import InputError
from crowd.io.files import write_text


def read_own(content: dict, _: Path) -> Iterator[Heads]:
    """Return the heads of every photo that {"NAME.jpg": [[x, y], …]} names."""
    for name, points in content.items():
        yield name, [Head(x, y) for x, y in points]


def own_text(photos: dict[str, np.ndarray]) -> str:
    """Return the text of a file of your own points."""
    return json.dumps({name: points.tolist() for name, points in photos.items()}, indent=1)


def read_nwpu(content, path: Path) -> Annotation:
    """Return the heads of a photo of NWPU-Crowd, which has MATLAB files too."""
    if path.suffix.lower() == ".mat":
        return _NWPU_MAT.read(content, path)
    if "points" not in content:
        raise InputError(f"{path} has no 'points': check --layout")
    return Annotation(as_points(content["points"], path))


def write_nwpu(path: Path, points: np.ndarray, original: Path, *_) -> None:
    """Write an annotation of NWPU-Crowd; boxes and the like, which belong to heads, go."""
    if path.suffix.lower() == ".mat":
        _NWPU_MAT.write(path, points)
        return
    content = {"img_id": read_json(original).get("img_id"), "human_num": len(points)}
    write_text(path, json.dumps({**content, "points": points.tolist()}))


def read_labelme(content: dict, path: Path) -> Annotation:
    """Return a photo's heads: points, centres of circles, and centres of the boxes of others."""
    heads = []
    for shape in content["shapes"]:
        label = shape.get("label") or ""
        xs, ys = zip(*shape["points"], strict=True)
        circle = shape.get("shape_type") == "circle"  # its centre, and a point of its rim
        one = len(xs) == 1 or circle
        heads.append(Head(xs[0], ys[0], label, circle) if one else box_centre(xs, ys, label))
    return annotation_of(heads, path, content.get("imageWidth"), content.get("imageHeight"))


def read_coco(content: dict, path: Path) -> Iterator[Heads]:
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
        yield one["file_name"], heads[number], one.get("width"), one.get("height")


def _coco_heads(one: dict, category: dict) -> Iterator[Head]:
    label = str(category.get("name", one.get("category_id", "")))
    keypoints = one.get("keypoints") or []
    if not any(keypoints[2::3]):
        x, y, width, height = one["bbox"]
        label += " (crowd)" if one.get("iscrowd") else ""
        yield Head(x + width / 2, y + height / 2, label, box=True)
        return
    names = dict(enumerate(category.get("keypoints") or []))
    for number, (x, y, visible) in enumerate(np.reshape(keypoints, (-1, 3)).tolist()):
        part = f"/{names.get(number, number + 1)}" if len(keypoints) > 3 else ""
        if visible:
            yield Head(x, y, label + part)


# An upload is stored under a prefix, which the photo on the user's disk does not have.
UPLOAD = re.compile(r"^[0-9a-f]{8}-")
# What the value of a region has, in contrast to that of a choice or a text about the photo.
_REGION = {"x", "points", "rle", "vertices"}
_PLACE = ("x", "y", "width", "height", "rotation", "points")
_FRAME = {"original_width", "original_height"}


def _is_labelstudio(content) -> bool:
    """Whether the file is a list of tasks, as JSON or JSON-MIN has them."""
    return isinstance(content, list) and bool(content) and all(map(_is_task, content))


def _is_task(one) -> bool:
    return isinstance(one, dict) and bool({"data", "annotator"} & set(one) or _regions(one))


def read_labelstudio(content: list, path: Path) -> Iterator[Heads]:
    """Return the heads of every task of Label Studio that was annotated, in percent."""
    for task in content:
        name, done = _photo_of(task.get("data", task), path), _annotated(task)
        where = f"{path}, '{name}'"
        if len(done) > 1:
            raise InputError(f"{where} was annotated {len(done)} times: keep one annotation")
        if done:
            yield name, [_labelstudio_head(region, where) for region in _regions_of(done[0])]


def _annotated(task: dict) -> list[list[dict]]:
    """Return what each annotation of a task says of regions; none where nobody annotated it."""
    if "data" not in task:
        return [_regions(task)]
    done = [each for each in task.get("annotations") or [] if not each.get("was_cancelled")]
    return [
        [{**one, **one["value"]} for one in each["result"] if _REGION & set(one.get("value", ()))]
        for each in done
    ]


def _regions(task: dict) -> list[dict]:
    """Return the regions of a task of JSON-MIN, which keeps them beside the photo's name."""
    lists = (value for value in task.values() if isinstance(value, list))
    return [one for one in chain(*lists) if isinstance(one, dict) and set(one) >= _FRAME]


def _photo_of(data: dict, path: Path) -> str:
    texts = (value for value in data.values() if isinstance(value, str))
    # Of a file on the server's disk the path follows, of an address a query.
    paths = (text.split("?d=")[1] if "?d=" in text else text.split("?")[0] for text in texts)
    names = [unquote(path) for path in paths if path.lower().endswith(IMAGE_SUFFIXES)]
    if len(names) != 1:
        raise InputError(f"{path}: a task names {len(names)} photos, not one: export it again")
    return names[0]


def _regions_of(results: list[dict]) -> list[dict]:
    """Join what is said of one region, its labels, choices and texts, to a region with `labels`."""
    regions: dict[str, dict] = {}
    for one in results:
        place = one.get("id") or json.dumps([one.get(key) for key in _PLACE])
        region = regions.setdefault(place, {"labels": {}})
        for key, value in one.items():
            if key.endswith("labels"):
                region["labels"] |= dict.fromkeys(map(str, value or ()))
            else:
                region[key] = value
    return list(regions.values())


def _labelstudio_head(region: dict, where: str) -> Head:
    if region.get("image_rotation"):
        raise InputError(f"{where} was turned in the tool: turn it back and annotate it anew")
    if "x" not in region and not region.get("points"):
        raise InputError(f"{where} holds a region without a place: use points or boxes")
    label = "+".join(region["labels"])
    if region.get("points"):
        return box_centre(*zip(*region["points"], strict=True), label)
    x, y = region["x"], region["y"]
    if "height" not in region:
        return Head(x, y, label, box="radiusX" in region)
    # A box is turned about its upper left corner, in pixels.
    angle = math.radians(region.get("rotation") or 0)
    across = region["original_width"] / region["original_height"] if angle else 1.0
    middle = complex(region["width"] / 2 * across, region["height"] / 2) * cmath.rect(1, angle)
    return Head(x + middle.real / across, y + middle.imag, label, box=True)


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
LABELSTUDIO = Format(
    (".json",),
    read_labelstudio,
    "Label Studio's export 'JSON' is one file with a task a photo",
    _is_labelstudio,
)
