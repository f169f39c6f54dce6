"""What can be wrong with a data set, what `--fix` does about it, and the report to read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crowd.validation.photos import Checked

SHOWN = 3
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


def all_findings(checked: Sequence[Checked], of_the_set: Sequence[Finding]) -> list[Finding]:
    """All findings, in the order of `KINDS`."""
    found = [finding for one in checked for finding in one.findings] + list(of_the_set)
    order = list(KINDS)
    return sorted(found, key=lambda finding: order.index(finding.kind))


def count(findings: Sequence[Finding], severity: str) -> int:
    """How many findings are errors, or notes."""
    return sum(finding.severity == severity for finding in findings)


def table(checked: Sequence[Checked], findings: Sequence[Finding]) -> str:
    """Lay out photos by split and findings by kind, with the first few of each."""
    lines = [f"{'split':<6}{'photos':>8}{'heads':>10}"]
    for split, (photos, heads) in totals(checked).items():
        lines.append(f"{split:<6}{photos:>8}{heads:>10}")
    for kind in dict.fromkeys(finding.kind for finding in findings):
        these = [finding for finding in findings if finding.kind == kind]
        points = sum(finding.points for finding in these)
        number = f"{len(these)}" + (f" ({points} points)" if points else "")
        lines.append(f"{KINDS[kind].severity:<6} {kind}: {number}")
        lines += [f"         {finding.file}: {finding.detail}" for finding in these[:SHOWN]]
        if len(these) > SHOWN:
            lines.append(f"         … and {len(these) - SHOWN} more")
    errors, notes = count(findings, ERROR), count(findings, NOTE)
    lines.append(f"{errors} errors, {notes} notes" if findings else "clean")
    return "\n".join(lines)


def totals(checked: Sequence[Checked]) -> dict[str, tuple[int, int]]:
    """Photos and annotated points of each split."""
    sums: dict[str, tuple[int, int]] = {}
    for one in checked:
        photos, heads = sums.get(one.job.split, (0, 0))
        sums[one.job.split] = photos + 1, heads + len(one.keep)
    return sums


def as_json(
    checked: Sequence[Checked], findings: Sequence[Finding], folder: str, layout: str
) -> dict:
    """The whole report as plain values."""
    kinds = dict.fromkeys(KINDS, 0)
    for finding in findings:
        kinds[finding.kind] += 1
    return {
        "folder": folder,
        "layout": layout,
        "splits": {
            split: {"photos": photos, "heads": heads}
            for split, (photos, heads) in totals(checked).items()
        },
        "errors": count(findings, ERROR),
        "notes": count(findings, NOTE),
        "kinds": kinds,
        "findings": [
            {
                "severity": one.severity,
                **dataclasses.asdict(one),
                "fix": KINDS[one.kind].remedy,
            }
            for one in findings
        ],
    }
