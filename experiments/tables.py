"""Tables as data: one folder a table, one YAML file a row, with the commands that make its figures.

    experiments/rows/NAME/table.yml     title, protocol, columns, data sets
    experiments/rows/NAME/ROW.yml       a row: what it is, the rows it builds on, its commands

A row's commands are those of the README, without `python`. `{repeat}` stands for the seed or fold
and `{work}` for the folder of the table's runs with it, such as runs/brt/seed_1; a command
with neither is run once for all.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from crowd.io.config import nearest
from crowd.io.errors import InputError
from crowd.io.files import read_yaml

RESULTS = Path("results")
FOLDER = Path(__file__).parent / "rows"
TABLE_FILE = "table.yml"
Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Table:
    """A table of results."""

    name: str  # of its folder
    title: str
    protocol: str  # what was trained on what, and what chose the checkpoint
    columns: dict[str, str]  # heading -> place of the figure (`experiments.records.read_records`)
    # Data set's path below `data/` -> where to get it and how to lay it out.
    data: dict[str, str] = field(default_factory=dict)
    # What its runs differ in, such as "seed" or "fold", and the values.
    repeats: dict[str, list[int]] = field(default_factory=lambda: {"seed": [1, 2, 3]})
    prepare: list[str] = field(default_factory=list)  # commands that all rows and repeats share

    @property
    def repeat_name(self) -> str:
        """What the runs differ in: "seed" or "fold"."""
        return next(iter(self.repeats))


@dataclass
class Row:
    """A row of a table."""

    table: Table
    name: str  # of its file
    title: str
    place: int  # in the table, from 1
    stages: list[str] = field(default_factory=list)  # commands, in order
    run: str = ""  # run folder that is recorded; empty for a row without a training
    result: str = ""  # folder of `metrics.json` and `predictions.csv`; if not given, RUN/test
    after: list[str] = field(default_factory=list)  # rows of the table whose stages come first
    data: dict[str, str] = field(default_factory=dict)  # more data sets, as the table's
    also: dict[str, str] = field(default_factory=dict)  # more to keep: name in the record -> file
    paper: dict[str, float | str] = field(default_factory=dict)  # heading -> value, and `source`
    repeats: list[int] = field(default_factory=list)  # where they differ from the table's
    note: str = ""  # what a reader of the row should know

    def __post_init__(self):
        if not (self.run or self.result):
            raise TypeError("give 'run', 'result' or both")
        self.result = self.result or f"{self.run}/test"

    @property
    def repeat_values(self) -> list[int]:
        """Seeds or folds of this row."""
        return self.repeats or self.table.repeats[self.table.repeat_name]

    @property
    def folder(self) -> Path:
        """Where its records are."""
        return RESULTS / self.table.name / self.name

    def require_data(self) -> None:
        """Raise `InputError` saying what to download and where to put it."""
        for path, remedy in (self.table.data | self.data).items():
            if not Path(path).exists():
                name = f"{self.table.name}/{self.name}"
                raise InputError(f"{name} needs {path}, which is not here: {remedy}")


def read_rows(wanted: str) -> list[Row]:
    """Read all rows of "TABLE" in their order, or the row that "TABLE/ROW" names.

    Raises `InputError` for a table or row that does not exist, and for a file with unknown, missing
    or misplaced keys.
    """
    name, _, row_name = wanted.partition("/")
    known = table_names()
    if name not in known:
        raise InputError(f"there is no table '{name}'{nearest(name, known)}")
    table = _read(FOLDER / name / TABLE_FILE, Table, name=name)
    paths = [path for path in (FOLDER / name).glob("*.yml") if path.name != TABLE_FILE]
    rows = [_read(path, Row, table=table, name=path.stem) for path in sorted(paths)]
    rows.sort(key=lambda row: row.place)
    names = [row.name for row in rows]
    for row in rows:
        unknown = set(row.after) - set(names)
        if unknown:
            raise InputError(f"row {name}/{row.name} comes after '{unknown.pop()}', no row of it")
    if row_name and row_name not in names:
        raise InputError(f"table {name} has no row '{row_name}'; it has {', '.join(names)}")
    return [row for row in rows if row_name in ("", row.name)]


def table_names() -> list[str]:
    """Return the names of all tables."""
    return sorted(path.parent.name for path in FOLDER.glob(f"*/{TABLE_FILE}"))


def with_predecessors(row: Row) -> list[Row]:
    """Return the rows whose stages make this row possible, and the row itself at the end."""
    others = {other.name: other for other in read_rows(row.table.name)}
    chain: dict[str, Row] = {}

    def add(one: Row, below: tuple[str, ...] = ()) -> None:
        if one.name in below:
            raise InputError(f"row {row.table.name}/{one.name} comes after itself: see its 'after'")
        for name in one.after:
            add(others[name], (*below, one.name))
        chain.setdefault(one.name, one)

    add(row)
    return list(chain.values())


def _read(path: Path, kind: type[Kind], **given: object) -> Kind:
    """Read a table or row from a YAML file whose keys are the fields that are not `given`."""
    values = read_yaml(path, "mend it")
    known = [one.name for one in dataclasses.fields(kind) if one.name not in given]
    unknown = set(values) - set(known)
    if unknown:
        raise InputError(f"{path}: unknown key '{unknown.pop()}'; known: {', '.join(known)}")
    try:
        return kind(**given, **values)
    except TypeError as error:  # names the keys that are missing
        raise InputError(f"{path}: {error}") from error
