"""Folders of photos: which files are read as photos, and what is left out, by their endings."""

import importlib.util
import os
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from crowd.io.files import require_folder, unreadable
from crowd.io.progress import note

JPEG, TIFF = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"), (".tif", ".tiff")
HEIC = (".heic", ".heif", ".hif")
IMAGE_SUFFIXES = (*JPEG, ".png", ".bmp", *TIFF, ".webp", ".gif", ".avif", *HEIC)
VIDEO = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
# Of files beside photos that are annotations, features, settings or lists.
COMPANIONS = (".npy", ".h5", ".mat", ".txt", ".json", ".csv", ".xml", ".yml", ".yaml", ".md")


class Listing(NamedTuple):
    """What lies in a folder, sorted by name; nothing whose name begins with a point."""

    photos: list[Path]  # that can be read
    files: list[Path]  # all others
    folders: list[Path]  # in which photos lie, at any depth
    closed: list[Path]  # folders, at any depth, that cannot be read, where no photo was seen

    def left_out(self) -> list[Path]:
        """What is no photo and none of `COMPANIONS`."""
        files = [path for path in self.files if path.suffix.lower() not in COMPANIONS]
        return [*files, *self.folders]


def composed(name: str) -> str:
    """A name with each accent in its letter (NFC), as most files write it; macOS parts them."""
    return unicodedata.normalize("NFC", name)


def list_folder(folder: str | os.PathLike) -> Listing:
    """Return the photos directly inside `folder`, and what else lies there.

    Raises `InputError` when it is no folder, or cannot be read; those in it may be closed.
    """
    folder = require_folder(folder, "check the path")
    try:
        names = sorted(entry.name for entry in os.scandir(folder))
    except OSError as error:
        raise unreadable(folder, error, "cannot be listed: check the path") from error
    listing = Listing([], [], [], [])
    for path in (folder / name for name in names if not name.startswith(".")):
        if os.path.isdir(path):
            faults: list[OSError] = []
            files = (file for *_, some in os.walk(path, onerror=faults.append) for file in some)
            if any(Path(file).suffix.lower() in IMAGE_SUFFIXES for file in files):
                listing.folders.append(path)
            else:
                listing.closed.extend(Path(fault.filename) for fault in faults)
        else:
            (listing.files if missing_reader(path.suffix) else listing.photos).append(path)
    return listing


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Return the photos directly inside `folder`, sorted by name.

    What is left out is counted and named in a note, but for annotations and the like beside photos.
    """
    listing = list_folder(folder)
    say_left_out(folder, listing.left_out())
    return listing.photos


def say_left_out(
    folder: str | os.PathLike,
    others: Sequence[Path],
    more: str = "",
    kinds: Mapping[Path, str] | None = None,
) -> None:
    """Count and name, in a note that ends in `more`, what in `folder` is not read as a photo.

    `kinds` says of some of them what they are, where that is not their ending.
    """
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in others:
        kind = "folder with photos" if path.is_dir() else path.suffix.lower() or "without ending"
        groups[(kinds or {}).get(path, kind)].append(path)
    parts = []
    for kind, paths in groups.items():
        first = paths[0].name + (", …" if len(paths) > 1 else "")
        parts.append(f"{len(paths)} {kind} ({first})")
    suffixes = {path.suffix.lower() for path in others}
    needs = {missing_reader(suffix) for suffix in suffixes.intersection(IMAGE_SUFFIXES)}
    if parts:
        ends = "".join(f"; {end}" for end in [*sorted(needs), more] if end)
        note(f"{len(others)} left out of {folder}: {', '.join(parts)}{ends}")


def missing_reader(suffix: str) -> str:
    """Why files of this ending are not read, and what to do; empty for those that are."""
    suffix = suffix.lower()
    if suffix in VIDEO:
        return "a video's frames are counted with --video"
    if suffix not in IMAGE_SUFFIXES:
        named = f"ending in '{suffix}'" if suffix else "without an ending"
        return f"pictures {named} are not read: convert them to JPEG"
    if suffix in HEIC and importlib.util.find_spec("pillow_heif") is None:
        return "HEIC needs a plugin: pip install pillow-heif, or convert it to JPEG"
    return ""
