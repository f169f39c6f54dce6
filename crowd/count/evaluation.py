"""Counts of photos and their errors: tables, and files that tables are made of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from crowd.io.files import csv_text, write_text
from crowd.io.progress import note, progress
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
    """Return what `look` makes of every photo with the model in evaluation mode, put back after.

    `photos` are (input [3, H, W], count, name), as `crowd.train.loading.photo_loader` gives them.
    """
    was_training = model.training
    model.eval()
    results = [look(*photo) for photo in progress(photos, what, unit="photo")]
    model.train(was_training)
    return results


def errors_of(counts: Sequence[PhotoCount]) -> dict[str, float]:
    """MAE, RMSE and NAE of counted photos (`crowd.metrics.counting_errors`)."""
    return counting_errors([one.predicted for one in counts], [one.actual for one in counts])


def errors_table(rows: dict[str, dict[str, float]]) -> str:
    """Lay out errors as text, a row each; the papers print RMSE as MSE."""
    columns = {"MAE": ("mae", "9.2f"), "RMSE*": ("rmse", "9.2f"), "NAE": ("nae", "7.3f")}
    return f"{_table(rows, columns)}\n* printed as MSE in the papers"


def localization_table(scores: dict[str, dict[str, float]]) -> str:
    """Lay out localisation scores as text, a row each, in per cent."""
    columns = {"F1": ("f1", "7.2%"), "precision": ("precision", "9.2%")}
    return _table(scores, columns | {"recall": ("recall", "7.2%")})


def _table(rows: dict[str, dict[str, float]], columns: dict[str, tuple[str, str]]) -> str:
    width = max(map(len, rows))
    lines = ["  ".join([" " * width, *(f"{one:>{how[0]}}" for one, (_, how) in columns.items())])]
    for name, row in rows.items():
        values = (f"{row[key]:{how}}" for key, how in columns.values())
        lines.append("  ".join([f"{name:{width}}", *values]))
    return "\n".join(lines)


def compare(
    counts: Sequence[PhotoCount], model: str, split: str, guess: float | None
) -> tuple[dict[str, dict[str, float]], dict]:
    """Errors of a counter on a split, beside those of guessing the training median.

    `guess` is that median, None where it is unknown. Returns rows of `errors_table`, and the
    metrics that `write_results` writes.
    """
    errors = errors_of(counts)
    rows = {f"{model}, {len(counts)} photos of {split}": errors}
    metrics = {"model": model, "split": split, "photos": len(counts), **errors}
    if guess is not None:
        guessing = errors_of([count._replace(predicted=guess) for count in counts])
        rows[f"guessing {guess:g}, the training median"] = guessing
        metrics["guessing"] = {"count": guess, **guessing}
    return rows, metrics


def write_results(folder: Path, counts: Sequence[PhotoCount], metrics: dict) -> None:
    """Write `predictions.csv` (name, actual, predicted) and `metrics.json`, each whole or not.

    Notes on stderr when they replace other results. A metric that is not a number, such as NAE
    where no photo has heads, becomes null.
    """
    rows = [(count.name, count.actual, f"{count.predicted:.4f}") for count in counts]
    write_table(folder / "predictions.csv", PhotoCount._fields, rows)
    write_text(folder / "metrics.json", json.dumps(without_nan(metrics), indent=2) + "\n")


def write_table(path: Path, names: Sequence[str], rows: Sequence[tuple]) -> Path:
    """Write a CSV file whole or not at all; return its path. Notes when it replaces another."""
    text = csv_text(names, rows)
    if path.is_file() and path.read_bytes() != text.encode(errors="surrogateescape"):
        note(f"{path} held other results, which are replaced: --output keeps both")
    write_text(path, text)
    return path


def without_nan(metrics):
    """Replace what is not a number by None, in dictionaries within it too: JSON knows no NaN."""
    if isinstance(metrics, dict):
        return {name: without_nan(value) for name, value in metrics.items()}
    return None if isinstance(metrics, float) and math.isnan(metrics) else metrics
