"""Where each public data set keeps photos and annotations."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from crowd.annotation_tables import check_table, find_table
from crowd.errors import InputError
from crowd.files import require_folder
from crowd.images import list_folder, list_images
from crowd.progress import note
from crowd.splits import read_list

LAYOUTS = ("qnrf", "sht", "jhu", "nwpu", "ucf_cc_50", "brt", "csv", "json")

# Split name -> folder names (compared without case) and the folder of the photos inside it.
_SPLIT_FOLDERS = {
    "qnrf": ({"train": "train", "val": "val", "test": "test"}, ""),
    "sht": ({"train": "train_data", "val": "val_data", "test": "test_data"}, "images"),
    "jhu": ({"train": "train", "val": "val", "test": "test"}, "images"),
    "brt": ({"train": "train", "val": "val", "test": "test"}, "frame"),
}
_EXPECTED = {
    "qnrf": "Train/ and Test/ with NAME.jpg and NAME_ann.mat",
    "sht": "train_data/ and test_data/ (in part_A or part_B) with images/ and ground_truth/",
    "jhu": "train/, val/ and test/, each with images/ and gt/",
    "nwpu": "images/, jsons/ (or mats/), and the lists train.txt, val.txt, test.txt",
    "ucf_cc_50": "NAME.jpg and NAME_ann.mat",
    "brt": "train/ and test/, each with frame/ and ground_truth/",
    "csv": "photos and annotations.csv, or train/, val/ and test/ with photos",
    "json": "photos and annotations.json, or train/, val/ and test/ with photos",
}


def check_layout(layout: str) -> None:
    """Raise `InputError` naming the nearest layout when there is no such layout."""
    if layout not in LAYOUTS:
        close = difflib.get_close_matches(str(layout), LAYOUTS, n=1)
        nearest = f"did you mean '{close[0]}'? " if close else ""
        raise InputError(f"unknown layout '{layout}': {nearest}choose one of {', '.join(LAYOUTS)}")


def annotation_path(image_path: str | os.PathLike, layout: str) -> Path:
    """Return where the photo's annotation belongs; only csv and json need the file to be there."""
    check_layout(layout)
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
    return find_table(image_path, f".{layout}")


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
            of points does (see `crowd.annotation_tables.check_table`).
    """
    check_layout(layout)
    root = require_folder(
        root, f"name the folder of the data set; {layout} has {_EXPECTED[layout]}"
    )
    if layout in _SPLIT_FOLDERS:
        splits = _photos_in_folders(root, *_SPLIT_FOLDERS[layout])
    elif layout == "nwpu":
        splits = _photos_in_lists(root, faults)
    elif layout == "ucf_cc_50":
        splits = {"all": sorted(list_images(root), key=_natural)}
    else:
        splits = _photos_in_table(root, f".{layout}", faults)
    splits = {name: photos for name, photos in splits.items() if photos}
    if not splits:
        raise InputError(f"{root} has no photos as {layout} has them: {_EXPECTED[layout]}")
    photos = [photo for split in splits.values() for photo in split]
    lonely = annotations_without_photo(root, layout, photos) if faults is None else []
    if lonely:
        note(
            f"{len(lonely)} annotations in {root} belong to no photo that is read: left out (the "
            f"first: {lonely[0].relative_to(root)})"
        )
    return splits


def annotations_without_photo(root: Path, layout: str, photos: Sequence[Path]) -> list[Path]:
    """Return the annotation files, one a photo in most layouts, that no photo belongs to."""
    if layout in ("csv", "json"):
        return []
    if layout == "nwpu":
        photos = list_images(root / "images")
    known = {annotation_path(photo, layout) for photo in photos}
    pattern = "*_ann.mat" if layout in ("qnrf", "ucf_cc_50") else None
    present: set[Path] = set()
    for folder, suffix in {(path.parent, path.suffix) for path in known}:
        present |= set(folder.glob(pattern or f"*{suffix}"))
    return sorted(present - known)


def _photos_in_folders(root: Path, names: dict[str, str], inner: str) -> dict[str, list[Path]]:
    splits = {}
    for split, name in names.items():
        folder = _subfolder(root, name)
        photos = folder and (_subfolder(folder, inner) if inner else folder)
        if photos:
            splits[split] = list_images(photos)
    return splits


def _photos_in_lists(root: Path, faults: list[str] | None) -> dict[str, list[Path]]:
    photos = list_images(require_folder(root / "images", f"nwpu has {_EXPECTED['nwpu']}"))
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


def _photos_in_table(root: Path, suffix: str, faults: list[str] | None) -> dict[str, list[Path]]:
    splits = _photos_in_folders(root, {name: name for name in ("train", "val", "test")}, "")
    folders = {name: _subfolder(root, name) for name in splits} or {"all": root}
    splits = {}
    for name, folder in folders.items():
        inner = _subfolder(folder, "images")
        splits[name] = list_images(folder if list_folder(folder).photos or not inner else inner)
    tables: dict[Path, list[Path]] = {}
    for photo in (photo for photos in splits.values() for photo in photos):
        tables.setdefault(find_table(photo, suffix), []).append(photo)
    for table, photos in tables.items():
        unnamed = check_table(table, photos, faults)
        if unnamed and suffix == ".csv":
            note(
                f"{len(unnamed)} of {len(photos)} photos have no row in {table}: they count as "
                f"photos without heads (the first: {unnamed[0].name})"
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
