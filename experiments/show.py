"""Print tables from their records, beside the papers' figures."""

from __future__ import annotations

import math

from crowd.io.errors import InputError
from experiments.records import in_words, read_records, uncommitted
from experiments.runner import require_data, row_folder
from experiments.tables import Row, Table, read_rows

MARK = "†"  # of rows that rest on records whose program is in no commit


def show(name: str) -> str:
    """Lay out the table or the row that `name` stands for; see `experiments.tables.read_rows`."""
    rows = read_rows(name)
    table = rows[0].table
    lines = [[table.title, *table.columns, "records"]]
    notes = []
    for row in rows:
        figures = row_figures(row)
        if figures is None:
            lines.append([row.title, *("" for _ in table.columns), missing(row)])
        else:
            cells = [_cell([one[name] for one in figures.values()]) for name in table.columns]
            unsure = uncommitted(row_folder(row))
            records = f"{len(figures)} of {len(row.repeat_values)}" + f" {MARK}" * bool(unsure)
            lines.append([row.title, *cells, records])
            notes += [
                f"{MARK} {row.title}: {name} ran with changes that its commit does not hold"
                for name in unsure
            ]
        if "/" in name and figures and len(figures) > 1:
            lines += [[f"  {key}", *_single(one, table), ""] for key, one in figures.items()]
        if row.paper:
            paper = [str(row.paper.get(name, "")) for name in table.columns]
            lines.append(["  published", *paper, str(row.paper.get("source", ""))])
        notes += [f"{row.title}: {row.note}"] * bool(row.note)
    return "\n".join([*_aligned(lines), "", table.protocol, *notes])


def row_figures(row: Row) -> dict[str, dict[str, float]] | None:
    """Return the figures of a row's records by seed or fold; None where there is none."""
    folder = row_folder(row)
    return read_records(folder, row.table.columns) if folder.is_dir() else None


def missing(row: Row) -> str:
    """Say how to get a row that has no records."""
    try:
        require_data(row)
    except InputError as error:
        return str(error)
    return f"python -m experiments run {row.table.name}/{row.name}"


def _single(figures: dict[str, float], table: Table) -> list[str]:
    return [_cell([figures[name]]) for name in table.columns]


def _cell(figures: list[float]) -> str:
    """Mean ± std of the records that have the figure, and how many where not all have it."""
    known = [figure for figure in figures if not math.isnan(figure)]
    some = f" ({len(known)} of {len(figures)})" if len(known) < len(figures) else ""
    return in_words(known) + some if known else ""


def _aligned(lines: list[list[str]]) -> list[str]:
    """Lay out cells in columns: the first to the left, figures to the right, the last as it is."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]) - 1)]
    return [
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:-1], widths[1:], strict=True)]
            + [line[-1]]
        ).rstrip()
        for line in lines
    ]
