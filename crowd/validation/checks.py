"""Everything about one photo: what can be read of it, what is odd, and its hashes."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crowd.annotations import read_points, upright_points
from crowd.data.depth import AUTO, Unclear
from crowd.data.images import read_stored
from crowd.data.layouts.convention import DEFAULT, PointConvention
from crowd.data.layouts.registry import UPRIGHT
from crowd.io.errors import InputError
from crowd.validation.findings import Finding
from crowd.validation.hashes import difference_hash, pixel_hash


@dataclass(frozen=True)
class Job:
    """A photo to look at: its path, the data set's folder, its layout and the photo's split.

    `depth` is how more than 8 bits become 8 (`crowd.data.depth`), `convention` how points are
    meant.
    """

    photo: Path
    root: Path
    layout: str
    split: str
    depth: str = AUTO
    convention: PointConvention = DEFAULT


@dataclass
class Checked:
    """What was seen of a photo.

    Attributes:
        job: of the photo.
        findings: about this photo alone.
        usable: whether photo and annotation could be read.
        keep: which of its points `--fix` keeps, bool [N].
        rewrite: whether `--fix` writes the photo anew, upright and with 8 bits.
        orientation: EXIF orientation, 1 to 8.
        size: (width, height) of the upright photo, pixels.
        pixels: hash of its pixels.
        look: its difference hash.
    """

    job: Job
    findings: list[Finding] = field(default_factory=list)
    usable: bool = False
    keep: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    rewrite: bool = False
    orientation: int = 1
    size: tuple[int, int] = (0, 0)
    pixels: str = ""
    look: np.ndarray = field(default_factory=lambda: np.zeros(4, np.uint64))

    @property
    def file(self) -> str:
        """Its path in the data set."""
        return self.job.photo.relative_to(self.job.root).as_posix()

    def note(self, kind: str, detail: str, points: int = 0) -> None:
        """Add a finding about this photo."""
        self.findings.append(Finding(kind, self.job.split, self.file, detail, points))


def check_photo(job: Job) -> Checked:
    """Read a photo and its annotation and say what is odd about them."""
    checked = Checked(job)
    seen = _look(checked)
    points = _points(checked)
    if points is None or not seen:
        return checked
    checked.usable = True
    if not len(points):
        checked.note("no heads", "its annotation holds no points")
    picture = job.convention.picture(job.layout)
    upright = points
    if picture != UPRIGHT:
        upright = upright_points(points, checked.orientation, *checked.size)
    inside = ((upright >= 0) & (upright <= checked.size)).all(axis=1)
    if picture is None and checked.orientation != 1:
        inside[:] = True  # the survey of the set asks which picture they are of
    if not inside.all():
        x, y = points[~inside][0]
        width, height = checked.size
        checked.note(
            "points outside",
            f"{np.sum(~inside)} of {len(points)}, the first at ({x:g}, {y:g}); the photo is "
            f"{width} x {height}",
            int(np.sum(~inside)),
        )
    _, first = np.unique(points, axis=0, return_index=True)
    single = np.isin(np.arange(len(points)), first)
    if not single.all():
        x, y = points[~single][0]
        checked.note(
            "duplicate points",
            f"{np.sum(~single)} of {len(points)}, the first at ({x:g}, {y:g})",
            int(np.sum(~single)),
        )
    checked.keep = inside & single
    return checked


def _look(checked: Checked) -> bool:
    """Read the photo, note what is odd about it, and say whether it can be read."""
    try:
        stored = read_stored(checked.job.photo, checked.job.depth)
    except Unclear as error:
        checked.note("unclear depth", str(error))
        return False
    except InputError as error:
        checked.note("unreadable photo", str(error))
        return False
    pixels, checked.orientation = stored.pixels, stored.orientation
    checked.size = pixels.shape[1], pixels.shape[0]
    checked.rewrite = stored.deep or stored.orientation != 1
    checked.pixels, checked.look = pixel_hash(pixels), difference_hash(pixels)
    if stored.orientation != 1:
        checked.note("rotated by EXIF", f"orientation {stored.orientation}")
    if stored.deep:
        how = f"stored as {stored.mode}, read with --depth {checked.job.depth}"
        checked.note("more than 8 bits", how)
    if stored.several:
        checked.note("several pictures in a file", "the first is read")
    if (pixels == pixels[:, :, :1]).all():
        checked.note("grey", f"stored as {stored.mode}")
    elif stored.mode != "RGB":
        checked.note("other colours than RGB", f"stored as {stored.mode}")
    return True


def _points(checked: Checked) -> np.ndarray | None:
    """Read the points in pixels of their picture, or note why they cannot be read."""
    try:
        job = checked.job
        return read_points(job.photo, job.layout, job.convention)
    except InputError as error:
        absent = "does not exist" in str(error) or "does not name the photo" in str(error)
        checked.note(f"{'missing' if absent else 'unreadable'} annotation", str(error))
        return None
