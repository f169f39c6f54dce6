"""Records: the small files that a figure in the README rests on, and their mean ± std."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from crowd.count.evaluation import PhotoCount
from crowd.io.errors import InputError
from crowd.io.files import atomic_path, require_file, require_folder
from crowd.train.runs import STARTS, read_log

OF_RUN = ("config.yml", "environment.json", STARTS, "log.jsonl")
OF_RESULT = ("metrics.json", "predictions.csv")


def record_run(run: Path | None, record: Path, result: Path, also: Mapping[str, Path]) -> None:
    """Copy what a figure rests on to the folder `record`.

    That is the folder `run` of a training, None where nothing was trained; that of what was
    measured, `result`, kept in `test/`; and `also`, name in the record -> file. Raises `InputError`
    where a file is missing; nothing is copied then.
    """
    sources = {f"test/{name}": result / name for name in OF_RESULT if run or name == OF_RESULT[0]}
    sources |= {name: run / name for name in OF_RUN} if run else {}
    sources |= also
    for source in sources.values():
        require_file(source, "train and test first")
    for name, source in sources.items():
        with atomic_path(record / name) as part:
            shutil.copyfile(source, part)


def read_records(folder: Path, columns: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return the figures of all records of a row, `folder/seed_1` and its like, by their names.

    `columns`: heading -> place of the figure in `test/metrics.json`, joined by dots, or in a file
    that is named before a colon; NaN where a record does not hold that file. Raises `InputError`
    where there is no record, or one lacks a figure.
    """
    return {record.name: _figures(record, columns) for record in _records(folder)}


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
        for record in _records(folder)
        if any(start.get("uncommitted_changes") for start in _starts(record))
    ]


def mean_and_std(figures: list[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n − 1); None for a single figure."""
    deviation = float(np.std(figures, ddof=1)) if len(figures) > 1 else None
    return float(np.mean(figures)), deviation


def in_words(figures: list[float]) -> str:
    """Mean ± std as tables print it: two decimals, three below 1."""
    mean, deviation = mean_and_std(figures)
    digits = 2 if abs(mean) >= 1 else 3
    return f"{mean:.{digits}f}" + ("" if deviation is None else f" ± {deviation:.{digits}f}")


def _records(folder: Path) -> list[Path]:
    require_folder(folder, "name a folder of records")
    records = sorted(folder.glob("*_[0-9]*"))
    if not records:
        raise InputError(f"{folder} holds no record such as seed_1: record a run there first")
    return records


def _starts(record: Path) -> list[dict]:
    """Environments of a run's starts; older records, and those of no training, hold one or none."""
    path = record / "environment.json"
    last = [json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []
    return [*last, *read_log(record / STARTS)]


def _figures(record: Path, columns: Mapping[str, str]) -> dict[str, float]:
    return {heading: _figure(record, place) for heading, place in columns.items()}


def _figure(record: Path, place: str) -> float:
    file, _, place = place.rpartition(":")
    if file and not (record / file).is_file():
        return float("nan")
    path = require_file(record / (file or "test/metrics.json"), "record the run again")
    return _at(json.loads(path.read_text(encoding="utf-8")), place, path)


def _at(metrics: dict, place: str, path: Path) -> float:
    value = metrics
    for key in place.split("."):
        if not isinstance(value, dict) or key not in value:
            raise InputError(f"{path} has no figure '{place}': record the run again")
        value = value[key]
    return float("nan") if value is None else float(value)
