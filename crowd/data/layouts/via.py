"""VGG Image Annotator (VIA 1 and 2): project or export as JSON, export as CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from crowd.data.layouts.annotation import Annotation, Format, Head, annotation_of, box_centre
from crowd.data.layouts.csv_files import header
from crowd.io.errors import InputError

SHAPE = "VIA's project, or its annotations as JSON or CSV, is one file beside the photos"
METADATA = "_via_img_metadata"
COLUMNS = ("filename", "region_count", "region_shape_attributes", "region_attributes")


def recognise(content) -> bool:
    """Whether the file is a project of VIA 1, 2 or 3, or an export of VIA 1 or 2."""
    if isinstance(content, list):
        return set(COLUMNS) <= {name.lstrip("#") for name in header(content)}
    if not isinstance(content, dict):
        return False
    if METADATA in content or {"project", "file", "view", "metadata"} <= set(content):
        return True
    return bool(content) and all(
        isinstance(one, dict) and {"filename", "regions"} <= set(one) for one in content.values()
    )


def read(content: dict | list, path: Path) -> Iterator[tuple[str, Annotation]]:
    """Return the heads of every file; shapes other than points give centres."""
    regions = _of_rows(content, path) if isinstance(content, list) else _of_project(content, path)
    for name, many in regions:
        yield name, annotation_of(_heads(many), f"{path}, '{name}'")


def _of_project(content: dict, path: Path) -> Iterator[tuple[str, list]]:
    if METADATA not in content and "view" in content:
        raise InputError(f"{path} is a project of VIA 3: annotate, or export it, with VIA 2")
    for one in content.get(METADATA, content).values():
        regions = one["regions"]
        regions = regions.values() if isinstance(regions, dict) else regions
        yield (
            one["filename"],
            [(each["shape_attributes"], each["region_attributes"]) for each in regions],
        )


def _of_rows(rows: list, path: Path) -> Iterator[tuple[str, list]]:
    names = [name.lstrip("#") for name in header(rows)]
    name, count, shape, attributes = (names.index(column) for column in COLUMNS)
    photos: dict[str, list] = {}
    for line, row in rows[1:]:
        try:
            regions = photos.setdefault(row[name], [])
            if int(row[count]):
                regions.append((json.loads(row[shape]), json.loads(row[attributes])))
        except (ValueError, IndexError, RecursionError) as error:
            raise InputError(f"{path}, line {line} is not a region of VIA: {SHAPE}") from error
    yield from photos.items()


def _heads(regions: list) -> Iterator[Head]:
    for shape, attributes in regions:
        label = _label(attributes)
        if "cx" in shape:
            yield Head(shape["cx"], shape["cy"], label, box=shape["name"] != "point")
        elif "all_points_x" in shape:
            yield box_centre(shape["all_points_x"], shape["all_points_y"], label)
        else:
            x, y = float(shape["x"]), float(shape["y"])
            xs, ys = (x, x + float(shape["width"])), (y, y + float(shape["height"]))
            yield box_centre(xs, ys, label)


def _label(attributes: dict) -> str:
    """Return the value of a region's attribute; of several, each with its name."""
    values = {}
    for name, value in attributes.items():
        chosen = value
        if isinstance(value, dict):  # of a checkbox
            chosen = "+".join(sorted(key for key, ticked in value.items() if ticked))
        if str(chosen).strip():
            values[name] = str(chosen).strip()
    if len(values) == 1:
        return next(iter(values.values()))
    return ", ".join(f"{name}={value}" for name, value in values.items())


VIA = Format((".json", ".csv"), read, SHAPE, recognise, "has no regions of VIA")
