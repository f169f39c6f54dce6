"""One HTML page about runs, whole in itself: it opens offline and asks for nothing from outside.

A run is a folder of train_gs.py, mgot.train_baseline or train_baseline_weight.py, or that of a
transfer, which holds trainings and the pictures that its stages drew.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib.figure import Figure
from PIL import Image

from crowd.count.evaluation import PhotoCount
from crowd.data.images import read_image
from crowd.data.processed import list_split, read_annotation, split_photos
from crowd.io.errors import InputError
from crowd.io.files import read_yaml, require_folder, short_hash, write_text
from crowd.io.progress import progress
from crowd.pictures import drawing
from crowd.pictures.overlays import picture_kind, picture_url, write_figure
from crowd.train.runs import BEST, LAST, read_log
from experiments import figures
from experiments.records import read_counts
from gst.counter import Counter, load_counter
from mgot.localization import PREDICTED, read_points_file
from mgot.pictures import draw_peaks

TEMPLATE = "report.html.j2"
OVERLAYS = 6  # of each test
WIDTH, QUALITY, COLOURS = 900, 75, 64
AGAIN = "train and test again"


class Result(NamedTuple):
    """A test: its folder, `metrics.json`, and every photo's count, the one counted worst first."""

    folder: Path
    metrics: dict
    counts: list[PhotoCount]


class Training(NamedTuple):
    """A training's folder and what it left there."""

    folder: Path
    config: dict
    environment: dict
    log: list[dict]
    results: list[Result]

    @property
    def gst(self) -> bool:
        """Whether it is GST's, and not MGOT's."""
        return "cut_off" in self.config

    @property
    def loss(self) -> str:
        """What it was trained on; `transport` is GST's own loss."""
        return self.config.get("loss", "transport") if self.gst else "FIDT map"


def write_report(folders: list[Path], output: Path) -> None:
    """Write a report: curves, every photo's count, the worst overlaid, Gaussians, stages' pictures.

    What cannot be drawn, because photos or checkpoints are elsewhere, is said in place of it.
    Raises `InputError` where a folder is no run, or its files are damaged.
    """
    runs = {folder: read_trainings(folder) for folder in folders}
    options = {"autoescape": True, "undefined": StrictUndefined, "trim_blocks": True}
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), **options)
    environment.filters["figure"] = _figure
    page = environment.get_template(TEMPLATE).render(
        runs=progress(runs.items(), "report", unit="run"),
        trainings=[training for trainings in runs.values() for training in trainings],
        pictures=lambda folder: sorted([*folder.glob("*.png"), *folder.glob("*.jpg")]),
        **{draw.__name__: draw for draw in (curves, scatter, data_uri, overlays, gaussians)},
        attempt=_attempt,
    )
    write_text(output, page)


def read_trainings(folder: Path) -> list[Training]:
    """The training in a folder, or those in a transfer's; raise `InputError` without any."""
    require_folder(folder, "name a run folder, such as runs/gst_brt_vgg")
    logs = [folder / "log.jsonl"]
    logs = [path for path in logs if path.is_file()] or sorted(folder.glob("*/log.jsonl"))
    if not logs:
        raise InputError(f"{folder} and its folders hold no training (log.jsonl): name a run")
    return [
        Training(
            log.parent,
            config=read_yaml(log.parent / "config.yml", AGAIN),
            environment=read_yaml(log.parent / "environment.json", AGAIN),
            log=read_log(log),
            results=[_read_result(path) for path in sorted(log.parent.glob("*/predictions.csv"))],
        )
        for log in logs
    ]


def _read_result(path: Path) -> Result:
    counts = sorted(read_counts(path), key=lambda count: -abs(count.predicted - count.actual))
    return Result(path.parent, read_yaml(path.parent / "metrics.json", AGAIN), counts)


def find_photos(training: Training, result: Result) -> dict[str, Path]:
    """Photos of a result by their names; raise `InputError` when they are not on this machine.

    Data sets may name their photos alike: the one is taken whose annotations have the counts.
    """
    config, split = training.config, result.metrics.get("split", "test")
    folders = [config[key] for key in ("data_dir", "val_dir") if config.get(key)]
    sides = [config[key] for key in ("target", "source") if config.get(key)]
    folders += [f"{config.get('data_root')}/{side}_fidt" for side in sides]
    actual = {count.name: count.actual for count in result.counts}
    for folder in map(Path, folders):
        paths = list_split(folder, split) if (folder / split).is_dir() else []
        paths = [path for path in paths if path.with_suffix(".npy").is_file()]
        if actual == {path.name: len(read_annotation(path)) for path in paths}:
            return {path.name: path for path in paths}
    raise InputError(
        f"the photos that {result.folder} counts are not on this machine: make the data set again "
        "to see them"
    )


