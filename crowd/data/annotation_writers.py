"""Writing annotations as the public data sets keep them (`crowd.annotations` reads them)."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import scipy.io

from crowd.annotations import MAT_KEYS
from crowd.data.annotation_files import read_jhu_rows, read_json
from crowd.io.files import atomic_path, write_text


def write_annotation(
    path: Path,
    original: Path,
    layout: str,
    points: np.ndarray,
    keep: np.ndarray,
    sizes: np.ndarray | None = None,
) -> None:
    """Write some points of an annotation file to another, in the same format.

    Args:
        path: file to write.
        original: file that the points come from.
        layout: one of `crowd.annotations.LAYOUTS` with a file a photo.
        points: [n, 2], in pixels of the photo as it will be stored.
        keep: which points of `original` these are, bool [N].
        sizes: (width, height) of all heads of `original` in such pixels, [N, 2]; of jhu alone.
    """
    if layout == "jhu":
        rows = read_jhu_rows(original)[keep]
        rows[:, :2] = points
        rows[:, 2:4] = sizes[keep]
        write_text(path, "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in rows))
    elif path.suffix == ".json":
        # Boxes and the like go with their points, and would have to be turned with them.
        content = {"img_id": read_json(original).get("img_id"), "human_num": len(points)}
        write_text(path, json.dumps({**content, "points": points.tolist()}))
    else:
        write_mat(path, layout, points.astype(np.float64))


def write_mat(path: Path, layout: str, points: np.ndarray) -> None:
    """Write points float64 [n, 2] to a MATLAB file as a layout keeps them."""
    values = points
    if layout == "sht":
        values = np.empty((1, 1), object)
        values[0, 0] = {"location": points, "number": np.array([[len(points)]], np.float64)}
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {MAT_KEYS[layout]: values})
    with atomic_path(path) as part:
        part.write_bytes(buffer.getvalue())


def table_text(photos: dict[str, np.ndarray], suffix: str) -> str:
    """Return the text of a table of points, .csv or .json (`crowd.data.annotation_tables`)."""
    if suffix == ".json":
        return json.dumps({name: points.tolist() for name, points in photos.items()}, indent=1)
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["image", "x", "y"])
    for name, points in photos.items():
        rows.writerows([name, f"{x:.9g}", f"{y:.9g}"] for x, y in points)
        if not len(points):
            rows.writerow([name, "", ""])
    return text.getvalue()
