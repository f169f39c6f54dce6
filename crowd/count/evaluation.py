"""Counts of photos and their errors: tables, and files that tables are made of."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from crowd.io.files import atomic_path, write_text
from crowd.metrics import counting_errors


class PhotoCount(NamedTuple):
    """What is reported of one photo."""

    name: str
    actual: int
    predicted: float


def errors_of(counts: Sequence[PhotoCount]) -> dict[str, float]:
    """MAE, RMSE and NAE of counted photos (`crowd.metrics.counting_errors`)."""
    predicted = np.array([count.predicted for count in counts])
    return counting_errors(predicted, np.array([count.actual for count in counts]))


def guessing_errors(counts: Sequence[PhotoCount], guess: float) -> dict[str, float]:
    """Errors of answering `guess` for every photo: what a counter has to beat."""
    return errors_of([count._replace(predicted=guess) for count in counts])


def errors_table(rows: dict[str, dict[str, float]]) -> str:
    """Lay out errors as text, a row each; the papers print RMSE as MSE."""
    width = max(map(len, rows))
    lines = [f"{'':{width}}  {'MAE':>9}  {'RMSE*':>9}  {'NAE':>7}"]
    lines += [
        f"{name:{width}}  {errors['mae']:9.2f}  {errors['rmse']:9.2f}  {errors['nae']:7.3f}"
        for name, errors in rows.items()
    ]
    return "\n".join([*lines, "* printed as MSE in the papers"])


def write_results(folder: Path, counts: Sequence[PhotoCount], metrics: dict) -> None:
    """Write `predictions.csv` (name, actual, predicted) and `metrics.json`, each whole or not.

    A metric that is not a number, such as NAE where no photo has heads, becomes null.
    """
    with (
        atomic_path(folder / "predictions.csv") as part,
        open(part, "w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(PhotoCount._fields)
        writer.writerows((count.name, count.actual, f"{count.predicted:.4f}") for count in counts)
    write_text(folder / "metrics.json", json.dumps(without_nan(metrics), indent=2) + "\n")


def without_nan(metrics: dict) -> dict:
    """Replace what is not a number by None, in dictionaries within it too: JSON knows no NaN."""
    return {
        name: without_nan(value)
        if isinstance(value, dict)
        else (None if isinstance(value, float) and math.isnan(value) else value)
        for name, value in metrics.items()
    }
