"""Label Studio: JSON or JSON-MIN, places in percent of the upright photo."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from crowd.data.images import IMAGE_SUFFIXES
from crowd.data.layouts.annotation import Annotation, Format, Head, annotation_of, box_centre
from crowd.io.errors import InputError

# An upload is stored under a prefix, which the photo on the user's disk does not have.
PREFIX = re.compile(r"^[0-9a-f]{8}-")
# What the value of a region has, in contrast to that of a choice or a text about the photo.
_REGION = {"x", "points", "rle", "vertices"}


def recognise(content) -> bool:
    """Whether the file is a list of tasks, as JSON or JSON-MIN has them."""
    return (
        isinstance(content, list)
        and bool(content)
        and all(isinstance(task, dict) and ("data" in task or "annotator" in task or _regions(task))
                for task in content)
    )  # fmt: skip


def read(content: list, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every task that was annotated."""
    for task in content:
        name = _name(task.get("data", task), path)
        done = _annotated(task)
        where = f"{path}, '{name}'"
        if len(done) > 1:
            raise InputError(f"{where} was annotated {len(done)} times: keep one annotation")
        if done:
            yield name, annotation_of(_heads(done[0], where), where)


def _annotated(task: dict) -> list[list[dict]]:
    """Return the regions of each annotation of a task; none where nobody annotated it."""
    if "data" not in task:
        return [_regions(task)]
    done = task.get("annotations", task.get("completions")) or []
    return [
        [
            {**one["value"], "type": one["type"], **_frame(one)}
            for one in annotation["result"]
            if _REGION & set(one.get("value", ()))
        ]
        for annotation in done
        if not annotation.get("was_cancelled")
    ]


def _frame(region: dict) -> dict:
    return {
        "original_width": region.get("original_width"),
        "original_height": region.get("original_height"),
        "turned": region.get("image_rotation", 0),
    }


def _regions(task: dict) -> list[dict]:
    """Return the regions of a task of JSON-MIN, which keeps them beside the photo's name."""
    lists = [value for value in task.values() if isinstance(value, list)]
    return [
        {**_frame(one), **one}
        for regions in lists
        for one in regions
        if isinstance(one, dict) and {"original_width", "original_height"} <= set(one)
    ]


def _name(data: dict, path: Path) -> str:
    names = [
        unquote(value.split("?d=")[-1])
        for value in data.values()
        if isinstance(value, str) and value.lower().split("?")[-1].endswith(IMAGE_SUFFIXES)
    ]
    if len(names) != 1:
        raise InputError(f"{path}: a task names {len(names)} photos, not one: export it again")
    return names[0]


def _heads(regions: list[dict], where: str) -> Iterator[Head]:
    for region in regions:
        if region.get("turned"):
            raise InputError(f"{where} was turned in the tool: turn it back and annotate it anew")
        labels = next((v for k, v in region.items() if k.endswith("labels") and v), [""])
        for label in labels:
            yield _head(region, str(label), where)


def _head(region: dict, label: str, where: str) -> Head:
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
    read,
    "Label Studio's export 'JSON' is one file with a task a photo",
    recognise,
    "holds no tasks of Label Studio",
)
