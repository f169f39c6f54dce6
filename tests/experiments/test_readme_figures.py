"""Every figure of the README and of the pages of results stands in a record.

A table of results is preceded by a line that says where its figures come from:

    <!-- table: NAME -->              rows of experiments/rows/NAME, told by their titles
    <!-- bench: NAME -->              bench/results/NAME.json: every number stands there, rounded
"""

import itertools
import json
import re
from pathlib import Path

import pytest

from experiments import records, tables

ROOT = Path(tables.__file__).parent.parent
PAGES = ("README.md", "docs/RESULTS.md", "docs/ADAPTATION.md", "docs/SPEED.md", "docs/GPU.md")
TEXT = {name: (ROOT / name).read_text(encoding="utf-8") for name in PAGES}
MARKER = re.compile(r"<!-- (table|bench): ([\w ]+) -->")
NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def marked_tables(text):
    """Yield (kind, name, heading cells, rows of cells) of every Markdown table with a marker."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        marker = MARKER.fullmatch(line.strip())
        if marker:
            start = next(i for i in range(number + 1, len(lines)) if lines[i].startswith("|"))
            block = []
            for row in itertools.takewhile(lambda line: line.startswith("|"), lines[start:]):
                cells = row.strip().strip("|").split("|")
                block.append([cell.strip().strip("*") for cell in cells])
            yield marker[1], marker[2], block[0], block[2:]


def unmarked_results(text):
    """Return the headings of tables that have no marker above them, in its section of results."""
    heading = r"^## (?:Results|Two runs on a card)\n"
    section = re.search(rf"{heading}(.*?)(?=^## )", text, re.M | re.S)
    lines, found = (section[1] if section else text).splitlines(), []
    for number, line in enumerate(lines):
        begins = line.startswith("|") and not lines[number - 1].startswith("|")
        if begins and not any(MARKER.search(above) for above in lines[max(number - 3, 0) : number]):
            found.append(line)
    return found


def agrees(printed, figures):
    """Whether "mean ± std" or "mean", as printed, is that of the figures, to its last digit."""
    values = records.mean_and_std(figures)
    parts = printed.split(" ± ")
    if len(parts) != (1 if values[1] is None else 2):
        return False
    for part, value in zip(parts, values, strict=False):
        decimals = len(part.partition(".")[2])
        if abs(float(part) - value) > 0.5001 * 10**-decimals:
            return False
    return True


def check_table(name, heading, rows, problems):
    by_title = {row.title: row for row in tables.read_rows(name)}
    for title, *cells in rows:
        if title.startswith("guessing"):
            continue
        row = by_title.get(title.removesuffix(f" {records.MARK}"))
        if row is None:
            problems.append(f"'{title}' is no row of {name}")
            continue
        recorded = records.read_records(row.folder, row.table.columns)
        if title.endswith(records.MARK) != bool(records.uncommitted(row.folder)):
            problems.append(f"{name}, {title}: {records.MARK} marks rows of uncommitted programs")
        for column, cell in zip(heading[1:], cells, strict=True):
            if not recorded or column not in row.table.columns:
                problems.append(f"{name}, {title}: no record of '{column}'")
            elif not agrees(cell, [figures[column] for figures in recorded.values()]):
                problems.append(f"{name}, {title}, {column}: the records do not say {cell}")


def numbers_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for one in value for number in numbers_in(one)]
    return [float(value)] if isinstance(value, int | float) else []


def check_bench(name, rows, problems):
    recorded = []
    for one in name.split():
        text = (ROOT / "bench" / "results" / f"{one}.json").read_text(encoding="utf-8")
        recorded += numbers_in(json.loads(text))
    for title, *cells in rows:
        for printed in NUMBER.findall(" ".join(cells)):
            plain = printed.replace(",", "")
            step = 10 ** -len(plain.partition(".")[2])
            if "." not in plain:
                step = max(step, 10 ** (len(plain) - len(plain.rstrip("0"))))
            if not any(abs(float(plain) - value) <= 0.5001 * step for value in recorded):
                problems.append(f"{name}, {title}: no record says {printed}")


def problems_of(text):
    problems = [f"no marker above the table {heading}" for heading in unmarked_results(text)]
    for kind, name, heading, rows in marked_tables(text):
        if kind == "table":
            check_table(name, heading, rows, problems)
        else:
            check_bench(name, rows, problems)
    return problems


@pytest.mark.parametrize("name", PAGES)
def test_every_figure_is_recorded(monkeypatch, name):
    monkeypatch.chdir(ROOT)
    assert list(marked_tables(TEXT[name]))
    assert problems_of(TEXT[name]) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("2.19 ± 0.31", "2.18 ± 0.31", "do not say 2.18"),
        ("2.19 ± 0.31", "2.19 ± 0.30", "do not say 2.19 ± 0.30"),
        ("2.19 ± 0.31", "2.19", "do not say 2.19"),
        ("| GST |", "| GSTT |", "'GSTT' is no row"),
        ("| GST |", "| GST † |", "† marks rows"),
        ("<!-- table: brt -->\n", "", "no marker"),
    ],
)
def test_a_wrong_figure_is_found(monkeypatch, old, new, says):
    monkeypatch.chdir(ROOT)
    text = (
        "## Results\n\n<!-- table: brt -->\n| | MAE | RMSE | NAE |\n|---|---|---|---|\n"
        "| GST | 2.19 ± 0.31 | 3.03 ± 0.41 | 0.20 ± 0.03 |\n\n## More\n"
    )
    monkeypatch.setattr(records, "read_records", lambda *_: TRIO)
    monkeypatch.setattr(records, "uncommitted", lambda *_: [])
    assert problems_of(text) == []
    assert says in " ".join(problems_of(text.replace(old, new)))


TRIO = {
    "seed_1": {"MAE": 2.545, "RMSE": 3.49, "NAE": 0.23},
    "seed_2": {"MAE": 1.99, "RMSE": 2.71, "NAE": 0.18},
    "seed_3": {"MAE": 2.035, "RMSE": 2.88, "NAE": 0.18},
}
