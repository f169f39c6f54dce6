"""Where each layout keeps photos and annotations."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from crowd.data.annotation_tables import check_table, find_table, is_named
from crowd.data.images import list_folder, list_images, say_left_out
from crowd.data.layouts.content import hint, looks_like
from crowd.data.layouts.places import describe_left_out, left_out, photos_by_split
from crowd.data.layouts.registry import LAYOUTS, layout_of
from crowd.data.splits import read_list
from crowd.io.errors import InputError
from crowd.io.files import require_folder
from crowd.io.progress import note

# Split name -> folder names (compared without case) and the folder of the photos inside it.
_SPLIT_FOLDERS = {
    "qnrf": ({"train": "train", "val": "val", "test": "test"}, ""),
    "sht": ({"train": "train_data", "val": "val_data", "test": "test_data"}, "images"),
    "jhu": ({"train": "train", "val": "val", "test": "test"}, "images"),
    "brt": ({"train": "train", "val": "val", "test": "test"}, "frame"),
}


def annotation_path(image_path: str | os.PathLike, layout: str) -> Path:
    """Return where the photo's annotation belongs; only a table of points must be there."""
    known = layout_of(layout)
    image_path = Path(image_path)
    stem, above = image_path.stem, image_path.parent.parent
    if layout in ("qnrf", "ucf_cc_50"):
        return image_path.with_name(f"{stem}_ann.mat")
    if layout == "sht":
        folder = _subfolder(above, "ground_truth", "ground-truth") or above / "ground_truth"
        return folder / f"GT_{stem}.mat"
    if layout == "jhu":
        return above / "gt" / f"{stem}.txt"
    if layout == "nwpu":
        mat = above / "mats" / f"{stem}.mat"
        json_path = above / "jsons" / f"{stem}.json"
        return mat if mat.exists() and not json_path.exists() else json_path
    if layout == "brt":
        return above / "ground_truth" / f"{stem}.mat"
    return find_table(image_path, layout) if known.table else _own_file(image_path, layout)


def _own_file(image_path: Path, layout: str) -> Path:
    """Return the tool's file of this photo: beside it, or where `labels/` stands for `images/`."""
    reader = LAYOUTS[layout].reader
    file = image_path.with_name(f"{image_path.stem}{reader.SUFFIXES[0]}")
    places = [file]
    parts = file.parts
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        places += [Path(*parts[:last], name, *parts[last + 1 :]) for name in reader.FOLDERS]
    places += [file.parent / name / file.name for name in reader.FOLDERS]
    return next((place for place in places if place.is_file()), file)


def find_photos(
    root: str | os.PathLike, layout: str, faults: list[str] | None = None
) -> dict[str, list[Path]]:
    """Return the photos of each split that the data set has.

    Args:
        root: folder of the data set (ShanghaiTech: `part_A` or `part_B`, whatever its spelling).
        layout: one of `LAYOUTS`.
        faults: takes the messages about lists and tables that name what is not there, which are
            raised without it.

    Returns:
        'train', 'val', 'test' -> photos in the order of names or of the set's list files; a set
        without splits has the single key 'all'. A split of NWPU-Crowd without any annotation (its
        test photos, as published) is left out, with a note on stderr.

    Raises:
        InputError: nothing of that layout is there, a list names a photo that is not, or a table
            of points does (see `crowd.data.annotation_tables.check_table`).
    """
    known = layout_of(layout)
    expected = f"{layout} has {known.expected}"
    root = require_folder(root, f"name the folder of the data set; {expected}")
    if layout in _SPLIT_FOLDERS:
        splits = _photos_in_folders(root, *_SPLIT_FOLDERS[layout])
    elif layout == "nwpu":
        splits = _photos_in_lists(root, faults)
    elif layout == "ucf_cc_50":
        splits = {"all": sorted(list_images(root), key=_natural)}
    elif known.table:
        splits = _photos_in_tables(root, layout, faults)
    else:
        splits = _photos_with_files(root, layout)
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
    if layout_of(layout).reader:  # the folders of public sets were listed with what they leave out
        for folder in sorted({photo.parent for photo in photos}):
            say_left_out(folder, not_read(folder, photos))
    if others:
        note(f"left out {describe_left_out(others)}")
    lonely = annotations_without_photo(root, layout, photos)
    if lonely:
        note(
            f"{len(lonely)} annotations in {root} belong to no photo that is read: left out (the "
            f"first: {lonely[0].relative_to(root)})"
        )


