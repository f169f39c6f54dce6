"""VIA 1 and 2: a project, or its annotations as JSON or CSV.

Of every shape that is no point the centre of its box is a head.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from crowd.data.layouts.annotation import Format, Head, Heads, box_centre
from crowd.data.layouts.text_files import header
from crowd.io.errors import InputError

_METADATA = "_via_img_metadata"
COLUMNS = ("filename", "region_count", "region_shape_attributes", "region_attributes")
SHAPE = "VIA's project, or its annotations as JSON or CSV, is one file beside the photos"


def _is_via(content) -> bool:
    """Whether the file is a project of VIA 1, 2 or 3, or an export of VIA 1 or 2."""
    if isinstance(content, list):
        return set(COLUMNS) <= {name.lstrip("#") for name in header(content)}
    if not isinstance(content, dict):
        return False
    if _METADATA in content or {"project", "file", "view", "metadata"} <= set(content):
        return True
    return bool(content) and all(
        isinstance(one, dict) and {"filename", "regions"} <= set(one) for one in content.values()
    )


def read_via(content: dict | list, path: Path) -> Iterator[Heads]:
    """Return the heads of every file of VIA 1 or 2."""
    regions = _of_rows(content, path) if isinstance(content, list) else _of_project(content, path)
    for name, many in regions:
        yield name, [_via_head(*one) for one in many]


def _of_project(content: dict, path: Path) -> Iterator[tuple[str, list]]:
    if _METADATA not in content and "view" in content:
        raise InputError(f"{path} is a project of VIA 3: annotate, or export it, with VIA 2")
    for one in content.get(_METADATA, content).values():
        regions = one["regions"]
        regions = regions.values() if isinstance(regions, dict) else regions
        pairs = [(each["shape_attributes"], each["region_attributes"]) for each in regions]
        yield one["filename"], pairs


def _of_rows(rows: list, path: Path) -> Iterator[tuple[str, list]]:
    names = [name.lstrip("#") for name in header(rows)]
    name, count, shape, attributes = (names.index(column) for column in COLUMNS)
    # VIA tells two files of one name apart by their sizes.
    size = names.index("file_size") if "file_size" in names else name
    photos: dict[tuple[str, str], list] = {}
    for line, row in rows[1:]:
        try:
            regions = photos.setdefault((row[name], row[size]), [])
            if int(row[count]):
                regions.append((json.loads(row[shape]), json.loads(row[attributes])))
        except (ValueError, IndexError, RecursionError) as error:
            raise InputError(f"{path}, line {line} is not a region of VIA: {SHAPE}") from error
    yield from ((photo, regions) for (photo, _), regions in photos.items())


def _via_head(shape: dict, attributes: dict) -> Head:
    label = _via_label(attributes)
    if "cx" in shape:
        return Head(shape["cx"], shape["cy"], label, box=shape["name"] != "point")
    if "all_points_x" in shape:
        return box_centre(shape["all_points_x"], shape["all_points_y"], label)
    x, y = shape["x"] + shape["width"] / 2, shape["y"] + shape["height"] / 2
    return Head(x, y, label, box=True)


def _via_label(attributes: dict) -> str:
    """Return the value of a region's attribute; of several, each with its name.

    Without commas, which stand between the labels that `--label` names.
    """
    values = {}
    for name, value in attributes.items():
        if isinstance(value, dict):  # of a checkbox
            value = "+".join(sorted(key for key, ticked in value.items() if ticked))
        if str(value).strip():
            values[name] = str(value).strip()
    if len(values) == 1:
        return next(iter(values.values()))
    return "; ".join(f"{name}={value}" for name, value in values.items())


VIA = Format((".json", ".csv"), read_via, SHAPE, _is_via)
