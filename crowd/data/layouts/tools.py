"""Labelling tools whose file is a format of its own: CVAT (XML), Label Studio and VIA (JSON, CSV).

Of every shape that is no point the centre of its box is a head.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from crowd.data.folders import IMAGE_SUFFIXES
from crowd.data.layouts.annotation import Annotation, Format, Head, annotation_of, box_centre
from crowd.data.layouts.csv_files import header
from crowd.io.errors import InputError


def read_cvat(root: Element, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every image of CVAT for images 1.1."""
    if root.find("track") is not None:
        raise InputError(f"{path} is CVAT's export for video: export 'CVAT for images 1.1'")
    for image in root.iter("image"):
        name = image.attrib["name"]
        size = image.get("width"), image.get("height")
        yield name, annotation_of(_cvat_heads(image), f"{path}, '{name}'", *size)


def _cvat_heads(image: Element) -> Iterator[Head]:
    for shape in image.iter():
        label = shape.get("label") or ""
        if shape.get("points"):
            pairs = [pair.split(",") for pair in shape.attrib["points"].split(";")]
            if shape.tag == "points":
                yield from (Head(float(x), float(y), label) for x, y in pairs)
            else:
                yield box_centre(*zip(*pairs, strict=True), label)
        elif shape.tag == "box":
            yield box_centre(_numbers(shape, "xtl", "xbr"), _numbers(shape, "ytl", "ybr"), label)
        elif shape.tag == "ellipse":
            yield Head(*_numbers(shape, "cx", "cy"), label, box=True)
        elif shape.tag == "mask":
            left, top, width, height = _numbers(shape, "left", "top", "width", "height")
            yield Head(left + width / 2, top + height / 2, label, box=True)


def _numbers(shape: Element, *names: str) -> list[float]:
    return [float(shape.attrib[name]) for name in names]


CVAT = Format(
    (".xml",),
    read_cvat,
    "CVAT's 'CVAT for images' is one annotations.xml, beside the photos or above them",
    # Of images or of video.
    lambda root: isinstance(root, Element) and root.tag == "annotations",
)

# An upload is stored under a prefix, which the photo on the user's disk does not have.
UPLOAD = re.compile(r"^[0-9a-f]{8}-")
# What the value of a region has, in contrast to that of a choice or a text about the photo.
_REGION = {"x", "points", "rle", "vertices"}
_FRAME = ("original_width", "original_height", "image_rotation")


def _is_labelstudio(content) -> bool:
    """Whether the file is a list of tasks, as JSON or JSON-MIN has them."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(task, dict) and ({"data", "annotator"} & set(task) or _regions(task))
                for task in content)
    )  # fmt: skip


def read_labelstudio(content: list, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every task of Label Studio that was annotated, in percent."""
    for task in content:
        name = _photo_of(task.get("data", task), path)
        done = _annotated(task)
        where = f"{path}, '{name}'"
        if len(done) > 1:
            raise InputError(f"{where} was annotated {len(done)} times: keep one annotation")
        if done:
            yield name, annotation_of(_labelstudio_heads(done[0], where), where)


def _annotated(task: dict) -> list[list[dict]]:
    """Return the regions of each annotation of a task; none where nobody annotated it."""
    if "data" not in task:
        return [_regions(task)]
    done = task.get("annotations", task.get("completions")) or []
    return [
        [
            {**{key: one.get(key) for key in _FRAME}, **one["value"], "type": one["type"]}
            for one in annotation["result"]
            if _REGION & set(one.get("value", ()))
        ]
        for annotation in done
        if not annotation.get("was_cancelled")
    ]


def _regions(task: dict) -> list[dict]:
    """Return the regions of a task of JSON-MIN, which keeps them beside the photo's name."""
    lists = [value for value in task.values() if isinstance(value, list)]
    return [one for regions in lists for one in regions
            if isinstance(one, dict) and set(_FRAME[:2]) <= set(one)]  # fmt: skip


def _photo_of(data: dict, path: Path) -> str:
    names = [
        unquote(value.split("?d=")[-1])
        for value in data.values()
        if isinstance(value, str) and value.lower().split("?")[-1].endswith(IMAGE_SUFFIXES)
    ]
    if len(names) != 1:
        raise InputError(f"{path}: a task names {len(names)} photos, not one: export it again")
    return names[0]


def _labelstudio_heads(regions: list[dict], where: str) -> Iterator[Head]:
    for region in regions:
        if region.get("image_rotation"):
            raise InputError(f"{where} was turned in the tool: turn it back and annotate it anew")
        labels = next((v for k, v in region.items() if k.endswith("labels") and v), [""])
        for label in labels:
            yield _labelstudio_head(region, str(label), where)


