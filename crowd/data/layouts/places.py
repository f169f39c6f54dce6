"""Where data sets keep photos and annotations: splits, scene folders, what is left out."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import reduce
from pathlib import Path

from crowd.data.folders import list_folder, list_images, say_left_out
from crowd.data.layouts.beside import annotation_path, annotations_without_photo, called
from crowd.data.layouts.registry import LAYOUTS, layout_of
from crowd.data.layouts.tables import check_table, find_table, hint, name_in, read_table
from crowd.data.processed import SETTINGS
from crowd.data.splits import read_list
from crowd.io.errors import InputError
from crowd.io.files import require_folder
from crowd.io.progress import note

SPLITS = ("train", "val", "test")
_SPLIT = re.compile(r"(?:obj_)?(train|val|valid|validation|test)(?:_data|\d*)", re.IGNORECASE)
# What a folder is called that is meant as a split and is none: train_images, Testing, val-set; a
# scene called train_station is not.
_MEANT = re.compile(
    r"(?<![^\W\d_])(train|val|valid|test)(?:ing|ation|set)?"
    r"(?:[\W\d_]*(?:image|img|photo|picture|pic|frame|sample|data|dataset|set|split)s?)*[\W\d_]*$",
    re.IGNORECASE,
)
_SHOWN = 5


def find_photos(
    root: str | os.PathLike, layout: str, faults: list[str] | None = None
) -> dict[str, list[Path]]:
    """Return 'train', 'val', 'test' -> photos of a data set; one without splits has 'all' alone.

    They are in the order of names, or of the set's list files. Of ShanghaiTech `root` is `part_A`
    or `part_B`, whatever its spelling. A split of NWPU-Crowd without any annotation (its test
    photos, as published) is left out, with a note on stderr.

    Raises `InputError` when nothing of that layout is there; and, unless the message is taken by
    `faults`, when a list or a table of points names a photo that is not there.
    """
    known = layout_of(layout)
    expected = f"{layout} has {known.expected}"
    root = require_folder(root, f"name the folder of the data set; {expected}")
    if "{split}" in known.photos:
        splits = _photos_in_folders(root, known.photos)
    elif layout == "nwpu":
        splits = _photos_in_lists(root, faults)
    elif known.photos:
        splits = {"all": sorted(list_images(root / known.photos), key=_natural)}
    else:
        splits = _photos_anywhere(root, layout, faults)
    splits = {name: photos for name, photos in splits.items() if photos}
    photos = [photo for split in splits.values() for photo in split]
    others = left_out(root, photos)
    if not splits:
        seen = describe_left_out(others) if others else hint(root)
        expected += f"; {seen}" if seen else ""
        raise InputError(f"{root} has no photos as {layout} has them: {expected}")
    if faults is None:
        _say_what_is_left_out(root, layout, photos, others)
    return splits


def _say_what_is_left_out(
    root: Path, layout: str, photos: Sequence[Path], others: dict[str, int]
) -> None:
    if not layout_of(layout).photos:  # fixed folders were listed with what they leave out
        for folder in sorted({photo.parent for photo in photos}):
            say_left_out(folder, not_read(folder, photos))
    if others:
        note(f"left out {describe_left_out(others)}")
    lonely = annotations_without_photo(root, layout, photos)
    if lonely:
        note(
            f"{len(lonely)} annotations in {root} belong to no photo that is read: left out (the "
            f"first: {os.path.relpath(lonely[0], root)})"
        )


def not_read(folder: Path, photos: Iterable[Path]) -> list[Path]:
    """What lies in a folder of photos, is none, belongs to none, and leads to none of `photos`."""
    above = {parent for photo in photos for parent in photo.parents}
    return [path for path in list_folder(folder).left_out() if path not in above]


def _photos_in_folders(root: Path, place: str) -> dict[str, list[Path]]:
    folders = {one: reduce(called, place.format(split=one).split("/"), root) for one in SPLITS}
    return {split: list_images(folder) for split, folder in folders.items() if folder.is_dir()}


def _photos_in_lists(root: Path, faults: list[str] | None) -> dict[str, list[Path]]:
    known = LAYOUTS["nwpu"]
    folder = require_folder(root / known.photos, f"nwpu has {known.expected}")
    photos = list_images(folder)
    lists = (root / f"{split}.txt" for split in SPLITS)
    named = {path: read_list(path, photos, faults) for path in lists if path.exists()}
    splits = {}
    for path, listed in named.items():
        if any(annotation_path(photo, "nwpu").exists() for photo in listed):
            splits[path.stem] = listed
        else:
            note(f"none of the {len(listed)} photos of {path} has an annotation; left out")
    unlisted = sorted(set(photos).difference(*named.values()))
    if unlisted and named:
        names = ", ".join(path.name for path in named)
        note(
            f"{len(unlisted)} of {len(photos)} photos in {folder} are named in none of {names}: "
            f"left out (the first: {unlisted[0].name})"
        )
    return splits


def _photos_anywhere(root: Path, layout: str, faults: list[str] | None) -> dict[str, list[Path]]:
    """Photos in folders of any depth, with a note on those that no annotation speaks of."""
    known = LAYOUTS[layout]

    def is_annotated(photo: Path) -> bool:
        try:
            file = annotation_path(photo, layout)
        except InputError:  # there is no table
            return False
        if known.table:
            return name_in(read_table(file, layout), photo) is not None
        return file.is_file()

    splits = photos_by_split(root, lambda photos: any(map(is_annotated, photos)))
    outside = splits.pop("all", []) if len(splits) > 1 else []
    photos = [photo for split in splits.values() for photo in split]
    empty: list[Path] = []
    owned: dict[Path | None, list[Path]] = {}
    for photo in photos:
        owned.setdefault(find_table(photo, layout) if known.table else None, []).append(photo)
    for table, of_it in owned.items():
        if table:
            without = check_table(table, layout, of_it, faults, outside)
        else:
            without = [photo for photo in of_it if not is_annotated(photo)]
            if without == photos:
                remedy = hint(photos[0].parent) or known.format.shape
                raise InputError(f"no photo of {root} has an annotation of {layout}: {remedy}")
        if without and known.unlisted:
            what = f"row in {table}" if table else f"file of {layout}"
            note(
                f"{len(without)} of {len(of_it)} photos have no {what}: they count as photos "
                f"without heads (the first: {without[0].name})"
            )
        empty += without
    if known.unlisted and empty:
        _require_meant(root, layout, splits, empty)
        lonely = annotations_without_photo(root, layout, photos + outside)
        if lonely and faults is None:
            raise InputError(
                f"{len(empty)} photos of {root} have no file of {layout} (the first: "
                f"{os.path.relpath(empty[0], root)}), and {len(lonely)} such files no photo that "
                f"is read (the first: {os.path.relpath(lonely[0], root)}): give both one name, "
                "or take the files out"
            )
    return splits


def _require_meant(
    root: Path, layout: str, splits: dict[str, list[Path]], empty: list[Path]
) -> None:
    """Raise `InputError` for a split of which no photo has a file or row: it was forgotten."""
    for split, photos in splits.items():
        if set(empty).issuperset(photos):
            what = "row" if LAYOUTS[layout].table else "file"
            whole = f"{root}" if split == "all" else f"the split {split} in {root}"
            raise InputError(
                f"none of the {len(photos)} photos of {whole} has a {what} of {layout}, so all "
                "would count as photos without heads: annotate them, or take them out"
            )


def photo_folders(root: Path) -> dict[Path, list[Path]]:
    """Return every folder below `root` (itself included) that holds photos, with its photos.

    Processed sets below it are another command's output, whose photos are no longer those of the
    annotation.
    """
    folders = {}
    seen: set[str] = set()
    for folder, inner, files in os.walk(root, followlinks=True):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        real = os.path.realpath(folder)
        processed = Path(folder) != root and SETTINGS in files
        if processed or real in seen:  # a link to a folder above, or to one twice
            inner.clear()
            continue
        seen.add(real)
        photos = list_folder(folder).photos
        if photos:
            folders[Path(folder)] = photos
    return folders


def photos_by_split(root: Path, annotated: Callable[[list[Path]], bool]) -> dict[str, list[Path]]:
    """Return the photos of a set that keeps them in folders of any depth.

    A folder is looked into when it is `root`, `images`, a split's (`train`, `val`, `valid`,
    `test`, with a year or without, `train_data`, `obj_train_data`), or `images` in or around one;
    and any other, such as a scene's, when `annotated` says that an annotation speaks of one of its
    photos; those outside every split are `all`. Raises `InputError` for folders that are called
    nearly as a split is, which would mix test photos with the others.
    """
    meant: dict[str, str] = {}
    splits: dict[str, list[Path]] = {}
    for folder, photos in photo_folders(root).items():
        parts = folder.relative_to(root).parts
        named = [match for match in map(_SPLIT.fullmatch, parts) if match]
        others = [part for part in parts if not _SPLIT.fullmatch(part)]
        if all(part.lower() == "images" for part in others) or annotated(photos):
            split = _split_of(named[0]) if named else "all"
            splits.setdefault(split, []).extend(photos)
            if not named:
                words = {part: _MEANT.search(part) for part in others}
                meant |= {part: _split_of(word) for part, word in words.items() if word}
    if meant:
        names = " and ".join(f"{split}/" for split in SPLITS if split in meant.values())
        raise InputError(
            f"folders of {root} look like splits ({', '.join(sorted(meant))}): call them {names}"
        )
    return {name: splits[name] for name in (*SPLITS, "all") if name in splits}


def _split_of(match: re.Match) -> str:
    split = match.group(1).lower()
    return "val" if split.startswith("val") else split


def left_out(root: Path, photos: Iterable[Path]) -> dict[str, int]:
    """Return folders below `root` that were not looked into, by relative path: number of photos.

    Folders inside one that holds some of `photos` are named where that one is listed.
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
    number = sum(folders.values())
    return f"{number} photos in folders that were not looked into: {', '.join(shown)}{more}"


def short_names(photos: Iterable[Path]) -> dict[Path, Path]:
    """Return for each photo the shortest end of its path that tells it from the others.

    `img01.jpg`, or `scene01/img01.jpg` where another scene has a photo of that stem too. Two
    photos that differ in nothing but their ending keep the same one.
    """
    photos = list(photos)
    names = {photo: Path(photo.name) for photo in photos}
    for depth in range(4, 0, -1):
        tails = {photo: Path(*photo.parts[-depth:]) for photo in photos}
        taken = Counter(tail.with_suffix("") for tail in tails.values())
        names |= {photo: tail for photo, tail in tails.items() if taken[tail.with_suffix("")] == 1}
    return names


def _natural(path: Path) -> list:
    """Sort key that puts 2.jpg before 10.jpg."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]
