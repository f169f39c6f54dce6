"""One annotation file for many photos: which file speaks of a photo, and under which name.

The file lies in the nearest folder that has one of the layout's: the photo's own, or one of the
three above, or `annotations/` in any of them. Photos are named by the end of their path, from the
bare file name to the path relative to that file; of a path from elsewhere (absolute, `../`, a URL)
only the file name counts. Names are only compared with photos found on disk and never opened, so a
file from elsewhere cannot reach outside the folder.
"""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from crowd.data.layouts.annotation import NONE, Annotation
from crowd.data.layouts.content import hint, looks_like, parse
from crowd.data.layouts.labelstudio import PREFIX
from crowd.data.layouts.registry import LAYOUTS
from crowd.io.errors import InputError, raise_or_note
from crowd.io.files import until_changed

LEVELS = 4
MANY = 50  # more are files of a photo each


class Table(NamedTuple):
    """What a file says of every photo, and its names by the file name that they end in."""

    photos: dict[str, Annotation]
    by_file: dict[str, list[str]]


def find_table(image_path: Path, layout: str) -> Path:
    """Return the annotation file that speaks of this photo.

    Raises `InputError` when there is none, or several and none of them is called `annotations`,
    is the only one of the layout, or the only one that names the photo.
    """
    image_path = Path(os.path.abspath(image_path))
    form = LAYOUTS[layout].format
    for folder in image_path.parents[:LEVELS]:
        inner = (folder, folder / "annotations")
        tables = [table for place in inner for table in _tables_in(place, form.suffixes)]
        named = [table for table in tables if table.stem == "annotations"]
        if tables:
            return _choose(named or tables, image_path, layout)
    raise InputError(
        f"{image_path} has no annotation file: put annotations{form.suffixes[0]} beside the "
        f"photos or in the folder above; {hint(image_path.parent) or form.shape}"
    )


def _choose(tables: list[Path], image_path: Path, layout: str) -> Path:
    """Return the table of this layout that names the photo; a single one whatever it holds."""
    if len(tables) == 1:
        return tables[0]
    folder, suffixes = tables[0].parent, LAYOUTS[layout].format.suffixes
    several = f"{folder} holds {len(tables)} {'/'.join(suffixes)} files"
    remedy = hint(folder) or f"call the one with the points annotations{suffixes[0]}"
    if len(tables) > MANY:
        raise InputError(f"{several}: {remedy}")
    looks = {table: looks_like(table) for table in tables}
    of_layout = [table for table in tables if looks[table] == layout]
    of_layout = of_layout or [table for table in tables if looks[table] is None]
    if len(of_layout) > 1:
        remedy = f"call the one with the points annotations{suffixes[0]}"
        of_layout = [table for table in of_layout if _names(table, image_path, layout)]
    if len(of_layout) != 1:
        raise InputError(f"{several}: {remedy}")
    return of_layout[0]


def _names(table: Path, image_path: Path, layout: str) -> bool:
    with contextlib.suppress(InputError):
        return name_in(read_table(table, layout), image_path) is not None
    return False


def is_named(image_path: Path, layout: str) -> bool:
    """Whether there is a table that names the photo; raises `InputError` when it is damaged."""
    try:
        table = find_table(image_path, layout)
    except InputError:
        return False
    return name_in(read_table(table, layout), image_path) is not None


@until_changed(64)
def _tables_in(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    return sorted(path for path in folder.glob("*") if path.suffix in suffixes)


@until_changed(8)
def read_table(path: Path, layout: str) -> Table:
    """Return what the file says of every photo; every photo asks again."""
    photos = parse(path, layout)
    by_file = defaultdict(list)
    for name in photos:
        file = name.rsplit("/", 1)[-1]
        by_file[file].append(name)
        if layout == "labelstudio" and PREFIX.match(file):
            by_file[PREFIX.sub("", file)].append(name)
    return Table(photos, dict(by_file))


def name_in(table: Table, image_path: Path) -> str | None:
    """Return the name under which the file speaks of the photo, or None.

    Raises `InputError` when several names of paths from elsewhere may be the photo's.
    """
    path = Path(os.path.abspath(image_path)).as_posix()
    names = table.by_file.get(image_path.name, [])
    ends = [name for name in names if path.endswith(f"/{name}")]
    if ends:
        return max(ends, key=len)
    away = [name for name in names if _from_elsewhere(name)]
    if len(away) > 1:
        raise InputError(
            f"{image_path} may be '{away[0]}' or '{away[1]}' of its annotation file: write the "
            "path relative to that file"
        )
    return away[0] if away else None


def _from_elsewhere(name: str) -> bool:
    start = name.split("/")[0]
    return start in ("", "..") or ":" in start


def read_table_annotation(table_path: Path, image_path: Path, layout: str) -> Annotation:
    """Return what a table says of one photo.

    A photo that is never named has no heads where the layout is a list of heads, which has no
    other way to say so; elsewhere it is an `InputError`.
    """
    table = read_table(table_path, layout)
    name = name_in(table, image_path)
    if name is not None:
        return table.photos[name]
    if LAYOUTS[layout].unlisted:
        return NONE
    raise InputError(
        f"{table_path} does not name the photo {image_path}: annotate it, or take it out"
    )


def check_table(
    table_path: Path, layout: str, photos: list[Path], faults: list[str] | None = None
) -> list[Path]:
    """Return the photos that the file never names.

    Raises `InputError` when it names a photo that is not there (with a list `faults`, that is noted
    there), or two photos by one name.
    """
    table = read_table(table_path, layout)
    owners: dict[str, Path] = {}
    unnamed = []
    for photo in photos:
        name = name_in(table, photo)
        if name is None:
            unnamed.append(photo)
        elif name in owners:
            raise InputError(
                f"{table_path}: '{name}' may be {owners[name]} or {photo}: write the path relative "
                "to the file"
            )
        else:
            owners[name] = photo
    strays = sorted(set(table.photos) - set(owners))
    if strays:
        raise_or_note(
            f"{table_path} names '{strays[0]}', which is not among the {len(photos)} photos "
            f"({len(strays)} such names): correct the name or remove its rows",
            faults,
        )
    return unnamed
