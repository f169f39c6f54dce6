"""One HTML page about runs, whole in itself: it opens offline and asks for nothing from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from crowd.io.errors import InputError
from crowd.io.files import write_text
from crowd.io.progress import progress
from experiments import report_pictures
from experiments.report_runs import errors_by_range, read_folder
from mgot.selection import describe

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
    trainings = [training for run in found for training in run.trainings]
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"figure": _figure, "anchor": _anchor}
    page = environment.get_template(TEMPLATE).render(
        runs=progress(found, "report", unit="run"),
        names=[run.folder.as_posix() for run in found],
        tested=[training for training in trainings if training.results],
        number=OVERLAYS if len(trainings) <= 2 else OVERLAYS_OF_MANY,
        draw=report_pictures,
        attempt=_attempt,
        describe=describe,
        errors_by_range=errors_by_range,
    )
    write_text(output, page)


def _attempt(make: Callable, *arguments) -> tuple[object, str | None]:
    """Return what `make` makes and None, or None and the sentence why it cannot be made here."""
    try:
        return make(*arguments), None
    except InputError as error:
        return None, str(error)


def _anchor(folder: Path) -> str:
    return "run-" + "".join(c if c.isalnum() else "-" for c in folder.as_posix())


def _figure(value: float | None) -> str:
    """Write a figure as the tables do, with a minus that is one; what does not exist is a dash."""
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")
