"""Photos without any annotation, as the target of an adaptation has them."""

import os
from pathlib import Path

from crowd.data.folders import say_left_out
from crowd.data.layouts.places import describe_left_out, left_out, not_read, photos_by_split
from crowd.io.errors import InputError
from crowd.io.files import require_folder
from crowd.io.progress import note

BARE = "photos"  # no layout of annotations, and so none of `crowd.data.layouts.registry.LAYOUTS`
ABOUT = f"{BARE}: photos alone, without annotations (a target)"


def find_bare(root: str | os.PathLike) -> dict[str, list[Path]]:
    """Return 'train' -> the photos in `root`/train, or all in folders of any depth, and no 'val'.

    Those in val/ and test/ are left out, with a note. Raises `InputError` where there are none, or
    folders are called nearly as splits are.
    """
    root = require_folder(root, "name the folder of the photos")
    splits = photos_by_split(root, lambda _: True)
    photos = splits.get("train") or splits.get("all")
    if not photos:
        raise InputError(f"{root} has no photos, nor train/ with photos: name their folder")
    for folder in sorted({photo.parent for photo in photos}):
        say_left_out(folder, not_read(folder, photos))
    others = left_out(root, photos)
    if others:
        note(f"left out {describe_left_out(others)}")
    return {"train": photos, "val": []}
