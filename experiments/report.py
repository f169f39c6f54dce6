"""One HTML page about runs, whole in itself: it opens offline and asks for nothing from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from crowd.errors import InputError
from crowd.files import write_text
from crowd.progress import progress
from experiments import report_pictures
from experiments.report_runs import (
    Result,
    Selection,
    Training,
    Transfer,
    errors_by_range,
    read_folder,
)
from mgot.selection_summary import describe

TEMPLATE = "report.html.j2"
OVERLAYS, OVERLAYS_OF_MANY = 6, 3


def write_report(runs: list[Path], output: Path) -> None:
    """Write a report of trainings and transfers.

    Curves, counts of every photo, the worst overlaid with what was predicted, errors by range of
    counts, GST's Gaussians, MGOT's matched patches, configuration and environment. What cannot be
    drawn, because photos or checkpoints are elsewhere, is said in place of the picture.

    Args:
        runs: folders of train_gs.py, mgot.train_baseline or train_baseline_weight.py, or of
            transfers (`mgot.transfer`).
        output: HTML file to write.

    Raises:
        InputError: a folder is no run, or its files are damaged.
    """
    found = [read_folder(folder) for folder in runs]
    trainings = [one for run in found for one in _trainings(run)]
    number = OVERLAYS if len(trainings) <= 2 else OVERLAYS_OF_MANY
    described = {
        id(one): _training(one, number) for one in progress(trainings, "report", unit="run")
    }
    parts = [
        {
            "title": run.folder.as_posix(),
            "transfer": _transfer(run) if isinstance(run, Transfer) else None,
            "trainings": [described[id(one)] for one in _trainings(run)],
        }
        for run in found
    ]
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["figure"] = _figure
    page = environment.get_template(TEMPLATE).render(
        parts=parts, overview=[_overview(one) for one in described.values() if one["results"]]
    )
    write_text(output, page)


def _trainings(run: Training | Transfer) -> list[Training]:
    return run.trainings if isinstance(run, Transfer) else [run]


def _training(training: Training, number: int) -> dict[str, Any]:
    """Everything that the page says of a training."""
    gst = training.method == "gst"
    fitted = gst and training.config.get("loss", "transport") == "transport"
    return {
        "title": training.folder.as_posix(),
        "id": _anchor(training),
        "method": training.method,
        "model": training.config.get("model_name"),
        "loss": training.config.get("loss", "transport") if gst else "FIDT map",
        "epochs": len(training.log),
        "curves": _or_reason(lambda: report_pictures.curves(training)),
        "results": [_result(training, one, number) for one in training.results],
        "gaussians": _or_reason(lambda: report_pictures.gaussians(training)) if fitted else None,
        "config": training.config,
        "environment": training.environment,
    }


def _result(training: Training, result: Result, number: int) -> dict[str, Any]:
    """Everything that the page says of a test."""
    return {
        "name": result.name,
        "split": result.metrics.get("split", "test"),
        "metrics": result.metrics,
        "scatter": report_pictures.scatter(result),
        "ranges": errors_by_range(result.counts),
        "photos": result.by_error(),
        "overlays": _or_reason(lambda: report_pictures.overlays(training, result, number)),
    }


def _transfer(transfer: Transfer) -> dict[str, Any]:
    """What the page says of a transfer beside its trainings."""
    pictures = {name: report_pictures.data_uri(path) for name, path in transfer.pictures.items()}
    return {
        "pictures": pictures,
        "selections": [_selection(one) for one in transfer.selections],
    }


def _selection(selection: Selection) -> dict[str, Any]:
    return {
        "name": selection.name,
        "text": describe(selection.summary),
        "picture": report_pictures.data_uri(selection.picture),
    }


def _overview(training: dict[str, Any]) -> dict[str, Any]:
    """A line of the first table: a training and its first test."""
    return {**training, "result": training["results"][0]}


def _or_reason(make: Callable[[], Any]) -> dict[str, Any]:
    """Return what `make` makes, or the sentence why it cannot be made here."""
    try:
        return {"content": make(), "reason": None}
    except InputError as error:
        return {"content": None, "reason": str(error)}


def _anchor(training: Training) -> str:
    return "run-" + "".join(c if c.isalnum() else "-" for c in training.folder.as_posix())


def _figure(value: float | None) -> str:
    """Write a figure as the tables do, with a minus that is one; what does not exist is a dash."""
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")
