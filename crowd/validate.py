"""Check a data set: photos, annotations, splits.

    python -m crowd.validate data/qnrf --layout qnrf
    python -m crowd.validate data/qnrf --layout qnrf --output report.json --fix data/qnrf_clean

Exit code 0: clean. 1: something was found, errors (figures would be wrong, or a stage would stop)
or notes (worth knowing: the readers cope); with --errors-only notes do not count. 2: there is no
such data set, or `--fix` would have to guess what its points are. `--fix` never touches the
original.
"""

import dataclasses
import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.annotations import LAYOUTS
from crowd.data.folders import list_images
from crowd.data.images import AUTO, DEPTH_HELP, depth_option, read_image, write_image
from crowd.data.layouts import text_files
from crowd.data.layouts.annotation import REPLACE
from crowd.data.layouts.points import DEFAULT, PointConvention, add_convention
from crowd.data.layouts.registry import layout_help, layout_of
from crowd.data.layouts.survey import Survey
from crowd.data.layouts.tables import LEVELS, name_in, read_table
from crowd.data.splits import listed_photos, photos_by_name
from crowd.io.config import YES_NO, ArgumentParser
from crowd.io.errors import InputError, command
from crowd.io.files import atomic_path, read_text, write_text
from crowd.io.progress import progress
from crowd.validation import ERROR, KINDS, NOTE, Checked, Finding, check_set

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
    root = Path(os.path.abspath(arguments.folder))
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
            print(f"  {kind}: {KINDS[kind] or 'stays, look at it yourself'}")
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
            {"severity": one.severity, **dataclasses.asdict(one), "fix": KINDS[one.kind]}
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
        lines.append(f"{these[0]['severity']:<6} {kind}: {number}")
        lines += [f"         {finding['file']}: {finding['detail']}" for finding in these[:SHOWN]]
        if len(these) > SHOWN:
            lines.append(f"         … and {len(these) - SHOWN} more")
    notes = f"{report['errors']} errors, {report['notes']} notes"
    lines.append(notes if report["findings"] else "clean")
    return "\n".join(lines)


def write_clean(
    checked: Sequence[Checked],
    findings: Sequence[Finding],
    looked: Survey,
    root: Path,
    target: Path,
) -> tuple[int, int]:
    """Write the photos that can be used, upright, with the points that lie in them, once each.

    Takes what `crowd.validation.check_set` returns; `target` appears when all is in it.
    Returns how many photos were written, and how many left out. Raises `InputError` when it is in
    doubt how points are meant; `target` exists and holds something, lies in the data set, or cannot
    be written; or a table of points lies outside `root`.
    """
    looked.require_answers()
    target = Path(os.path.abspath(target))
    if target.is_relative_to(root):
        raise InputError(f"{target} lies in the data set: name another folder for the copy")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} holds something: name a new folder for the copy")
    # NWPU keeps all photos in one folder: one that stands in two lists is the same file in both.
    leaks = {(one.split, one.file) for one in findings if one.kind == "same photo in two splits"}
    kept = [one for one in checked if one.usable and (one.split, one.file) not in leaks]
    if not kept:
        raise InputError(f"no photo of {root} can be used: there is nothing to copy")
    with atomic_path(target, folder=True) as part:
        _write(kept, root, part)
    return len(kept), len(checked) - len(kept)


def _write(kept: Sequence[Checked], root: Path, part: Path) -> None:
    known = layout_of(kept[0].seen.layout)
    tables: dict[Path, dict[str, np.ndarray]] = defaultdict(dict)
    for one in progress(kept, "copying", unit="photo"):
        seen, photo = one.seen, part / one.file
        photo.parent.mkdir(parents=True, exist_ok=True)
        if one.rewrite:
            write_image(photo, read_image(seen.photo, one.depth))
        else:
            shutil.copyfile(seen.photo, photo)
        points = seen.heads(one.convention)[one.keep]
        if known.tool:
            # As far above the photo as it is looked for.
            above = [path for path in seen.photo.parents[:LEVELS] if path.is_relative_to(root)]
            folder = above[-1]
            name = seen.photo.relative_to(folder).as_posix()
            tables[folder / "annotations.csv"][name] = points
        elif known.table:
            name = name_in(read_table(seen.file, seen.layout), seen.photo)
            tables[seen.file][name or os.path.relpath(seen.photo, seen.file.parent)] = points
        else:
            copy = part / seen.file.relative_to(root)
            copy.parent.mkdir(parents=True, exist_ok=True)
            if one.keep.all() and seen.orientation == 1 and one.convention == DEFAULT:
                shutil.copyfile(seen.file, copy)
            else:
                sizes = None if seen.annotation.heads is None else seen.boxes(one.convention)
                known.format.write(copy, points, seen.file, one.keep, sizes)
    text = text_files.own_text if known.tool else known.format.write
    for table, photos in tables.items():
        if not table.is_relative_to(root):
            raise InputError(f"{table} lies outside {root}: name the folder that holds it too")
        write_text(part / table.relative_to(root), text(photos))
    if kept[0].seen.layout == "nwpu":
        _write_lists(kept, root, part)


def _write_lists(kept: Sequence[Checked], root: Path, part: Path) -> None:
    """Copy the lines of the list files that name photos of the copy, one a photo."""
    by_name = photos_by_name(list_images(root / "images"))
    for split in dict.fromkeys(one.split for one in kept):
        missing = {one.seen.photo for one in kept if one.split == split}
        lines = []
        for line in read_text(root / f"{split}.txt", REPLACE).splitlines():
            named = listed_photos(line, by_name)
            if len(named) == 1 and named[0] in missing:
                lines.append(f"{line}\n")
                missing.remove(named[0])
        write_text(part / f"{split}.txt", "".join(lines))


if __name__ == "__main__":
    main()
