"""What can be wrong with a data set, and what is with one photo: it, its annotation, its hashes."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from crowd.data.depth import AUTO, Unclear
from crowd.data.images import read_stored
from crowd.data.layouts.points import DEFAULT, PointConvention, Seen
from crowd.data.layouts.registry import UPRIGHT
from crowd.io.errors import InputError

SIDE = 16
# Of 256 bits. 80 real photos saved as JPEG of quality 30, or at a quarter of their size, differ
# from themselves in 2 bits (median), 98 % of them in at most 10; nearest photos of Beijing-BRT's
# fixed cameras, minutes apart, in 12 or more; photos of different scenes in about 120.
SIMILAR = 10

ERROR, NOTE = "error", "note"


@dataclass(frozen=True)
class Kind:
    """One thing that can be wrong."""

    severity: str  # ERROR: figures would be wrong or a stage would stop; NOTE: worth knowing
    remedy: str = ""  # what `--fix` does about it


# In the order of the report.
KINDS = {
    "unreadable photo": Kind(ERROR, "left out"),
    "unclear depth": Kind(ERROR, "left out: say by --depth what its values are"),
    "missing annotation": Kind(ERROR, "photo left out"),
    "unreadable annotation": Kind(ERROR, "photo left out"),
    "annotation without photo": Kind(ERROR, "left out"),
    "name without photo": Kind(ERROR, "left out"),
    "points in doubt": Kind(ERROR, "nothing is written until the switch answers it"),
    "points outside": Kind(ERROR, "points dropped"),
    "duplicate points": Kind(ERROR, "one of each kept"),
    "same photo in two splits": Kind(ERROR, "kept in one: test before val before train"),
    "similar photos in two splits": Kind(NOTE),
    "same photo twice": Kind(NOTE),
    "similar photos in one split": Kind(NOTE),
    "rotated by EXIF": Kind(NOTE, "photo and points turned upright"),
    "more than 8 bits": Kind(NOTE, "written with 8 bits"),
    "several pictures in a file": Kind(NOTE, "the first is what is read"),
    "not read as a photo": Kind(NOTE, "left out"),
    "grey": Kind(NOTE),
    "other colours than RGB": Kind(NOTE),
    "no heads": Kind(NOTE),
}


@dataclass(frozen=True)
class Finding:
    """Something found: its `KINDS`, where, in words, and how many points it is about."""

    kind: str
    split: str  # of the photo; empty where there is none
    file: str  # photo, annotation or list, relative to the data set
    detail: str
    points: int = 0

    @property
    def severity(self) -> str:
        """`ERROR` or `NOTE`."""
        return KINDS[self.kind].severity


@dataclass(frozen=True)
class Job:
    """A photo to look at, and how: see `crowd.validation.sets.check_set`."""

    seen: Seen
    root: Path
    split: str
    depth: str = AUTO
    convention: PointConvention = DEFAULT


@dataclass
class Checked:
    """What was seen of a photo."""

    job: Job
    findings: list[Finding] = field(default_factory=list)  # about this photo alone
    usable: bool = False  # whether photo and annotation could be read
    keep: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  # points that --fix keeps
    rewrite: bool = False  # whether --fix writes the photo anew, upright and with 8 bits
    orientation: int = 1
    size: tuple[int, int] = (0, 0)  # (width, height) upright
    pixels: str = ""  # hash of its pixels
    look: np.ndarray = field(default_factory=lambda: np.zeros(4, np.uint64))  # difference hash

    @property
    def file(self) -> str:
        """Its path in the data set."""
        return self.job.seen.photo.relative_to(self.job.root).as_posix()

    def note(self, kind: str, detail: str, points: int = 0) -> None:
        """Add a finding about this photo."""
        self.findings.append(Finding(kind, self.job.split, self.file, detail, points))


def check_photo(job: Job) -> Checked:
    """Read a photo and say what is odd about it and its annotation."""
    checked = Checked(job)
    readable = _look(checked)
    fault = job.seen.fault
    if fault:
        absent = "does not exist" in fault or "does not name the photo" in fault
        checked.note(f"{'missing' if absent else 'unreadable'} annotation", fault)
    if fault or not readable:
        return checked
    checked.usable = True
    asked = checked.orientation != 1 and job.convention.picture(job.seen.layout) is None
    how = dataclasses.replace(job.convention, points=UPRIGHT) if asked else job.convention
    points = job.seen.heads(how)
    if not len(points):
        checked.note("no heads", "its annotation holds no points")
    inside = ((points >= 0) & (points <= checked.size)).all(axis=1)
    inside |= asked  # the survey of the set asks which picture they are of
    single = np.isin(np.arange(len(points)), np.unique(points, axis=0, return_index=True)[1])
    size = "; the photo is {} x {}".format(*checked.size)
    for kind, kept, more in (("points outside", inside, size), ("duplicate points", single, "")):
        if not kept.all():
            number, (x, y) = int(np.sum(~kept)), points[~kept][0]
            where = f"{number} of {len(points)}, the first at ({x:g}, {y:g}){more}"
            checked.note(kind, where, number)
    checked.keep = inside & single
    return checked


def _look(checked: Checked) -> bool:
    """Read the photo, note what is odd about it, and say whether it can be read."""
    try:
        stored = read_stored(checked.job.seen.photo, checked.job.depth)
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


def pixel_hash(image: np.ndarray) -> str:
    """Hash of size and pixels, uint8 [H, W, 3]; however the file stores them."""
    digest = hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=16)
    digest.update(repr(image.shape).encode())
    return digest.hexdigest()


def difference_hash(image: np.ndarray) -> np.ndarray:
    """256 bits, uint64 [4]: where brightness rises from left to right on a grid of 16 rows.

    Resizing and compression leave it nearly as it is, since both leave the averages of cells.
    """
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    cells = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).view(np.uint64)


def differing_bits(look: np.ndarray, others: np.ndarray) -> np.ndarray:
    """In how many bits a hash, uint64 [4], differs from each of others, uint64 [m, 4]; int [m]."""
    return np.bitwise_count(look ^ others).sum(axis=1, dtype=np.int64)
