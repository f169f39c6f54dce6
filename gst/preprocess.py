"""GST's processed set: photos at the size of the training, heads with their neighbours' distance.

`train/NAME.npy` is float32 [N, 3] = x, y, mean distance to the three nearest heads (JHU-Crowd++:
the annotated height of the head); `val/` and `test/` hold [N, 2]. All in pixels of `NAME.jpg`.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import cKDTree

from crowd.annotations import annotation_path, read_box_heights, read_photo, read_points
from crowd.errors import InputError
from crowd.files import read_array, write_array
from crowd.images import write_image
from crowd.progress import progress

INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
SINGLE_HEAD = 8.0
JPEG_LIMIT = 65500


def target_size(
    width: int, height: int, min_size: int = 512, max_size: int = 2048
) -> tuple[int, int]:
    """Return the (width, height) at which a photo is processed, in pixels (released code).

    The short side is clamped to [min_size, max_size], the long side follows, rounded. A size that
    this returned comes back unchanged.
    """
    short = min(width, height)
    ratio = min(max(short, min_size), max_size) / short
    return round(width * ratio), round(height * ratio)


def resize_photo(
    image: np.ndarray, min_size: int = 512, max_size: int = 2048, interpolation: str = "bilinear"
) -> np.ndarray:
    """Bring a photo, uint8 [H, W, 3], to its `target_size`.

    The released code means bicubic and runs bilinear (its flag lands in another argument of
    OpenCV's resize), so bilinear is what the published figures rest on.
    """
    height, width = image.shape[:2]
    size = target_size(width, height, min_size, max_size)
    if size == (width, height):
        return image
    return cv2.resize(image, size, interpolation=INTERPOLATIONS[interpolation])


def neighbour_distance(points: np.ndarray, single: float = SINGLE_HEAD) -> np.ndarray:
    """Mean distance of each point [N, 2] to its three nearest, or to as many as there are.

    Returns float32 [N], pixels; a point on its own gets `single`. Heads that share a place are at
    distance 0 of each other.
    """
    if len(points) < 2:
        return np.full(len(points), single, np.float32)
    # The nearest is the point itself, or one at the same place, which is as far.
    distance, _ = cKDTree(points).query(points, k=min(4, len(points)))
    return distance[:, 1:].mean(1).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class Job:
    """One photo to process.

    Attributes:
        photo: its path in the data set.
        layout: of the data set, one of `crowd.annotations.LAYOUTS`.
        output: the `NAME.jpg` to write, with `NAME.npy` beside it.
        distances: whether the third column is wanted.
        min_size, max_size, interpolation: as `resize_photo`.
        not_before: time of the settings, ns; a photo written earlier is written anew.
        skip_bad: report a photo that cannot be read instead of raising.
    """

    photo: Path
    layout: str
    output: Path
    distances: bool
    min_size: int = 512
    max_size: int = 2048
    interpolation: str = "bilinear"
    not_before: int = 0
    skip_bad: bool = False


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one photo: heads kept and dropped, or the fault for which it was skipped."""

    split: str
    heads: int = 0
    outside: int = 0
    duplicates: int = 0
    written: bool = False
    fault: str = ""


def preprocess_photo(job: Job) -> Outcome:
    """Write one photo and its heads, unless both are there and newer than what they came from.

    Heads on the photo's edge count as inside; those outside are dropped.

    Raises:
        InputError: the photo or its annotation is bad (not with `skip_bad`), or writing failed.
    """
    split = job.output.parent.name
    array_path = job.output.with_suffix(".npy")
    try:
        if _up_to_date(job, array_path):
            heads = read_array(array_path, "run again with --overwrite")
            total = len(read_points(job.photo, job.layout))
            return Outcome(split, len(heads), total - len(heads), _duplicates(heads))
        image, heads, total = _processed(job)
    except InputError as error:
        if not job.skip_bad:
            raise
        job.output.unlink(missing_ok=True)
        array_path.unlink(missing_ok=True)
        return Outcome(split, fault=str(error))
    write_image(job.output, image, quality=95)
    write_array(array_path, heads)
    return Outcome(split, len(heads), total - len(heads), _duplicates(heads), written=True)


def _processed(job: Job) -> tuple[np.ndarray, np.ndarray, int]:
    """Resized photo, heads [N, 2 or 3] inside it, number of heads before those outside went."""
    image, points = read_photo(job.photo, job.layout)
    size = np.array(image.shape[1::-1])
    if max(target_size(*size, job.min_size, job.max_size)) > JPEG_LIMIT:
        raise InputError(f"{job.photo}: {size[0]} x {size[1]} is too narrow a strip: crop it")
    inside = ((points >= 0) & (points <= size)).all(1)
    image = resize_photo(image, job.min_size, job.max_size, job.interpolation)
    new_size = np.array(image.shape[1::-1])
    # Each axis by its own factor, so that heads follow the rounding of the side they lie on.
    heads = np.minimum(points[inside] * (new_size / size), new_size).astype(np.float32)
    if job.distances:
        ratio = new_size.min() / size.min()
        if job.layout == "jhu":
            distance = read_box_heights(job.photo)[inside] * ratio
        else:
            distance = neighbour_distance(heads, SINGLE_HEAD * ratio)
        heads = np.column_stack([heads, distance]).astype(np.float32)
    return image, heads, len(points)


def _up_to_date(job: Job, array_path: Path) -> bool:
    try:
        sources = [job.photo, annotation_path(job.photo, job.layout)]
        newest = max([job.not_before, *(path.stat().st_mtime_ns for path in sources)])
        return all(path.stat().st_mtime_ns >= newest for path in (job.output, array_path))
    except FileNotFoundError:
        return False


def _duplicates(heads: np.ndarray) -> int:
    return len(heads) - len(np.unique(heads[:, :2], axis=0))


def make_jobs(splits: dict[str, list[Path]], output: Path, **settings) -> list[Job]:
    """Return a job for each photo; `settings` are the further attributes of `Job`.

    Raises `InputError` when two photos of a split would get one name, or when `output` holds
    photos that are not of this split: left there, they would train or be tested along.
    """
    jobs = []
    for split in ("train", "val", "test"):
        names: dict[str, Path] = {}
        for photo in splits.get(split, []):
            if photo.stem in names:
                raise InputError(f"{names[photo.stem]} and {photo} share a name: rename one")
            names[photo.stem] = photo
            path = output / split / f"{photo.stem}.jpg"
            jobs.append(Job(photo=photo, output=path, distances=split == "train", **settings))
        present = sorted(
            path for suffix in ("jpg", "npy") for path in (output / split).glob(f"*.{suffix}")
        )
        stray = next((path for path in present if path.stem not in names), None)
        if stray:
            raise InputError(
                f"{stray} is not a photo of this {split} split: name an empty folder for the "
                "output, or remove the old one"
            )
    return jobs


def run_jobs(jobs: Sequence[Job], workers: int) -> list[Outcome]:
    """Process all photos, in `workers` processes where there are enough photos for them.

    Raises the first photo's `InputError`; what was finished by then stays and is kept next time.
    """
    bar = {"what": "preprocessing", "unit": "photo", "total": len(jobs)}
    # Starting processes takes as long as a few dozen photos.
    workers = min(workers, len(jobs) // 16)
    if workers < 2:
        return [preprocess_photo(job) for job in progress(jobs, **bar)]
    # Forking a process that has used threads may hang: fork one that has only done the imports.
    fresh = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if fresh else "spawn")
    if fresh:
        context.set_forkserver_preload(["__main__", __name__])
    try:
        with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
            return list(progress(pool.map(preprocess_photo, jobs, chunksize=2), **bar))
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process died, most likely for want of memory: run again with fewer --workers"
        ) from error


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return a table with a line for each split: photos, heads, heads per photo, what was dropped.

    'duplicates' are heads at the very place of another; they are kept.
    """
    columns = ("split", "photos", "heads", "min", "median", "max", "outside", "duplicates")
    lines = [("{:<6}" + "{:>12}" * 7).format(*columns)]
    for split in dict.fromkeys(outcome.split for outcome in outcomes):
        kept = [one for one in outcomes if one.split == split and not one.fault]
        heads = np.array([one.heads for one in kept] or [0])
        figures = (len(kept), heads.sum(), heads.min(), np.median(heads), heads.max())
        dropped = (sum(one.outside for one in kept), sum(one.duplicates for one in kept))
        lines.append(f"{split:<6}" + "".join(f"{figure:>12g}" for figure in (*figures, *dropped)))
    return "\n".join(lines)
