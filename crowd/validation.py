"""What can be wrong with a data set: with a photo, its annotation, and the set as a whole."""

import dataclasses
import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from crowd.annotations import find_photos
from crowd.data.folders import missing_reader
from crowd.data.images import Unclear, read_stored
from crowd.data.layouts.beside import annotations_without_photo
from crowd.data.layouts.places import left_out, not_read
from crowd.data.layouts.points import PointConvention, Seen
from crowd.data.layouts.registry import UPRIGHT
from crowd.data.layouts.survey import Survey, survey
from crowd.io.errors import InputError, extra
from crowd.io.progress import map_photos

SIDE = 16
# Of 256 bits. 80 real photos saved as JPEG of quality 30, or at a quarter of their size, differ
# from themselves in 2 bits (median), 98 % of them in at most 10; nearest photos of Beijing-BRT's
# fixed cameras, minutes apart, in 12 or more; photos of different scenes in about 120.
SIMILAR = 10

# A photo that is in several splits stays in the last of them.
SPLITS = ("all", "train", "val", "test")
ERROR, NOTE = "error", "note"


# What can be wrong, and what `--fix` does about it, in the order of the report. With errors figures
# would be wrong or a stage would stop; notes are worth knowing.
ERRORS = {
    "unreadable photo": "left out",
    "unclear depth": "left out: say by --depth what its values are",
    "missing annotation": "photo left out",
    "unreadable annotation": "photo left out",
    "annotation without photo": "left out",
    "name without photo": "left out",
    "points in doubt": "nothing is written until the switch answers it",
    "points outside": "points dropped",
    "duplicate points": "one of each kept",
    "same photo in two splits": "kept in one: test before val before train",
}
NOTES = {
    "similar photos in two splits": "",
    "same photo twice": "",
    "similar photos in one split": "",
    "rotated by EXIF": "photo and points turned upright",
    "more than 8 bits": "written with 8 bits",
    "several pictures in a file": "the first is what is read",
    "not read as a photo": "left out",
    "grey": "",
    "other colours than RGB": "",
    "no heads": "",
}
KINDS = ERRORS | NOTES


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
        return ERROR if self.kind in ERRORS else NOTE


@dataclass
class Checked:
    """A photo to look at, and what was seen of it."""

    seen: Seen
    root: Path
    split: str
    depth: str
    convention: PointConvention
    findings: list[Finding] = field(default_factory=list)  # about this photo alone
    usable: bool = False  # whether photo and annotation could be read
    keep: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))  # points that --fix keeps
    rewrite: bool = False  # whether --fix writes the photo anew, upright and with 8 bits
    pixels: str = ""  # hash of its pixels
    look: np.ndarray = field(default_factory=lambda: np.zeros(4, np.uint64))  # difference hash

    @property
    def file(self) -> str:
        """Its path in the data set."""
        return self.seen.photo.relative_to(self.root).as_posix()

    def note(self, kind: str, detail: str, points: int = 0) -> None:
        """Add a finding about this photo."""
        self.findings.append(Finding(kind, self.split, self.file, detail, points))


def check_set(
    root: Path, layout: str, workers: int, depth: str, convention: PointConvention
) -> tuple[list[Checked], list[Finding], Survey]:
    """Look at all photos of all splits, those of more than 8 bits by `depth` (`crowd.data.images`).

    Returns what was seen of each photo, all findings in the order of `KINDS`, and the survey of the
    points. Raises `InputError` without a set of that layout, or with a damaged table of points.
    """
    faults: list[str] = []
    splits = find_photos(root, layout, faults)
    photos = [photo for split in splits.values() for photo in split]
    looked = survey(photos, layout, convention, workers)
    photos_to_check = [
        Checked(looked.photos[photo], root, split, depth, convention)
        for split in splits
        for photo in splits[split]
    ]
    checked = map_photos(check_photo, photos_to_check, workers, "validating")
    findings = [finding for one in checked for finding in one.findings]
    for fault in faults:  # which begins with the list or table that it is about
        file = fault.removeprefix(f"{root}/").split(" names ")[0].split(", line")[0]
        findings.append(Finding("name without photo", "", file, fault))
    for photo, question in looked.questions:
        file = photo.relative_to(root).as_posix()
        findings.append(Finding("points in doubt", "", file, question))
    findings += _without_partner(photos, root, layout)
    findings += _same_photos(checked) + _similar_photos(checked)
    return checked, sorted(findings, key=lambda one: list(KINDS).index(one.kind)), looked


