"""Records, the small files that a figure in the README rests on: mean ± std, tables of them."""

import csv
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from crowd.count.evaluation import PhotoCount
from crowd.io.errors import InputError
from crowd.io.files import require_file
from crowd.train.runs import STARTS, read_log
from experiments.tables import Row, read_rows

MARK = "†"  # of rows that rest on records whose program is in no commit
RECORDS = "*_[0-9]*"  # seed_1 and its like


def read_records(folder: Path, columns: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return the figures of all records of a row, `folder/seed_1` and its like, by their names.

    `columns`: heading -> place of the figure in `test/metrics.json`, joined by dots, or in a file
    that is named before a colon; NaN where a record does not hold that file. Raises `InputError`
    where a record lacks a figure.
    """
    return {
        record.name: {heading: _figure(record, place) for heading, place in columns.items()}
        for record in sorted(folder.glob(RECORDS))
    }


def read_counts(path: Path) -> list[PhotoCount]:
    """Read the `predictions.csv` of a test; raise `InputError` when it is damaged."""
    with open(require_file(path, "test again"), newline="", encoding="utf-8") as file:
        lines = csv.DictReader(file)
        try:
            return [PhotoCount(r["name"], int(r["actual"]), float(r["predicted"])) for r in lines]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}, line {lines.line_num} is not name, actual, predicted: test again"
            ) from error


def uncommitted(folder: Path) -> list[str]:
    """Names of a row's records whose program, at any start, is not wholly in the commit named."""
    return [
        record.name
        for record in sorted(folder.glob(RECORDS))
        if any(start.get("uncommitted_changes") for start in _starts(record))
    ]


def mean_and_std(figures: list[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n − 1); None for a single figure."""
    deviation = float(np.std(figures, ddof=1)) if len(figures) > 1 else None
    return float(np.mean(figures)), deviation


def show(name: str) -> str:
    """Lay out the table or the row that `name` stands for; see `experiments.tables.read_rows`."""
    rows = read_rows(name)
    table = rows[0].table
    lines = [[table.title, *table.columns, "records"]]
    notes = []
    for row in rows:
        figures, unsure = read_records(row.folder, table.columns), uncommitted(row.folder)
        cells = [_cell([one[name] for one in figures.values()]) for name in table.columns]
        records = f"{len(figures)} of {len(row.repeat_values)}" + f" {MARK}" * bool(unsure)
        lines.append([row.title, *cells, records if figures else missing(row)])
        notes += [
            f"{MARK} {row.title}: {name} ran with changes that its commit does not hold"
            for name in unsure
        ]
        if "/" in name and len(figures) > 1:
            lines += [
                [f"  {key}", *(_cell([one[name]]) for name in table.columns), ""]
                for key, one in figures.items()
            ]
        if row.paper:
            paper = [str(row.paper.get(name, "")) for name in table.columns]
            lines.append(["  published", *paper, str(row.paper.get("source", ""))])
        notes += [f"{row.title}: {row.note}"] * bool(row.note)
    return "\n".join([*_aligned(lines), "", table.protocol, *notes])


def missing(row: Row) -> str:
    """Say how to get a row that has no records."""
    try:
        row.require_data()
    except InputError as error:
        return str(error)
    return f"python -m experiments run {row.table.name}/{row.name}"


def _cell(figures: list[float]) -> str:
    """Mean ± std of the records that have the figure, and how many where not all have it.

    Two decimals, three below 1.
    """
    known = [figure for figure in figures if not math.isnan(figure)]
    if not known:
        return ""
    mean, deviation = mean_and_std(known)
    digits = 2 if abs(mean) >= 1 else 3
    text = f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")
    return text + (f" ({len(known)} of {len(figures)})" if len(known) < len(figures) else "")


def _aligned(lines: list[list[str]]) -> list[str]:
    """Lay out cells in columns: the first to the left, figures to the right, the last as it is."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) - 1)]
    form = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:]), "{}"])
    return [form.format(*line).rstrip() for line in lines]


def _starts(record: Path) -> list[dict]:
    """Environments of a run's starts; older records, and those of no training, hold one or none."""
    path = record / "environment.json"
    last = [json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []
    return [*last, *read_log(record / STARTS)]


def _figure(record: Path, place: str) -> float:
    file, _, place = place.rpartition(":")
    path = record / (file or "test/metrics.json")
    if file and not path.is_file():
        return math.nan
    value = json.loads(require_file(path, "record the run again").read_text(encoding="utf-8"))
    try:
        for key in place.split("."):
            value = value[key]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} has no figure '{place}': record the run again") from error
    return math.nan if value is None else float(value)