def _labelstudio_head(region: dict, label: str, where: str) -> Head:
    kind = str(region.get("type", "")) or next((k for k in region if k.endswith("labels")), "")
    if region.get("points"):
        return box_centre(*zip(*region["points"], strict=True), label)
    if "x" not in region:
        raise InputError(f"{where} holds a region without a place ({kind}): use points or boxes")
    x, y = float(region["x"]), float(region["y"])
    if kind.startswith("ellipse"):
        return Head(x, y, label, box=True)
    if not kind.startswith("rectangle") and "height" not in region:
        return Head(x, y, label)
    half_width, half_height = float(region["width"]) / 2, float(region["height"]) / 2
    angle = math.radians(float(region.get("rotation") or 0))
    if not angle:
        return Head(x + half_width, y + half_height, label, box=True)
    # A box is turned about its upper left corner, in pixels.
    across = float(region["original_width"]) / float(region["original_height"])
    half_width *= across
    right = half_width * math.cos(angle) - half_height * math.sin(angle)
    down = half_width * math.sin(angle) + half_height * math.cos(angle)
    return Head(x + right / across, y + down, label, box=True)


LABELSTUDIO = Format(
    (".json",),
    read_labelstudio,
    "Label Studio's export 'JSON' is one file with a task a photo",
    _is_labelstudio,
)

_METADATA = "_via_img_metadata"
_COLUMNS = ("filename", "region_count", "region_shape_attributes", "region_attributes")
_VIA_SHAPE = "VIA's project, or its annotations as JSON or CSV, is one file beside the photos"


def _is_via(content) -> bool:
    """Whether the file is a project of VIA 1, 2 or 3, or an export of VIA 1 or 2."""
    if isinstance(content, list):
        return set(_COLUMNS) <= {name.lstrip("#") for name in header(content)}
    if not isinstance(content, dict):
        return False
    if _METADATA in content or {"project", "file", "view", "metadata"} <= set(content):
        return True
    return bool(content) and all(
        isinstance(one, dict) and {"filename", "regions"} <= set(one) for one in content.values()
    )


def read_via(content: dict | list, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every file of VIA 1 or 2."""
    regions = _of_rows(content, path) if isinstance(content, list) else _of_project(content, path)
    for name, many in regions:
        yield name, annotation_of(map(_via_head, many), f"{path}, '{name}'")


def _of_project(content: dict, path: Path) -> Iterator[tuple[str, list]]:
    if _METADATA not in content and "view" in content:
        raise InputError(f"{path} is a project of VIA 3: annotate, or export it, with VIA 2")
    for one in content.get(_METADATA, content).values():
        regions = one["regions"]
        regions = regions.values() if isinstance(regions, dict) else regions
        yield (
            one["filename"],
            [(each["shape_attributes"], each["region_attributes"]) for each in regions],
        )


def _of_rows(rows: list, path: Path) -> Iterator[tuple[str, list]]:
    names = [name.lstrip("#") for name in header(rows)]
    name, count, shape, attributes = (names.index(column) for column in _COLUMNS)
    photos: dict[str, list] = {}
    for line, row in rows[1:]:
        try:
            regions = photos.setdefault(row[name], [])
            if int(row[count]):
                regions.append((json.loads(row[shape]), json.loads(row[attributes])))
        except (ValueError, IndexError, RecursionError) as error:
            raise InputError(f"{path}, line {line} is not a region of VIA: {_VIA_SHAPE}") from error
    yield from photos.items()


def _via_head(region: tuple[dict, dict]) -> Head:
    shape, label = region[0], _via_label(region[1])
    if "cx" in shape:
        return Head(shape["cx"], shape["cy"], label, box=shape["name"] != "point")
    if "all_points_x" in shape:
        return box_centre(shape["all_points_x"], shape["all_points_y"], label)
    x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
    return Head(x + width / 2, y + height / 2, label, box=True)


def _via_label(attributes: dict) -> str:
    """Return the value of a region's attribute; of several, each with its name."""
    values = {}
    for name, value in attributes.items():
        if isinstance(value, dict):  # of a checkbox
            value = "+".join(sorted(key for key, ticked in value.items() if ticked))
        if str(value).strip():
            values[name] = str(value).strip()
    if len(values) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{name}={value}" for name, value in values.items())


VIA = Format((".json", ".csv"), read_via, _VIA_SHAPE, _is_via)
