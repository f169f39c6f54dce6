"""Tables as data: one folder a table, one YAML file a row, with the commands that make its figures.

    experiments/rows/NAME/table.yml     title, protocol, columns, data sets
    experiments/rows/NAME/ROW.yml       a row: what it is, the rows it builds on, its commands

A row's commands are those of the README, without `python`. `{repeat}` stands for the seed or fold
and `{work}` for the folder of the table's runs with it, such as runs/brt/seed_1; a command
with neither is run once for all.
"""

from __future__ import annotations

import dataclasses
import difflib
from pathlib import Path

from crowd.io.errors import InputError
from crowd.io.files import read_yaml

FOLDER = Path(__file__).parent / "rows"
TABLE_FILE = "table.yml"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes:
        name: of its folder.
        title: what it shows.
        protocol: what was trained on what, and what chose the checkpoint.
        columns: heading -> place of the figure in a record (`experiments.records.read_records`).
        data: data set's path below `data/` -> where to get it and how to lay it out.
        repeats: what its runs differ in, such as "seed" or "fold", and the values.
        prepare: commands that all rows and repeats share.
    """

    name: str
    title: str
    protocol: str
    columns: dict[str, str]
    data: dict[str, str] = dataclasses.field(default_factory=dict)
    repeats: dict[str, list[int]] = dataclasses.field(default_factory=lambda: {"seed": [1, 2, 3]})
    prepare: list[str] = dataclasses.field(default_factory=list)

    @property
    def repeat_name(self) -> str:
        """What the runs differ in: "seed" or "fold"."""
        return next(iter(self.repeats))

    @property
    def repeat_values(self) -> list[int]:
        """Seeds or folds."""
        return self.repeats[self.repeat_name]


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        table: that it belongs to.
        name: of its file.
        title: what the row is.
        place: in the table, from 1.
        run: run folder that is recorded (`experiments.records.OF_RUN`); empty for a row
            without a training.
        result: folder of `metrics.json` and `predictions.csv`.
        stages: commands, in order.
        after: rows of the table whose stages come first.
        data: what the row needs beside the table's data sets, in the same form.
        also: further small files to keep, name in the record -> file.
        paper: figures of the paper, heading -> value, with their `source`.
        repeats: where they differ from the table's.
        note: what a reader of the row should know.
    """

    table: Table
    name: str
    title: str
    place: int
    result: str
    stages: list[str] = dataclasses.field(default_factory=list)
    run: str = ""
    after: list[str] = dataclasses.field(default_factory=list)
    data: dict[str, str] = dataclasses.field(default_factory=dict)
    also: dict[str, str] = dataclasses.field(default_factory=dict)
    paper: dict[str, float | str] = dataclasses.field(default_factory=dict)
    repeats: list[int] | None = None
    note: str = ""

    @property
    def repeat_values(self) -> list[int]:
        """Seeds or folds of this row."""
        return self.table.repeat_values if self.repeats is None else self.repeats


def read_table(name: str, folder: Path = FOLDER) -> tuple[Table, list[Row]]:
    """Read a table and its rows in their order.

    Raises `InputError` for a table that does not exist, and for a file with unknown, missing or
    misplaced keys.
    """
    known = table_names(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}"
        raise InputError(f"there is no table '{name}'; {hint}")
    table = Table(name=name, **_read(folder / name / TABLE_FILE, Table, {"name"}))
    rows = [
        Row(table=table, name=path.stem, **_read(path, Row, {"table", "name"}))
        for path in sorted((folder / name).glob("*.yml"))
        if path.name != TABLE_FILE
    ]
    for row in rows:
        unknown = set(row.after) - {other.name for other in rows}
        if unknown:
            raise InputError(f"row {name}/{row.name} comes after '{unknown.pop()}', no row of it")
    return table, sorted(rows, key=lambda row: row.place)


def read_rows(name: str, folder: Path = FOLDER) -> list[Row]:
    """Return the row that "TABLE/ROW" names, or all rows of "TABLE"."""
    table, _, wanted = name.partition("/")
    rows = read_table(table, folder)[1]
    chosen = [row for row in rows if not wanted or row.name == wanted]
    if not chosen:
        raise InputError(
            f"table {table} has no row '{wanted}'; it has {', '.join(row.name for row in rows)}"
        )
    return chosen


def table_names(folder: Path = FOLDER) -> list[str]:
    """Return the names of all tables."""
    return sorted(path.parent.name for path in folder.glob(f"*/{TABLE_FILE}"))


def with_predecessors(row: Row, folder: Path = FOLDER) -> list[Row]:
    """Return the rows whose stages make this row possible, and the row itself at the end."""
    others = {other.name: other for other in read_table(row.table.name, folder)[1]}
    chain: dict[str, Row] = {}

    def add(one: Row, below: tuple[str, ...] = ()) -> None:
        if one.name in below:
            raise InputError(f"row {row.table.name}/{one.name} comes after itself: see its 'after'")
        for name in one.after:
            add(others[name], (*below, one.name))
        chain.setdefault(one.name, one)

    add(row)
    return list(chain.values())


def _read(path: Path, kind: type, given: set[str]) -> dict:
    """Read a YAML file whose keys are the fields of `kind` that are not `given`."""
    values = read_yaml(path, "mend it")
    fields = {field.name: field for field in dataclasses.fields(kind) if field.name not in given}
    unknown = set(values) - set(fields)
    if unknown:
        raise InputError(f"{path}: unknown key '{unknown.pop()}'; known: {', '.join(fields)}")
    required = {
        name
        for name, field in fields.items()
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    if required - set(values):
        raise InputError(f"{path} has no '{sorted(required - set(values))[0]}': add it")
    return values
