"""Processing the photos of a data set one by one: resumable, in several processes, with a table.

A kind of processed set is a subclass of `Job` that says what is written beside each photo.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from crowd.data.depth import AUTO
from crowd.data.images import read_image, write_image
from crowd.data.layouts.places import short_names
from crowd.data.layouts.points import DEFAULT, PointConvention, Seen
from crowd.data.resize import JPEG_LIMIT, SHORT, resize_photo, target_size
from crowd.data.stage import is_made, origin, record_path, write_record
from crowd.io.errors import InputError
from crowd.io.files import read_array, write_array

JPEG_QUALITY = 95


@dataclasses.dataclass(frozen=True)
class Resized:
    """A photo at its new size with the heads that lie in it."""

    image: np.ndarray  # uint8 [H, W, 3]
    points: np.ndarray  # heads (x, y) in pixels of `image`, float32 [N, 2]
    inside: np.ndarray  # which of the annotated heads these are, bool [M]
    ratio: float  # new length of the short side / old


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One photo to process; its size as `crowd.data.resize.resize_photo` has it."""

    bounded: ClassVar[str] = SHORT
    companions: ClassVar[tuple[str, ...]] = (".npy",)

    photo: Path
    seen: Seen  # header and annotation of the photo
    layout: str
    output: Path  # the `NAME.jpg` to write, with `NAME.npy` (the heads) beside it
    convention: PointConvention = DEFAULT
    min_size: int = 512
    max_size: int = 2048
    interpolation: str = "bilinear"
    depth: str = AUTO
    settings: dict = dataclasses.field(default_factory=dict)  # that decide what is written
    skip_bad: bool = False  # report a photo that cannot be read instead of raising

    def outputs(self) -> list[Path]:
        """Everything that is written for this photo."""
        return [self.output, *(self.output.with_suffix(suffix) for suffix in self.companions)]

    def origin(self) -> dict:
        """What `outputs` are made from (`crowd.data.stage`)."""
        return origin(self.settings, filter(None, [self.photo, self.seen.file]))

    def heads(self, resized: Resized) -> np.ndarray:
        """Return what `NAME.npy` shall hold, a row a head, x and y first."""
        return resized.points

    def write(self, resized: Resized, heads: np.ndarray) -> None:
        """Write all of `outputs`, each whole or not at all."""
        write_image(self.output, resized.image, quality=JPEG_QUALITY)
        write_array(self.output.with_suffix(".npy"), heads)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one photo: heads kept and dropped, or the fault for which it was skipped."""

    split: str
    heads: int = 0
    outside: int = 0
    duplicates: int = 0
    written: bool = False
    fault: str = ""


def process_photo(job: Job) -> Outcome:
    """Write one photo and its heads, unless all is there, made from the same files and settings.

    Heads on the photo's edge count as inside; those outside are dropped. Raises `InputError` when
    the photo or its annotation is bad (not with `skip_bad`), or writing failed.
    """
    split, record = job.output.parent.name, record_path(job.output)
    try:
        made_from = job.origin()
        if is_made(record, made_from, job.outputs()):
            heads = read_array(job.output.with_suffix(".npy"), "run again with --overwrite")
            outside = len(job.seen.heads(job.convention)) - len(heads)
            return Outcome(split, len(heads), outside, _duplicates(heads))
        resized = _resized(job)
        heads = job.heads(resized)
    except InputError as error:
        if not job.skip_bad:
            raise
        for path in job.outputs():
            path.unlink(missing_ok=True)
        return Outcome(split, fault=str(error))
    job.write(resized, heads)
    write_record(record, made_from)
    outside = len(resized.inside) - len(heads)
    return Outcome(split, len(heads), outside, _duplicates(heads), written=True)


def _resized(job: Job) -> Resized:
    image, points = read_image(job.photo, job.depth), job.seen.heads(job.convention)
    size = np.array(image.shape[1::-1])
    if max(target_size(*size, job.min_size, job.max_size, job.bounded)) > JPEG_LIMIT:
        raise InputError(f"{job.photo}: {size[0]} x {size[1]} is too narrow a strip: crop it")
    inside = ((points >= 0) & (points <= size)).all(1)
    image = resize_photo(image, job.min_size, job.max_size, job.interpolation, job.bounded)
    new_size = np.array(image.shape[1::-1])
    # Each axis by its own factor, so that heads follow the rounding of the side they lie on.
    heads = np.minimum(points[inside] * (new_size / size), new_size).astype(np.float32)
    return Resized(image, heads, inside, new_size.min() / size.min())


def _duplicates(heads: np.ndarray) -> int:
    return len(heads) - len(np.unique(heads[:, :2], axis=0))


def make_jobs(
    splits: dict[str, list[Path]], output: Path, make: Callable[[str, Path, Path], Job]
) -> list[Job]:
    """Return for each photo of 'train', 'val', 'test' what `make` does of (split, photo, output).

    Raises `InputError` when two photos of a split would get one name, or the folder `output` holds
    photos that are not of this split: left there, they would train or be tested along.
    """
    jobs = []
    for split in ("train", "val", "test"):
        names: dict[str, Path] = {}
        for photo, short in short_names(splits.get(split, [])).items():
            # Photos of scenes that share their numbers: scene01_img01.
            name = "_".join(short.with_suffix("").parts)
            if name in names:
                raise InputError(f"{names[name]} and {photo} share a name: rename one")
            names[name] = photo
            jobs.append(make(split, photo, output / split / f"{name}.jpg"))
        # Not what begins with a point: parts of a process that was killed.
        present = sorted((output / split).glob("[!.]*.*"))
        written = (path for path in present if path.suffix in (".jpg", ".npy", ".h5"))
        stray = next((path for path in written if path.stem not in names), None)
        if stray:
            raise InputError(
                f"{stray} is not a photo of this {split} split: name an empty folder for the "
                "output, or remove the old one"
            )
    return jobs


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
