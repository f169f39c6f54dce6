"""Counting whole photos in tiles, and the errors of the counts."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from crowd.errors import InputError
from crowd.files import atomic_path, write_text
from crowd.metrics import counting_errors
from crowd.progress import progress

STRIDE = 8


class PhotoCount(NamedTuple):
    """What is reported of one photo."""

    name: str
    actual: int
    predicted: float


def tile_edges(side: int, tile: int = 512) -> list[tuple[int, int]]:
    """Cut a side into ceil(side / tile) intervals of side // that number; the last takes the rest.

    Args:
        side: pixels.
        tile: largest interval, up to the rest that the last one takes, pixels.

    Returns:
        (start, end) of each interval; together they cover 0 … side once (released code).
    """
    number = max(math.ceil(side / tile), 1)
    step = side // number
    starts = [index * step for index in range(number)]
    return list(zip(starts, [*starts[1:], side], strict=True))


@torch.inference_mode()
def predict_density(model: nn.Module, image: Tensor, tile: int = 512) -> Tensor:
    """Predict the density map of a photo tile by tile; its sum is the count.

    Tiles are neither padded nor overlapped (released code). Where a tile does not begin on a
    multiple of 8 pixels, its cells are shared out among those of the photo's grid that they lie
    on; the sum stays the same.

    Args:
        model: in evaluation mode, [B, 3, h, w] -> [B, 1, h // 8, w // 8].
        image: normalised photo [3, H, W] on any device.
        tile: side above which a photo is cut, pixels.

    Returns:
        Density map on the CPU, float32 [ceil(H / 8), ceil(W / 8)].
    """
    device = next(model.parameters()).device
    image = image.to(device)[None]
    if device.type == "cuda":
        image = image.contiguous(memory_format=torch.channels_last)
    height, width = image.shape[2:]
    density = torch.zeros(math.ceil(height / STRIDE), math.ceil(width / STRIDE))
    for top, bottom in tile_edges(height, tile):
        for left, right in tile_edges(width, tile):
            cells = model(image[:, :, top:bottom, left:right])[0, 0].float().cpu()
            rows = _sharing(top, cells.shape[0], density.shape[0])
            columns = _sharing(left, cells.shape[1], density.shape[1])
            density += rows @ cells @ columns.T
    return density


def _sharing(start: int, cells: int, length: int) -> Tensor:
    """Which share of each of `cells` cells from pixel `start` on lies in each grid cell.

    Returns [length, cells] whose columns sum to 1.
    """
    first, rest = divmod(start, STRIDE)
    index = torch.arange(cells)
    shares = torch.zeros(length, cells)
    shares[first + index, index] = 1 - rest / STRIDE
    if rest:
        shares[first + index + 1, index] = rest / STRIDE
    return shares


def evaluate(
    model: nn.Module, photos: Iterable[tuple[Tensor, int, str]], tile: int = 512, what: str = "test"
) -> list[PhotoCount]:
    """Count every photo; the model is put into evaluation mode and back.

    Args:
        model: as for `predict_density`.
        photos: (normalised photo [3, H, W], actual count, name), as `gst.dataset.photo_loader`
            gives them.
        tile: as for `predict_density`.
        what: name of the progress bar.

    Raises:
        InputError: a count is not finite, naming the photo.
    """
    was_training = model.training
    model.eval()
    counts = []
    for image, actual, name in progress(photos, what, unit="photo"):
        predicted = predict_density(model, image, tile).sum(dtype=torch.float64).item()
        if not math.isfinite(predicted):
            raise InputError(f"the model counts {predicted} people in {name}: its weights are lost")
        counts.append(PhotoCount(name, int(actual), predicted))
    model.train(was_training)
    return counts


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
    write_text(folder / "metrics.json", json.dumps(_without_nan(metrics), indent=2) + "\n")


def _without_nan(metrics: dict) -> dict:
    return {
        name: _without_nan(value)
        if isinstance(value, dict)
        else (None if isinstance(value, float) and math.isnan(value) else value)
        for name, value in metrics.items()
    }
