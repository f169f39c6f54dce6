"""What can be wrong with a data set, how bad it is, and what `--fix` does about it."""

from __future__ import annotations

from dataclasses import dataclass

ERROR, NOTE = "error", "note"


@dataclass(frozen=True)
class Kind:
    """One thing that can be wrong.

    Attributes:
        severity: `ERROR`: figures would be wrong or a stage would stop; `NOTE`: worth knowing.
        remedy: what `--fix` does about it; empty where it does nothing.
    """

    severity: str
    remedy: str


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
    "similar photos in two splits": Kind(NOTE, ""),
    "same photo twice": Kind(NOTE, ""),
    "similar photos in one split": Kind(NOTE, ""),
    "rotated by EXIF": Kind(NOTE, "photo and points turned upright"),
    "more than 8 bits": Kind(NOTE, "written with 8 bits"),
    "several pictures in a file": Kind(NOTE, "the first is what is read"),
    "not read as a photo": Kind(NOTE, "left out"),
    "grey": Kind(NOTE, ""),
    "other colours than RGB": Kind(NOTE, ""),
    "no heads": Kind(NOTE, ""),
}


@dataclass(frozen=True)
class Finding:
    """Something found.

    Attributes:
        kind: a key of `KINDS`.
        split: of the photo; empty where there is none.
        file: photo, annotation or list, relative to the data set.
        detail: in words.
        points: how many points it is about.
    """

    kind: str
    split: str
    file: str
    detail: str
    points: int = 0

    @property
    def severity(self) -> str:
        """`ERROR` or `NOTE`."""
        return KINDS[self.kind].severity
