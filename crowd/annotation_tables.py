"""One annotation file for many photos: CSV with the header `image,x,y`, or JSON by photo.

The file is `annotations.csv` (`.json`), or the only file of that kind, in the nearest folder that
has one: the photo's own, its parent, or the one above. Photos are named by their path relative to
that file, or by the bare file name. Names are only compared with photos found on disk and never
opened, so a file from elsewhere cannot reach outside the folder.
"""

from __future__ import annotations

import csv
import functools
import io
import os
from pathlib import Path, PurePosixPath

import numpy as np

from crowd.annotation_files import as_points, read_json, read_text
from crowd.errors import InputError, raise_or_note

FORMAT = {
    ".csv": "the header is 'image,x,y', then a row a head ('NAME,,' for a photo without heads)",
    ".json": 'the file is {"NAME.jpg": [[x, y], …], …}, with [] for a photo without heads',
}


def find_table(image_path: Path, suffix: str) -> Path:
    """Return the annotation file (`suffix` .csv or .json) that speaks of this photo.

    Raises `InputError` when there is none, or several and none called `annotations`.
    """
    image_path = Path(os.path.abspath(image_path))
    for folder in image_path.parents[:3]:
        tables = sorted(folder.glob(f"*{suffix}"))
        named = [table for table in tables if table.stem == "annotations"]
        if len(named or tables) == 1:
            return (named or tables)[0]
        if tables:
            raise InputError(
                f"{folder} holds {len(tables)} {suffix} files: call the one with the points "
                f"annotations{suffix}"
            )
    raise InputError(
        f"{image_path} has no annotation file: put annotations{suffix} beside the photos or in "
        f"the folder above; {FORMAT[suffix]}"
    )


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Return the points of every photo that the file names, float32 [N, 2] each.

    The last few files stay in memory until they change on disk, since every photo asks again.
    """
    try:
        state = os.stat(path)
    except OSError as error:
        raise InputError(f"{path} does not exist: {FORMAT[Path(path).suffix]}") from error
    return _read_table(Path(path), state.st_mtime_ns, state.st_size)


@functools.lru_cache(maxsize=4)
def _read_table(path: Path, _modified: int, _size: int) -> dict[str, np.ndarray]:
    if path.suffix == ".json":
        content = read_json(path, FORMAT[".json"])
    else:
        content = _read_csv(path)
    return {
        _normal(name): as_points(points, f"{path}, '{name}'") for name, points in content.items()
    }


def _read_csv(path: Path) -> dict[str, list]:
    rows = csv.reader(io.StringIO(read_text(path, FORMAT[".csv"]), newline=""))
    points: dict[str, list] = {}
    try:
        header = [name.strip().lower() for name in next(rows, [])]
        if not {"image", "x", "y"} <= set(header):
            raise InputError(f"{path} has no columns 'image', 'x' and 'y': {FORMAT['.csv']}")
        image, x, y = (header.index(name) for name in ("image", "x", "y"))
        for row in rows:
            if not row:
                continue
            heads = points.setdefault(row[image].strip(), [])
            if row[x].strip() or row[y].strip():
                heads.append((float(row[x]), float(row[y])))
    except (csv.Error, ValueError, IndexError) as error:
        line = rows.line_num
        raise InputError(f"{path}, line {line} is not a head: {FORMAT['.csv']}") from error
    return points


def _normal(name: str) -> str:
    return str(PurePosixPath(name.replace("\\", "/")))


def table_key(image_path: Path, table_path: Path, names) -> str | None:
    """Return the name under which the file speaks of the photo, or None."""
    image_path, table_path = Path(os.path.abspath(image_path)), Path(os.path.abspath(table_path))
    relative = image_path.relative_to(table_path.parent).as_posix()
    return next((name for name in (relative, image_path.name) if name in names), None)


def read_table_points(image_path: Path, suffix: str) -> np.ndarray:
    """Return one photo's points, float32 [N, 2].

    A photo that a CSV never names has no heads, since a list of heads has no other way to say so;
    a photo that a JSON file never names is an `InputError`.
    """
    table_path = find_table(image_path, suffix)
    table = read_table(table_path)
    key = table_key(image_path, table_path, table)
    if key is not None:
        return table[key].copy()
    if suffix == ".csv":
        return np.zeros((0, 2), np.float32)
    raise InputError(f"{table_path} does not name the photo {image_path}: {FORMAT[suffix]}")


def check_table(
    table_path: Path, photos: list[Path], faults: list[str] | None = None
) -> list[Path]:
    """Return the photos that the file never names.

    Raises `InputError` when it names a photo that is not there (with a list `faults`, that is noted
    there), or two photos by one name.
    """
    table = read_table(table_path)
    owners: dict[str, Path] = {}
    unnamed = []
    for photo in photos:
        key = table_key(photo, table_path, table)
        if key is None:
            unnamed.append(photo)
        elif key in owners:
            raise InputError(
                f"{table_path}: '{key}' may be {owners[key]} or {photo}: write the path relative "
                "to the file"
            )
        else:
            owners[key] = photo
    strays = sorted(set(table) - set(owners))
    if strays:
        raise_or_note(
            f"{table_path} names '{strays[0]}', which is not among the {len(photos)} photos "
            f"({len(strays)} such names): correct the name or remove its rows",
            faults,
        )
    return unnamed
