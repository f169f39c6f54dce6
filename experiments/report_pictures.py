"""Pictures of a report, each drawn, shrunk and written into the page as a data URI."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from crowd.count.evaluation import PhotoCount
from crowd.data.images import read_image
from crowd.data.network_input import photo_tensor, read_photo
from crowd.data.processed import split_photos
from crowd.io.errors import InputError
from crowd.pictures import drawing as pictures
from crowd.pictures.small_files import write_figure
from experiments import figures
from experiments.report_runs import Result, Training, find_photos
from gst.counter import Counter, load_counter
from gst.evaluation import predict_density
from mgot.localization import PREDICTED, read_points_file
from mgot.pictures import draw_peaks

WIDTH = 900
QUALITY = 75
COLOURS = 64


def data_uri(path: Path) -> str:
    """Return a picture as a data URI, at most `WIDTH` pixels wide."""
    with Image.open(path) as stored:
        picture = stored.convert("RGB")
    picture.thumbnail((WIDTH, 4 * WIDTH), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    if path.suffix == ".png":
        picture.quantize(COLOURS).save(buffer, "PNG", optimize=True)
        kind = "png"
    else:
        picture.save(buffer, "JPEG", quality=QUALITY, optimize=True)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def drawn(draw: Callable[[Path], object], suffix: str = ".jpg") -> str:
    """Return what `draw` writes to the path it is given, as a data URI."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"picture{suffix}"
        draw(path)
        return data_uri(path)


def curves(training: Training) -> str:
    """Draw every figure that the log has of its epochs, the losses first."""
    names = dict.fromkeys(name for line in training.log for name in line)
    names = [name for name in names if name not in ("epoch", "lr") and "nae" not in name]
    return drawn(lambda path: pictures.draw_curve(path, training.log, names, "Training"), ".png")


def scatter(result: Result) -> str:
    """Draw predicted over annotated counts, beside the errors."""
    actual = np.array([count.actual for count in result.counts], np.float64)
    predicted = np.array([count.predicted for count in result.counts])
    figure = Figure((10, 4.2), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2)
    top = max(actual.max(), predicted.max(), 1.0) * 1.05
    left.plot([0, top], [0, top], "-", color="grey", lw=1)
    left.plot(actual, predicted, "o", ms=5, color=pictures.PALETTE[4], alpha=0.6, mew=0)
    left.set(xlabel="annotated", ylabel="predicted", xlim=(0, top), ylim=(0, top))
    right.axhline(0, color="grey", lw=1)
    errors = predicted - actual
    right.plot(actual, errors, "o", ms=5, color=pictures.PALETTE[5], alpha=0.6, mew=0)
    right.set(xlabel="annotated", ylabel="predicted − annotated")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    return drawn(lambda path: write_figure(path, figure), ".png")


def overlays(training: Training, result: Result, number: int) -> list[tuple[PhotoCount, str]]:
    """Draw what was predicted over the photos that were counted worst.

    GST's photos show the density map, MGOT's the heads found.
    Raises `InputError` when the photos, or what counted them, are not there.
    """
    paths, points = find_photos(training, result)
    index = {count.name: place for place, count in enumerate(result.counts)}
    worst = result.by_error()[:number]
    picks = [index[count.name] for count in worst]
    if training.method == "gst":
        counter = _counter(training, result, paths)
        drawings = [drawn(lambda to, i=i: figures.draw_count(to, paths[i], counter)) for i in picks]
    else:
        found = read_points_file(result.folder / "predicted_points.txt", PREDICTED)
        drawings = [
            drawn(lambda to, i=i: draw_peaks(to, read_image(paths[i]), found[i + 1], points[i]))
            for i in picks
        ]
    return list(zip(worst, drawings, strict=True))


def gaussians(training: Training) -> list[str]:
    """Draw the Gaussians of a training photo and its kernel; raise `InputError` without them."""
    photo = figures.busy_photo(split_photos(training.config["data_dir"], "train"))
    return [
        drawn(lambda path, draw=draw: draw(path, photo))
        for draw in (figures.draw_fit, figures.draw_kernel)
    ]


def _counter(training: Training, result: Result, paths: list[Path]) -> Counter:
    """Return the counter of the training that gives the recorded count of the first photo."""
    for name in ("best.pth", "last.pth"):
        if not (training.folder / name).is_file():
            continue
        counter = load_counter(training.folder / name, torch.device("cpu"))
        tensor = photo_tensor(read_photo(paths[0], counter.preprocessing), counter.preprocessing)
        count = predict_density(counter.model, tensor, counter.preprocessing.tile).sum().item()
        recorded = result.counts[0].predicted
        # A GPU or another processor rounds otherwise.
        if abs(count - recorded) <= 0.5 + 0.02 * recorded:
            return counter
    raise InputError(
        f"no checkpoint in {training.folder} repeats the counts of {result.folder}: test again to "
        "see its density maps"
    )
