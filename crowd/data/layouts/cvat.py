"""CVAT for images 1.1: one XML file with the shapes of every photo."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

from crowd.data.layouts.annotation import Annotation, Format, Head, annotation_of, box_centre
from crowd.io.errors import InputError


def read(root: Element, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every image; each point of a <points> is one, others are boxes."""
    if root.find("track") is not None:
        raise InputError(f"{path} is CVAT's export for video: export 'CVAT for images 1.1'")
    for image in root.iter("image"):
        name = image.attrib["name"]
        size = image.get("width"), image.get("height")
        yield name, annotation_of(_heads(image), f"{path}, '{name}'", *size)


def _heads(image: Element) -> Iterator[Head]:
    for shape in image.iter():
        label = shape.get("label") or ""
        if shape.get("points"):
            pairs = [pair.split(",") for pair in shape.attrib["points"].split(";")]
            if shape.tag == "points":
                yield from (Head(float(x), float(y), label) for x, y in pairs)
            else:
                yield box_centre(*zip(*pairs, strict=True), label)
        elif shape.tag == "box":
            xs, ys = (shape.attrib["xtl"], shape.attrib["xbr"]), ("ytl", "ybr")
            yield box_centre(xs, [shape.attrib[name] for name in ys], label)
        elif shape.tag == "ellipse":
            yield Head(float(shape.attrib["cx"]), float(shape.attrib["cy"]), label, box=True)
        elif shape.tag == "mask":
            left, top, width, height = (
                float(shape.attrib[name]) for name in ("left", "top", "width", "height")
            )
            yield Head(left + width / 2, top + height / 2, label, box=True)


CVAT = Format(
    (".xml",),
    read,
    "CVAT's 'CVAT for images' is one annotations.xml, beside the photos or above them",
    # Of images or of video.
    lambda root: isinstance(root, Element) and root.tag == "annotations",
    "has no <annotations> with <image>s",
)
