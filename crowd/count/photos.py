"""Counting a photo, or the photos of a folder, with any counter."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crowd.count.evaluation import write_table
from crowd.count.region import Region, count_inside
from crowd.data.folders import IMAGE_SUFFIXES, list_folder, say_left_out
from crowd.data.images import Photo, read_orientation, read_size, turned
from crowd.data.layouts.points import stored_points, upright_size
from crowd.data.network_input import Preprocessing, read_photo
from crowd.io.errors import InputError
from crowd.io.files import csv_text, write_text
from crowd.io.progress import progress
from crowd.pictures.overlays import region_overlay, with_count, write_picture

_NAMED = 3  # photos that could not be counted


class Seen(NamedTuple):
    """What a counter sees in a photo."""

    count: float  # of people
    picture: np.ndarray  # the photo with density and heads drawn in, uint8 [H, W, 3]
    heads: np.ndarray  # (x, y), float32 [M, 2], pixels of the photo; M may differ from the count
    confidence: np.ndarray  # of each head, [M] in (0, 1]
    # People per cell [h, w], squares of `crowd.count.region.CELL` pixels from the corner on, whose
    # sum is the count; None where the count is that of the heads.
    density: np.ndarray | None = None


Annotate = Callable[[np.ndarray, str], Seen]
"""From a photo uint8 [H, W, 3] and its name to what is seen in it."""

COUNTS, POINTS, PICTURE = "counts.csv", "points.csv", "_counted.jpg"
POINT_COLUMNS = ("image", "x", "y", "confidence")
# The last two with a region alone, the last where its area is known.
COUNT_COLUMNS = ("count", "count_in_region", "per_square_metre")


class Counted(NamedTuple):
    """What is reported of a photo."""

    # Of people in the photo; with a region in that too; with its area per square metre of it.
    counts: list[float]
    picture: np.ndarray  # the photo with all that drawn in, uint8 [H, W, 3]
    heads: np.ndarray  # in the photo, or in the region: (x, y), [M, 2], pixels of it as stored
    confidence: np.ndarray  # of each head, [M] in (0, 1]

    def columns(self) -> list[str]:
        """The counts for a table (`COUNT_COLUMNS`)."""
        return [f"{count:.4f}" for count in self.counts]

    def sentence(self) -> str:
        """The counts in words."""
        if len(self.counts) == 1:
            return f"{self.counts[0]:.1f} people"
        words = f"{self.counts[1]:.1f} people in the region ({self.counts[0]:.1f} in the photo)"
        return words + "".join(f", {each:.3g} per square metre," for each in self.counts[2:])


def count_photo(
    path: str | os.PathLike,
    output: Path,
    annotate: Annotate,
    how: Preprocessing,
    region: Region | None = None,
) -> str:
    """Count a photo; write `NAME_points.csv` (image, x, y, confidence) and `NAME_counted.jpg`.

    Points are in pixels of the photo as it is stored. Arguments as for `count_folder`; returns a
    sentence with the count and the files.
    """
    path = Path(path)
    counted = count_one(path, annotate, how, region)
    picture = output / f"{path.stem}{PICTURE}"
    write_picture(picture, counted.picture)
    rows = point_rows(path.name, counted.heads, counted.confidence)
    points = write_table(output / f"{path.stem}_{POINTS}", POINT_COLUMNS, rows)
    places = f"places of {len(rows)}: {points}; picture: {picture}"
    return f"{counted.sentence()} in {path}; {places}"


def count_one(
    path: Path, annotate: Annotate, how: Preprocessing, region: Region | None = None
) -> Counted:
    """Count a photo and write nothing; arguments as for `count_folder`."""
    stored, seen = fitting_size(path, how, region), annotate(read_photo(path, how), str(path))
    return report(seen, region, stored, read_orientation(path))


def fitting_size(path: Photo, how: Preprocessing, region: Region | None = None) -> tuple[int, int]:
    """Read a photo's (width, height) as stored; `InputError` if it or the region cannot be drawn.

    Nothing is decoded.
    """
    size = read_size(path)
    if region is not None:
        region.require_fit(*size, str(path))
    how.require_drawable(*size, path)
    return size


def report(
    seen: Seen, region: Region | None, stored: tuple[int, int], orientation: int = 1
) -> Counted:
    """Report what is seen in a photo that is `stored` with that (width, height)."""
    count, picture, heads, confidence, density = seen
    size, counts, upright = picture.shape[1::-1], [count], upright_size(stored, orientation)
    if region is not None:
        mask = turned(region.mask(*stored), orientation)
        count, inside = count_inside(mask, heads, density, size)
        counts += [count] if region.area_m2 is None else [count, count / region.area_m2]
        picture, heads = region_overlay(picture, mask), heads[inside]
        confidence = confidence[inside]
    heads = stored_points(heads * np.divide(upright, size), orientation, *upright)
    return Counted(counts, with_count(picture, count), heads, confidence)


def point_rows(name: object, heads: np.ndarray, confidence: np.ndarray) -> list[tuple]:
    """Rows of a table of points, one a head."""
    pairs = zip(heads.tolist(), confidence.tolist(), strict=True)
    return [(name, f"{x:.2f}", f"{y:.2f}", f"{sure:.3f}") for (x, y), sure in pairs]


def count_folder(
    folder: str | os.PathLike,
    output: Path,
    annotate: Annotate,
    how: Preprocessing,
    recursive: bool = False,
    region: Region | None = None,
) -> Path:
    """Count every photo of a folder; write `counts.csv` (name, count), points and pictures.

    With a region the table has a column of its counts, and one per square metre where its area is
    known; `points.csv` holds the heads in it. Points and pictures are as `count_photo` writes them.
    What is left out of the folder is counted and named in a note.

    Args:
        folder: with the photos.
        output: folder to write to, another one.
        annotate: counts and draws.
        how: photos are brought to the network's size.
        recursive: take those in its subfolders too, named by their path in `folder`.
        region: of every photo, in which people are counted beside all others.

    Returns the path of `counts.csv`, which is written last. Raises `InputError` without photos,
    for an output that holds some of them, two of one name, one that is too narrow a strip, or one
    that the region does not fit; and for those that cannot be read, when all others are counted
    and in the tables.
    """
    folder = Path(folder)
    _require_apart(output, folder, recursive)
    paths = _photos_of(folder, output, recursive)
    if not paths:
        raise InputError(f"{folder} holds no photos that are read: name a folder that does")
    faults, rows, points, names = {}, [], [], {}
    for path in paths:
        other = names.setdefault(path.with_suffix(""), path)
        if other != path:
            raise InputError(f"{other} and {path} share a name: rename one")
        try:
            read_size(path)
        except InputError as error:
            faults[path] = str(error)
        else:  # one that cannot be drawn is for the user to decide before hours, not after them
            fitting_size(path, how, region)
    for path in progress([path for path in paths if path not in faults], "counting", "photo"):
        name = path.relative_to(folder)
        try:
            counted = count_one(path, annotate, how, region)
        except InputError as error:
            faults[path] = str(error)
            continue
        write_picture(output / name.parent / f"{name.stem}{PICTURE}", counted.picture)
        rows.append((name.as_posix(), *counted.columns()))
        points += point_rows(name.as_posix(), counted.heads, counted.confidence)
    if rows:
        write_text(output / POINTS, csv_text(POINT_COLUMNS, points))
        write_table(output / COUNTS, ("name", *COUNT_COLUMNS)[: len(rows[0])], rows)
    if faults:
        raise InputError(_sentence(faults, len(paths), folder, output / COUNTS if rows else None))
    return output / COUNTS


def _sentence(faults: dict[Path, str], total: int, folder: Path, table: Path | None) -> str:
    """Say which photos of a folder were not counted, and why the first of them was not."""
    names = [path.relative_to(folder).as_posix() for path in sorted(faults)]
    shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    others = f"; the counts of all others are in {table}" if table else ""
    return (
        f"{len(faults)} of {total} photos of {folder} could not be counted ({shown}){others}; "
        f"{faults[min(faults)]}"
    )


def _photos_of(folder: Path, output: Path, recursive: bool) -> list[Path]:
    """Photos of a folder, and of those in it if wanted, but not the output's; notes all others.

    No folder is taken twice, however many links lead to it: by one only if nothing else does.
    """
    taken, places, seen = [], [folder], {output.resolve(), *folder.resolve().parents}
    while places:
        place = places.pop(0)
        if place.resolve() in seen:
            continue
        seen.add(place.resolve())
        photos, files, folders, closed = list_folder(place)
        # Neither what was counted before nor, by a link, a folder around this one.
        apart = seen.union(place.resolve().parents)
        folders = [path for path in folders if path.resolve() not in apart]
        kinds = {path: "picture of a counted photo" for path in photos if _is_drawn(path)}
        taken += [path for path in photos if path not in kinds]
        if not recursive:
            more = "add --recursive for folders" if folders else ""
            say_left_out(place, [*files, *kinds, *folders], more, kinds)
            break
        kinds |= {path: "folder with results of counting" for path in folders if _is_counted(path)}
        kinds |= dict.fromkeys(closed, "folder that cannot be read")
        say_left_out(place, [*files, *kinds], kinds=kinds)
        folders = [path for path in folders if path not in kinds]
        links = [path for path in folders if path.is_symlink()]
        places = [path for path in folders if path not in links] + places + links
    return taken


def _is_drawn(path: Path) -> bool:
    """Whether a picture is what `count_photo` drew, beside the points that it found."""
    points = path.with_name(f"{path.name.removesuffix(PICTURE)}_{POINTS}")
    return path.name.endswith(PICTURE) and points.is_file()


def _is_counted(folder: Path) -> bool:
    """Whether a folder holds what was counted, not photos; a killed command leaves pictures."""
    return (folder / COUNTS).is_file() or any(folder.glob(f"*{PICTURE}"))


def _require_apart(output: Path, folder: Path, recursive: bool) -> None:
    """Raise `InputError` for an output in which photos of the folder lie, not only drawn ones."""
    if folder.resolve() == output.resolve():
        raise InputError(f"{output} is the folder of the photos: choose another --output")
    if recursive and folder.resolve() in output.resolve().parents:
        files = (path for path in output.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if any(not path.name.endswith(PICTURE) for path in files):
            raise InputError(f"{output} holds photos of {folder}: choose another --output")
