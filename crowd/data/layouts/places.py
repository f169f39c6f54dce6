"""Where in a data set photos are: splits by folder name, scene folders, folders left out."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

from crowd.data.images import list_folder

_SPLIT = re.compile(r"(train|val|valid|validation|test)\d*", re.IGNORECASE)
_SHOWN = 5


def photo_folders(root: Path) -> dict[Path, list[Path]]:
    """Return every folder below `root` (itself included) that holds photos, with its photos."""
    folders = {}
    seen: set[str] = set()
    for folder, inner, _ in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link to a folder above, or to one twice
            inner.clear()
            continue
        seen.add(real)
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        photos = list_folder(folder).photos
        if photos:
            folders[Path(folder)] = photos
    return folders


def photos_by_split(root: Path, annotated: Callable[[list[Path]], bool]) -> dict[str, list[Path]]:
    """Return the photos of a set that keeps them in folders of any depth.

    A folder is looked into when it is `root`, `images`, a split's (`train`, `val`, `valid`,
    `test`, with a year or without), or `images` in or around one; and any other, such as a
    scene's, when `annotated` says that an annotation speaks of one of its photos. Where some
    photos are in a split's folder, the others are left out.
    """
    splits: dict[str, list[Path]] = {}
    for folder, photos in photo_folders(root).items():
        parts = folder.relative_to(root).parts
        named = [match for match in map(_SPLIT.fullmatch, parts) if match]
        others = [part for part in parts if not _SPLIT.fullmatch(part)]
        if all(part.lower() == "images" for part in others) or annotated(photos):
            split = named[0].group(1).lower() if named else "all"
            split = "val" if split.startswith("val") else split
            splits.setdefault(split, []).extend(photos)
    if len(splits) > 1:
        splits.pop("all", None)
    return {name: splits[name] for name in ("train", "val", "test", "all") if name in splits}


def left_out(root: Path, photos: Iterable[Path]) -> dict[str, int]:
    """Return the folders below `root` that are neither looked into nor in one that is.

    Folders inside one that holds some of `photos` are named where that one is listed.

    Returns:
        Their path, relative to `root`, and their number of photos.
    """
    known = {photo.parent for photo in photos}
    return {
        folder.relative_to(root).as_posix(): len(inside)
        for folder, inside in photo_folders(root).items()
        if not known & {folder, *folder.parents}
    }


def describe_left_out(folders: dict[str, int]) -> str:
    """Say how many photos lie in folders that were not looked into, and where."""
    shown = [f"{folder} ({number})" for folder, number in list(folders.items())[:_SHOWN]]
    more = f", and {len(folders) - _SHOWN} more" if len(folders) > _SHOWN else ""
    return f"{sum(folders.values())} photos in folders that were not looked into: " + (
        ", ".join(shown) + more
    )


def short_names(photos: Iterable[Path]) -> dict[Path, Path]:
    """Return for each photo the shortest end of its path that tells it from the others.

    `img01.jpg`, or `scene01/img01.jpg` where another scene has a photo of that stem too. Two
    photos that differ in nothing but their ending keep the same one.
    """
    photos = list(photos)
    names: dict[Path, Path] = {}
    for depth in range(1, 5):
        tails = {photo: Path(*photo.parts[-depth:]) for photo in photos if photo not in names}
        taken: dict[Path, int] = {}
        for tail in tails.values():
            taken[tail.with_suffix("")] = taken.get(tail.with_suffix(""), 0) + 1
        for photo, tail in tails.items():
            if taken[tail.with_suffix("")] == 1:
                names[photo] = tail
    return {photo: names.get(photo, Path(photo.name)) for photo in photos}