def check_photo(checked: Checked) -> Checked:
    """Read a photo and say what is odd about it and its annotation."""
    seen, readable = checked.seen, _look(checked)
    if seen.fault:
        absent = "does not exist" in seen.fault or "does not name the photo" in seen.fault
        checked.note(f"{'missing' if absent else 'unreadable'} annotation", seen.fault)
    if seen.fault or not readable:
        return checked
    checked.usable = True
    asked = seen.orientation != 1 and checked.convention.picture(seen.layout) is None
    how = dataclasses.replace(checked.convention, points=UPRIGHT) if asked else checked.convention
    points = seen.heads(how)
    if not len(points):
        checked.note("no heads", "its annotation holds no points")
    inside = ((points >= 0) & (points <= seen.upright_size)).all(axis=1)
    inside |= asked  # the survey of the set asks which picture they are of
    single = np.isin(np.arange(len(points)), np.unique(points, axis=0, return_index=True)[1])
    size = "; the photo is {} x {}".format(*seen.upright_size)
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
        stored = read_stored(checked.seen.photo, checked.depth)
    except InputError as error:
        kind = "unclear depth" if isinstance(error, Unclear) else "unreadable photo"
        checked.note(kind, str(error))
        return False
    pixels = stored.pixels
    checked.rewrite = stored.deep or stored.orientation != 1
    digest = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).hexdigest()
    checked.pixels, checked.look = f"{pixels.shape} {digest}", _difference_hash(pixels)
    if stored.orientation != 1:
        checked.note("rotated by EXIF", f"orientation {stored.orientation}")
    if stored.deep:
        how = f"stored as {stored.mode}, read with --depth {checked.depth}"
        checked.note("more than 8 bits", how)
    if stored.several:
        checked.note("several pictures in a file", "the first is read")
    if (pixels == pixels[:, :, :1]).all():
        checked.note("grey", f"stored as {stored.mode}")
    elif stored.mode != "RGB":
        checked.note("other colours than RGB", f"stored as {stored.mode}")
    return True


def _difference_hash(image: np.ndarray) -> np.ndarray:
    """256 bits, uint64 [4]: where brightness rises from left to right on a grid of 16 rows.

    Resizing and compression leave it nearly as it is, since both leave the averages of cells.
    """
    with extra("commands", "checking photos"):
        import cv2
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY).astype(np.float32)
    cells = cv2.resize(grey, (SIDE + 1, SIDE), interpolation=cv2.INTER_AREA)
    return np.packbits(cells[:, 1:] > cells[:, :-1]).view(np.uint64)


def _without_partner(photos: Sequence[Path], root: Path, layout: str) -> list[Finding]:
    """Annotations that no photo belongs to, and what lies among the photos and is not read."""
    found = [
        Finding("annotation without photo", "", os.path.relpath(path, root), "no such photo")
        for path in annotations_without_photo(root, layout, photos)
    ]
    others = {
        path.relative_to(root).as_posix(): (
            "a folder with photos" if path.is_dir() else missing_reader(path.suffix)
        )
        for folder in sorted({photo.parent for photo in photos})
        for path in not_read(folder, photos)
    }
    for folder, number in left_out(root, photos).items():
        others[folder] = f"a folder that is not looked into, with {number} photos"
    return found + [Finding("not read as a photo", "", *one) for one in others.items()]


def _same_photos(checked: Sequence[Checked]) -> list[Finding]:
    """Photos whose pixels are the same, in one split or in several."""
    groups: dict[str, list[Checked]] = defaultdict(list)
    for one in checked:
        if one.pixels:
            groups[one.pixels].append(one)
    findings = []
    for group in groups.values():
        group.sort(key=lambda one: SPLITS.index(one.split))
        kept = group.pop()
        for one in group:
            leaks = one.split != kept.split
            kind = "same photo in two splits" if leaks else "same photo twice"
            detail = f"its pixels are those of {kept.file} ({kept.split})"
            findings.append(Finding(kind, one.split, one.file, detail))
    return findings


def _similar_photos(checked: Sequence[Checked]) -> list[Finding]:
    """Photos that look like one before them: the most alike in other splits, and in their own.

    Photos of earlier splits come before those of later ones, so that a photo that leaks is named.
    """
    seen = [one for split in SPLITS for one in checked if one.split == split and one.pixels]
    looks, splits, pixels = (
        np.array([getattr(one, name) for one in seen]) for name in ("look", "split", "pixels")
    )
    findings = []
    for number, one in enumerate(seen[1:], start=1):
        bits = np.bitwise_count(one.look ^ looks[:number]).sum(axis=1, dtype=np.int64)
        bits[pixels[:number] == one.pixels] = SIDE**2  # which have a finding of their own
        own = splits[:number] == one.split
        for where, there in (("two splits", ~own), ("one split", own)):
            apart = np.where(there, bits, SIDE**2)
            nearest = int(apart.argmin())
            if apart[nearest] <= SIMILAR:
                other, differ = seen[nearest], f"{apart[nearest]} of 256 bits differ"
                detail = f"looks like {other.file} ({other.split}; {differ})"
                findings.append(Finding(f"similar photos in {where}", one.split, one.file, detail))
    return findings
