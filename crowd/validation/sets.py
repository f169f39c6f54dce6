"""What is odd about a data set as a whole: files without a partner, photos in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.annotations import find_photos
from crowd.data.depth import AUTO
from crowd.data.images import why_not_read
from crowd.data.layouts.places import annotations_without_photo, left_out, not_read
from crowd.data.layouts.points import DEFAULT, PointConvention
from crowd.data.layouts.survey import Survey, survey
from crowd.io.workers import map_photos
from crowd.validation.photos import SIMILAR, Checked, Finding, Job, check_photo, differing_bits

# A photo that is in several splits stays in the last of them.
SPLITS = ("all", "train", "val", "test")


def check_set(
    root: Path,
    layout: str,
    workers: int,
    depth: str = AUTO,
    convention: PointConvention = DEFAULT,
) -> tuple[list[Checked], list[Finding], Survey]:
    """Look at all photos of all splits, those of more than 8 bits by `depth` (`crowd.data.depth`).

    Returns:
        What was seen of each photo, what was found in the set as a whole, and the survey of its
        points.

    Raises:
        InputError: there is no set of that layout in `root`, or its table of points is damaged.
    """
    faults: list[str] = []
    splits = find_photos(root, layout, faults)
    photos = [photo for split in splits.values() for photo in split]
    looked = survey(photos, layout, convention, workers)
    jobs = [
        Job(looked.photos[photo], root, split, depth, convention)
        for split in splits
        for photo in splits[split]
    ]
    checked = map_photos(check_photo, jobs, workers, "validating")
    findings = [Finding("name without photo", "", _list_of(fault, root), fault) for fault in faults]
    findings += [
        Finding("points in doubt", "", photo.relative_to(root).as_posix(), question)
        for photo, question in looked.questions
    ]
    findings += _without_photo(photos, root, layout) + _left_out(photos, root)
    findings += _same_photos(checked) + _similar_photos(checked)
    return checked, findings, looked


def _list_of(fault: str, root: Path) -> str:
    """The list or table that the message is about, which it begins with."""
    named = fault.removeprefix(f"{root}/")
    return named.split(" names ")[0].split(", line")[0]


def _without_photo(photos: Sequence[Path], root: Path, layout: str) -> list[Finding]:
    """Annotation files, one a photo in most layouts, that no photo belongs to."""
    return [
        Finding("annotation without photo", "", path.relative_to(root).as_posix(), "no such photo")
        for path in annotations_without_photo(root, layout, photos)
    ]


def _left_out(photos: Sequence[Path], root: Path) -> list[Finding]:
    """What lies among the photos and is neither read as one nor known to belong beside one."""
    found = [
        (path.relative_to(root).as_posix(), why_not_read(path))
        for folder in sorted({photo.parent for photo in photos})
        for path in not_read(folder, photos)
    ]
    found += [
        (folder, f"a folder that is not looked into, with {number} photos")
        for folder, number in left_out(root, photos).items()
    ]
    return [Finding("not read as a photo", "", *one) for one in found]


def _same_photos(checked: Sequence[Checked]) -> list[Finding]:
    """Photos whose pixels are the same, in one split or in several."""
    groups: dict[str, list[Checked]] = defaultdict(list)
    for one in checked:
        if one.pixels:
            groups[one.pixels].append(one)
    findings = []
    for group in groups.values():
        group.sort(key=lambda one: SPLITS.index(one.job.split))
        kept = group.pop()
        for one in group:
            leaks = one.job.split != kept.job.split
            kind = "same photo in two splits" if leaks else "same photo twice"
            detail = f"its pixels are those of {kept.file} ({kept.job.split})"
            findings.append(Finding(kind, one.job.split, one.file, detail))
    return findings


def _similar_photos(checked: Sequence[Checked]) -> list[Finding]:
    """Photos that look like one before them, each with the one it is most like.

    Photos of earlier splits come before those of later ones, so that a photo that leaks is named.
    """
    seen = [one for split in SPLITS for one in checked if one.job.split == split and one.pixels]
    looks = np.array([one.look for one in seen])
    findings = []
    for number, one in enumerate(seen[1:], start=1):
        bits = differing_bits(one.look, looks[:number])
        other = seen[int(bits.argmin())]
        if bits.min() <= SIMILAR and one.pixels != other.pixels:
            where = "one split" if one.job.split == other.job.split else "two splits"
            findings.append(
                Finding(
                    f"similar photos in {where}",
                    one.job.split,
                    one.file,
                    f"looks like {other.file} ({other.job.split}; {bits.min()} of 256 bits differ)",
                )
            )
    return findings
