"""Run records: the small files that a figure in the README rests on, and their mean ± std."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from crowd.errors import InputError
from crowd.files import atomic_path, require_file, require_folder

RECORDED = (
    "config.yml",
    "environment.json",
    "log.jsonl",
    "test/metrics.json",
    "test/predictions.csv",
)
ERRORS = ("mae", "rmse", "nae")


def record_run(run: Path, record: Path) -> None:
    """Copy what a figure rests on from a run folder to `record`.

    Raises `InputError` naming the file that the run lacks.
    """
    sources = {name: require_file(run / name, "train and test first") for name in RECORDED}
    for name, source in sources.items():
        with atomic_path(record / name) as part:
            shutil.copyfile(source, part)


def summarise(folder: Path) -> str:
    """Lay out the test errors of all records `folder/seed_*`, and their mean ± std (n − 1)."""
    records = sorted(require_folder(folder, "name a folder of records").glob("seed_*"))
    if not records:
        raise InputError(f"{folder} holds no record seed_…: record a run there first")
    rows = {record.name: _test_errors(record) for record in records}
    lines = [f"{'':12}" + "".join(f"{name.upper():>16}" for name in ERRORS)]
    for seed, errors in rows.items():
        lines.append(f"{seed:12}" + "".join(f"{errors[name]:16.2f}" for name in ERRORS))
    if len(rows) > 1:
        columns = [np.array([errors[name] for errors in rows.values()]) for name in ERRORS]
        cells = [f"{column.mean():.2f} ± {column.std(ddof=1):.2f}" for column in columns]
        lines.append(f"{'mean ± std':12}" + "".join(f"{cell:>16}" for cell in cells))
    return "\n".join(lines)


def _test_errors(record: Path) -> dict[str, float]:
    path = require_file(record / "test" / "metrics.json", "record the run again")
    return json.loads(path.read_text(encoding="utf-8"))
