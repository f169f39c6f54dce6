"""Reading a processed set: photos and the files that belong beside them."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from crowd.data.folders import list_images
from crowd.io.errors import InputError
from crowd.io.files import read_array, read_text, require_folder, write_text
from crowd.io.locks import alone

SETTINGS = "preprocess.yml"
UNFINISHED = "unfinished: true\n"  # in it until all photos are written
PREPROCESS = "preprocess the set again (preprocess_dataset_ucf.py; for MGOT python -m mgot.fidt)"


@contextlib.contextmanager
def unfinished(folder: Path, said: str = "") -> Iterator[None]:
    """Let the settings file of `folder` call it unfinished, until the block ends by itself.

    Then it says `said`, or goes where that is nothing. Raises `InputError` where another process
    writes the folder.
    """
    with alone(folder):
        write_text(folder / SETTINGS, UNFINISHED + said)
        yield
        if said:
            write_text(folder / SETTINGS, said)
        else:
            (folder / SETTINGS).unlink()


def is_unfinished(folder: Path) -> bool:
    """Whether the command that writes a set, or patches, was stopped before all was in `folder`."""
    path = folder / SETTINGS
    return path.is_file() and read_text(path, "write the set again").startswith(UNFINISHED)


def list_split(data_dir: str | os.PathLike, split: str) -> list[Path]:
    """Return the photos of a split; raise `InputError` when its folder is missing or empty."""
    tested = split == "test" and (Path(data_dir) / "val").is_dir()
    other = "test on its val/ with --split val" if tested else "another split"
    remedy = f"name a set that has {split}/, or {other}, or {PREPROCESS}"
    folder = require_folder(Path(data_dir) / split, remedy)
    paths = list_images(folder)
    if not paths:
        raise InputError(f"{folder} holds no photos: {PREPROCESS}, or choose another set")
    return paths


def split_photos(data_dir: str | os.PathLike, split: str) -> list[Path]:
    """Return the photos of a split, each of which has its annotation.

    Raises `InputError` when the folder is missing or empty, or naming photos without annotation, or
    an annotation without its photo: the set would be smaller than it was, and nobody would know.
    """
    paths = list_split(data_dir, split)
    require_beside(paths, lambda path: path.with_suffix(".npy"), "annotation", PREPROCESS)
    known = {path.stem for path in paths}
    lost = [path for path in sorted(paths[0].parent.glob("*.npy")) if path.stem not in known]
    if lost:
        raise InputError(f"{lost[0]} has no photo: remove it, or {PREPROCESS}")
    return paths


def require_beside(
    paths: list[Path], companion: Callable[[Path], Path], what: str, remedy: str
) -> None:
    """Raise one `InputError` that names the photos whose `companion(path)` does not exist."""
    missing = [path.name for path in paths if not companion(path).is_file()]
    if missing:
        first = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise InputError(
            f"{len(missing)} of {len(paths)} photos in {paths[0].parent} have no {what} ({first}): "
            f"{remedy}"
        )


def read_annotation(
    path: Path, columns: int | None = None, size: tuple[int, int] | None = None
) -> np.ndarray:
    """Read `NAME.npy` beside a photo of a processed set, float32 [N, 2] or [N, 3].

    A row is a head: x and y in pixels of the photo and, in GST's `train/`, its extent in pixels,
    which is the mean distance to the three nearest heads, or on JHU-Crowd++ its box's height.

    Raises `InputError` when the file is missing, damaged or of another shape (`columns`: 2 or 3,
    where just that is wanted), or holds what is no number, or heads outside the photo's `size`.
    """
    file = path.with_suffix(".npy")
    points = read_array(file, PREPROCESS)
    if points.ndim != 2 or points.shape[1] not in ((columns,) if columns else (2, 3)):
        raise InputError(
            f"{file} has shape {points.shape}, not [N, {columns or '2 or 3'}]: {PREPROCESS}"
        )
    if points.dtype.kind not in "fiu" or not np.isfinite(points).all():
        raise InputError(f"{file} holds values that are not finite numbers: {PREPROCESS}")
    points = points.astype(np.float32)
    outside = points[((points[:, :2] < 0) | (points[:, :2] > (size or np.inf))).any(axis=1)]
    if len(outside):
        x, y = outside[0, :2]
        raise InputError(
            f"{file} has {len(outside)} points outside {path.name}, the first at ({x:g}, {y:g}): "
            f"{PREPROCESS}"
        )
    return points


def median_count(data_dir: str | os.PathLike, split: str) -> float | None:
    """Median number of heads in the photos of a split; None when the set lacks the split."""
    if not (Path(data_dir) / split).is_dir():
        return None
    return float(np.median([len(read_annotation(path)) for path in split_photos(data_dir, split)]))