def overlays(training: Training, result: Result) -> list[tuple[PhotoCount, str]]:
    """Draw what was predicted over the photos that were counted worst: densities, or heads.

    Raises `InputError` when the photos, or the checkpoint, are not there.
    """
    paths = find_photos(training, result)
    if training.gst:
        counter = _tested_counter(training, result)
    else:
        found = read_points_file(result.folder / "predicted_points.txt", PREDICTED)
        # Drawn in the middle of their pixels.
        heads = {name: found[number] + 0.5 for number, name in enumerate(paths, start=1)}

    def draw(name: str, to: Path) -> None:
        photo = paths[name]
        if training.gst:
            figures.draw_count(to, photo, counter)
        else:
            draw_peaks(to, read_image(photo), heads[name], read_annotation(photo)[:, :2])

    worst = result.counts[:OVERLAYS]
    return [(one, _drawn(functools.partial(draw, one.name))) for one in worst]


def _tested_counter(training: Training, result: Result) -> Counter:
    """Load the checkpoint that was tested; raise `InputError` when it is no longer there."""
    for path in filter(Path.is_file, (training.folder / name for name in (BEST, LAST))):
        if short_hash(path) == result.metrics.get("checkpoint"):
            return load_counter(path, torch.device("cpu"))
    raise InputError(
        f"{result.folder} is of no {BEST} or {LAST} that is in {training.folder} now: test again "
        "to see the photos"
    )


def gaussians(training: Training) -> list[str]:
    """Draw the Gaussians of a training photo and its kernel; raise `InputError` without them."""
    photo = figures.busy_photo(split_photos(training.config["data_dir"], "train"))
    draws = figures.draw_fit, figures.draw_kernel
    return [_drawn(functools.partial(draw, photo=photo)) for draw in draws]


def curves(training: Training) -> str:
    """Draw every figure that the log has of its epochs, the losses first."""
    names = dict.fromkeys(name for line in training.log for name in line)
    names = [name for name in names if name not in ("epoch", "lr") and "nae" not in name]
    return _drawn(lambda path: drawing.draw_curve(path, training.log, names, "Training"), ".png")


def scatter(result: Result) -> str:
    """Draw predicted over annotated counts, beside the errors."""
    actual = np.array([count.actual for count in result.counts], np.float64)
    predicted = np.array([count.predicted for count in result.counts])
    figure = Figure((10, 4.2), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    top = max(actual.max(), predicted.max(), 1.0) * 1.05
    left.plot([0, top], [0, top], "-", color="grey", lw=1)
    left.set(ylabel="predicted", xlim=(0, top), ylim=(0, top))
    right.axhline(0, color="grey", lw=1)
    right.set(ylabel="predicted − annotated")
    for axis, values, colour in ((left, predicted, 4), (right, predicted - actual, 5)):
        axis.plot(actual, values, "o", ms=5, color=drawing.PALETTE[colour], alpha=0.6, mew=0)
        axis.set_xlabel("annotated")
        axis.grid(alpha=0.3)
    return _drawn(lambda path: write_figure(path, figure), ".png")


def data_uri(path: Path) -> str:
    """Return a picture as a data URI, at most `WIDTH` pixels wide."""
    with Image.open(path) as stored:
        picture = stored.convert("RGB")
    picture.thumbnail((WIDTH, 4 * WIDTH), Image.Resampling.LANCZOS)
    kind = picture_kind(path)
    if kind == "PNG":
        picture = picture.quantize(COLOURS)
    return picture_url(picture, kind, quality=QUALITY, optimize=True)


def _drawn(draw: Callable[[Path], object], suffix: str = ".jpg") -> str:
    """Return what `draw` writes to the path it is given, as a data URI."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{suffix}"
        draw(path)
        return data_uri(path)


def _attempt(make: Callable, *arguments) -> tuple[object, str | None]:
    """Return what `make` makes and None, or None and the sentence why it cannot be made here."""
    try:
        return make(*arguments), None
    except InputError as error:
        return None, str(error)


def _figure(value: float | None) -> str:
    """Write a figure as the tables do, with a minus that is one; what does not exist is a dash."""
    return "–" if value is None or value != value else f"{value:.2f}".replace("-", "−")
