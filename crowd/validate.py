"""Say what is wrong with a data set, before hours are spent on it.

    python -m crowd.validate data/qnrf --layout qnrf
    python -m crowd.validate data/qnrf --layout qnrf --output report.json --fix data/qnrf_clean

Exit code 0: clean. 1: something was found, errors (figures would be wrong, or a stage would stop)
or notes (worth knowing: the readers cope); with --errors-only notes do not count. 2: there is no
such data set, or `--fix` would have to guess what its points are. `--fix` never touches the
original.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from crowd.annotations import LAYOUTS
from crowd.data.images import AUTO, DEPTH_HELP, depth_option
from crowd.data.layouts.points import PointConvention, add_convention
from crowd.data.layouts.registry import layout_help, layout_of
from crowd.io.config import YES_NO, ArgumentParser
from crowd.io.errors import command
from crowd.io.files import require_folder, write_text
from crowd.validation.checks import ERROR, KINDS, NOTE, Checked, Finding, check_set
from crowd.validation.cleaning import write_clean

SHOWN = 3  # findings of a kind


def build_parser() -> ArgumentParser:
    """Arguments of the command."""
    parser = ArgumentParser(prog="python -m crowd.validate", description=__doc__)
    add = parser.add_argument
    add("folder", type=str, help="the data set")
    add("--layout", choices=tuple(LAYOUTS), required=True, help=layout_help())
    add_convention(parser)
    add("--depth", type=depth_option, default=AUTO, help=DEPTH_HELP)
    add("--output", type=str, help="JSON file of the report")
    add("--fix", type=str, help="new folder, for a cleaned copy; of a tool's files: as csv")
    add("--errors-only", action=YES_NO, help="exit with 0 when there are notes alone")
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes; 0: this one")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Look at the data set, report, and write the copy that is asked for."""
    arguments = build_parser().read(argv)
    root = Path(os.path.abspath(require_folder(arguments.folder, "name the folder of a data set")))
    convention = PointConvention.of(arguments)
    checked, findings, looked = check_set(
        root, arguments.layout, arguments.workers, arguments.depth, convention
    )
    report = {"folder": str(root), "layout": arguments.layout, **report_of(checked, findings)}
    print(*looked.notes(), table(report), sep="\n")
    if arguments.output:
        write_text(arguments.output, json.dumps(report, indent=1) + "\n")
    if arguments.fix:
        written, left_out = write_clean(checked, findings, looked, root, Path(arguments.fix))
        kept = "csv" if layout_of(arguments.layout).tool else arguments.layout
        print(
            f"{arguments.fix}: {written} photos written, {left_out} left out; --layout {kept} "
            "reads it, with points in pixels"
        )
        for kind in dict.fromkeys(finding.kind for finding in findings):
            print(f"  {kind}: {KINDS[kind].remedy or 'stays, look at it yourself'}")
    if report["errors"] or (findings and not arguments.errors_only):
        raise SystemExit(1)


def report_of(checked: Sequence[Checked], findings: Sequence[Finding]) -> dict:
    """What was found as plain values: photos and heads by split, findings in all and by kind."""
    splits: dict[str, dict[str, int]] = {}
    for one in checked:
        sums = splits.setdefault(one.split, {"photos": 0, "heads": 0})
        sums["photos"] += 1
        sums["heads"] += len(one.keep)
    kinds = Counter(one.kind for one in findings)
    severities = Counter(one.severity for one in findings)
    return {
        "splits": splits,
        "errors": severities[ERROR],
        "notes": severities[NOTE],
        "kinds": {kind: kinds[kind] for kind in KINDS},
        "findings": [
            {"severity": one.severity, **dataclasses.asdict(one), "fix": KINDS[one.kind].remedy}
            for one in findings
        ],
    }


def table(report: dict) -> str:
    """Lay out photos by split and findings by kind, with the first few of each."""
    lines = [f"{'split':<6}{'photos':>8}{'heads':>10}"]
    for split, sums in report["splits"].items():
        lines.append(f"{split:<6}{sums['photos']:>8}{sums['heads']:>10}")
    for kind in dict.fromkeys(finding["kind"] for finding in report["findings"]):
        these = [finding for finding in report["findings"] if finding["kind"] == kind]
        points = sum(finding["points"] for finding in these)
        number = f"{len(these)}" + (f" ({points} points)" if points else "")
        lines.append(f"{KINDS[kind].severity:<6} {kind}: {number}")
        lines += [f"         {finding['file']}: {finding['detail']}" for finding in these[:SHOWN]]
        if len(these) > SHOWN:
            lines.append(f"         … and {len(these) - SHOWN} more")
    notes = f"{report['errors']} errors, {report['notes']} notes"
    lines.append(notes if report["findings"] else "clean")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