def not_read(folder: Path, photos: Iterable[Path]) -> list[Path]:
    """What lies in a folder of photos, is none, belongs to none, and leads to none of `photos`."""
    above = {parent for photo in photos for parent in photo.parents}
    return [path for path in list_folder(folder).left_out() if path not in above]


def annotations_without_photo(root: Path, layout: str, photos: Sequence[Path]) -> list[Path]:
    """Return the annotation files, one a photo in most layouts, that no photo belongs to."""
    reader = layout_of(layout).reader
    if layout_of(layout).table:
        return []
    if layout == "nwpu":
        photos = list_images(root / "images")
    known = {annotation_path(photo, layout) for photo in photos}
    pattern = "*_ann.mat" if layout in ("qnrf", "ucf_cc_50") else None
    present: set[Path] = set()
    for folder, suffix in {(path.parent, path.suffix) for path in known}:
        present |= set(folder.glob(pattern or f"*{suffix}"))
    return sorted(path for path in present - known if not reader or looks_like(path) == layout)


def _photos_in_folders(root: Path, names: dict[str, str], inner: str) -> dict[str, list[Path]]:
    splits = {}
    for split, name in names.items():
        folder = _subfolder(root, name)
        photos = folder and (_subfolder(folder, inner) if inner else folder)
        if photos:
            splits[split] = list_images(photos)
    return splits


def _photos_in_lists(root: Path, faults: list[str] | None) -> dict[str, list[Path]]:
    photos = list_images(require_folder(root / "images", f"nwpu has {LAYOUTS['nwpu'].expected}"))
    splits = {}
    for split in ("train", "val", "test"):
        path = root / f"{split}.txt"
        if not path.exists():
            continue
        listed = read_list(path, photos, faults)
        if any(annotation_path(photo, "nwpu").exists() for photo in listed):
            splits[split] = listed
        else:
            note(f"none of the {len(listed)} photos of {path} has an annotation; left out")
    return splits


def _photos_in_tables(root: Path, layout: str, faults: list[str] | None) -> dict[str, list[Path]]:
    splits = photos_by_split(root, lambda photos: any(is_named(one, layout) for one in photos))
    tables: dict[Path, list[Path]] = {}
    for photo in (photo for photos in splits.values() for photo in photos):
        tables.setdefault(find_table(photo, layout), []).append(photo)
    for table, photos in tables.items():
        unnamed = check_table(table, layout, photos, faults)
        if unnamed and LAYOUTS[layout].unlisted:
            note(
                f"{len(unnamed)} of {len(photos)} photos have no row in {table}: they count as "
                f"photos without heads (the first: {unnamed[0].name})"
            )
    return splits


def _photos_with_files(root: Path, layout: str) -> dict[str, list[Path]]:
    def is_annotated(photo: Path) -> bool:
        return _own_file(photo, layout).is_file()

    splits = photos_by_split(root, lambda photos: any(map(is_annotated, photos)))
    photos = [photo for photos in splits.values() for photo in photos]
    without = [photo for photo in photos if not is_annotated(photo)]
    if photos and len(without) == len(photos):
        folder = photos[0].parent
        raise InputError(
            f"no photo of {root} has an annotation of {layout}: "
            f"{hint(folder) or LAYOUTS[layout].reader.FORMAT}"
        )
    if without and LAYOUTS[layout].unlisted:
        note(
            f"{len(without)} of {len(photos)} photos have no file of {layout}: they count as "
            f"photos without heads (the first: {without[0]})"
        )
    return splits


def _subfolder(folder: Path, *names: str) -> Path | None:
    """The first of `names` that is a folder inside `folder`, compared without case."""
    if not folder.is_dir():
        return None
    present = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    return next((present[name] for name in names if name in present), None)


def _natural(path: Path) -> list:
    """Sort key that puts 2.jpg before 10.jpg."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", path.name)]
