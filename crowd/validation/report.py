"""The report on a data set: a table to read, and JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence

from crowd.validation.checks import Checked
from crowd.validation.findings import ERROR, KINDS, NOTE, Finding

SHOWN = 3


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
                "severity": finding.severity,
                "kind": finding.kind,
                "split": finding.split,
                "file": finding.file,
                "detail": finding.detail,
                "points": finding.points,
                "fix": KINDS[finding.kind].remedy,
            }
            for finding in findings
        ],
    }
