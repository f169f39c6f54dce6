"""Counts of photos and their errors: tables, and files that tables are made of."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from crowd.io.files import atomic_path, write_text
from crowd.io.progress import progress
from crowd.metrics import counting_errors

if TYPE_CHECKING:
    from torch import Tensor, nn

Result = TypeVar("Result")


class PhotoCount(NamedTuple):
    """What is reported of one photo."""

    name: str
    actual: int
    predicted: float


def for_each_photo(
    model: nn.Module,
    photos: Iterable[tuple[Tensor, int, str]],
    look: Callable[[Tensor, int, str], Result],
    what: str,
) -> list[Result]:
    """Look at every photo with the model in evaluation mode, and put it back after.

    Args:
        model: that `look` uses.
        photos: (input [3, H, W], count, name), of `crowd.train.loading.photo_loader`.
        look: what is done with each.
        what: name of the progress bar.
    """
    was_training = model.training
    model.eval()
    results = [look(*photo) for photo in progress(photos, what, unit="photo")]
    model.train(was_training)
    return results


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


def localization_table(scores: dict[str, dict[str, float]]) -> str:
    """Lay out localisation scores as text, a row each, in per cent."""
    width = max(map(len, scores))
    lines = [f"{'':{width}}  {'F1':>7}  {'precision':>9}  {'recall':>7}"]
    lines += [
        f"{name:{width}}  {one['f1']:7.2%}  {one['precision']:9.2%}  {one['recall']:7.2%}"
        for name, one in scores.items()
    ]
    return "\n".join(lines)


def compare(
    counts: Sequence[PhotoCount], model: str, split: str, guess: float | None
) -> tuple[dict[str, dict[str, float]], dict]:
    """Errors of a counter on a split, beside those of guessing the training median.

    Args:
        counts: of the split's photos.
        model: name of the counter.
        split: for the table.
        guess: median count of the training photos; None where it is unknown.

    Returns:
        Rows of `errors_table`, and the metrics that `write_results` writes.
    """
    errors = errors_of(counts)
    rows = {f"{model}, {len(counts)} photos of {split}": errors}
    metrics = {"model": model, "split": split, "photos": len(counts), **errors}
    if guess is not None:
        guessing = guessing_errors(counts, guess)
        rows[f"guessing {guess:g}, the training median"] = guessing
        metrics["guessing"] = {"count": guess, **guessing}
    return rows, metrics


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
