"""A cleaned copy of a data set; the original is only read.

Public sets and your own points keep their layout; what a labelling tool wrote becomes a CSV.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.data.folders import list_images
from crowd.data.images import read_image, write_image
from crowd.data.layouts import text_files
from crowd.data.layouts.annotation import REPLACE
from crowd.data.layouts.points import DEFAULT
from crowd.data.layouts.registry import layout_of
from crowd.data.layouts.survey import Survey
from crowd.data.layouts.tables import name_in, read_table
from crowd.data.splits import listed_photos, photos_by_name
from crowd.io.errors import InputError
from crowd.io.files import atomic_path, read_text, write_text
from crowd.io.progress import progress
from crowd.validation.checks import Checked, Finding


def write_clean(
    checked: Sequence[Checked],
    findings: Sequence[Finding],
    looked: Survey,
    root: Path,
    target: Path,
) -> tuple[int, int]:
    """Write the photos that can be used, upright, with the points that lie in them, once each.

    Takes what `crowd.validation.checks.check_set` returns; `target` appears when all is in it.
    Returns how many photos were written, and how many left out. Raises `InputError` when it is in
    doubt how points are meant; `target` exists and holds something, lies in the data set, or cannot
    be written; or a table of points lies outside `root`.
    """
    looked.require_answers()
    target = Path(os.path.abspath(target))
    if target.is_relative_to(root):
        raise InputError(f"{target} lies in the data set: name another folder for the copy")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} holds something: name a new folder for the copy")
    # NWPU keeps all photos in one folder: one that stands in two lists is the same file in both.
    leaks = {(one.split, one.file) for one in findings if one.kind == "same photo in two splits"}
    kept = [one for one in checked if one.usable and (one.split, one.file) not in leaks]
    if not kept:
        raise InputError(f"no photo of {root} can be used: there is nothing to copy")
    with atomic_path(target, folder=True) as part:
        _write(kept, root, part)
    return len(kept), len(checked) - len(kept)


def _write(kept: Sequence[Checked], root: Path, part: Path) -> None:
    known = layout_of(kept[0].seen.layout)
    tables: dict[Path, dict[str, np.ndarray]] = {}
    for one in progress(kept, "copying", unit="photo"):
        seen = one.seen
        photo = part / one.file
        photo.parent.mkdir(parents=True, exist_ok=True)
        if one.rewrite:
            write_image(photo, read_image(seen.photo, one.depth))
        else:
            shutil.copyfile(seen.photo, photo)
        points = seen.heads(one.convention)[one.keep]
        if known.tool:
            tables.setdefault(root / "annotations.csv", {})[one.file] = points
            continue
        if known.table:
            name = name_in(read_table(seen.file, seen.layout), seen.photo)
            name = name or seen.photo.relative_to(seen.file.parent).as_posix()
            tables.setdefault(seen.file, {})[name] = points
            continue
        copy = part / seen.file.relative_to(root)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if one.keep.all() and seen.orientation == 1 and one.convention == DEFAULT:
            shutil.copyfile(seen.file, copy)
        else:
            sizes = None if seen.annotation.heads is None else seen.boxes(one.convention)
            known.format.write(copy, points, seen.file, one.keep, sizes)
    text = text_files.own_text if known.tool else known.format.write
    for table, photos in tables.items():
        write_text(part / _inside(table, root), text(photos))
    if kept[0].seen.layout == "nwpu":
        _write_lists(kept, root, part)


def _inside(table: Path, root: Path) -> Path:
    if not table.is_relative_to(root):
        raise InputError(f"{table} lies outside {root}: name the folder that holds it too")
    return table.relative_to(root)


def _write_lists(kept: Sequence[Checked], root: Path, part: Path) -> None:
    """Copy the lines of the list files that name photos of the copy, one a photo."""
    by_name = photos_by_name(list_images(root / "images"))
    for split in dict.fromkeys(one.split for one in kept):
        missing = {one.seen.photo for one in kept if one.split == split}
        lines = []
        for line in read_text(root / f"{split}.txt", REPLACE).splitlines():
            named = listed_photos(line, by_name)
            if len(named) == 1 and named[0] in missing:
                lines.append(f"{line}\n")
                missing.remove(named[0])
        write_text(part / f"{split}.txt", "".join(lines))
