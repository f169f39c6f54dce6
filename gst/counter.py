"""Counting with a trained counter of GST: from its checkpoint alone, whole photos in tiles."""

import functools
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from crowd.count import counter
from crowd.count.counter import Counter, Method
from crowd.count.evaluation import PhotoCount, for_each_photo
from crowd.count.photos import Annotate, Seen
from crowd.data.network_input import photo_tensor
from crowd.io.errors import InputError
from crowd.io.progress import note
from crowd.pictures.overlays import density_overlay
from crowd.train.devices import to_device
from gst.localize import density_heads
from gst.models import BOXED, MODELS, build_model
from gst.options import STRIDE
from gst.photos import Preprocessing

__all__ = ["BOXED", "Counter", "annotator", "density_of", "evaluate", "load_counter"]

GST = Method(build_model, MODELS, Preprocessing, "train_gs.py")
load_counter = functools.partial(counter.load_counter, method=GST)


def density_of(counter: Counter, image: np.ndarray, name: str) -> tuple[float, np.ndarray]:
    """Count a photo, uint8 [H, W, 3]: the count, and the density map float32 [h, w].

    Raises `InputError` naming the photo when the count is not finite.
    """
    tensor = photo_tensor(image, counter.preprocessing)
    density = predict_density(counter.model, tensor, counter.preprocessing.tile)
    return _count(density, name), density.numpy()


def annotator(counter: Counter) -> Annotate:
    """Return what counts a photo, and lays its density map and the heads in it over it."""

    def look(image: np.ndarray, name: str) -> Seen:
        count, density = density_of(counter, image, name)
        heads, confidence = density_heads(density, STRIDE)
        picture = density_overlay(image, density, STRIDE, heads)
        return Seen(count, picture, heads, confidence, density)

    return look


def evaluate(
    model: nn.Module,
    photos: Iterable[tuple[Tensor, int, str]],
    tile: int = 512,
    what: str = "test",
    see: Callable[[str, Tensor], None] | None = None,
) -> list[PhotoCount]:
    """Count every photo; the model is put into evaluation mode and back.

    `photos` are (normalised photo [3, H, W], actual count, name), of
    `crowd.train.loading.photo_loader`; `what` names the progress bar; `see` is called with each
    name and density map. Raises `InputError` naming the photo whose count is not finite.
    """

    def count(image: Tensor, actual: int, name: str) -> PhotoCount:
        density = predict_density(model, image, tile)
        counted = PhotoCount(name, int(actual), _count(density, name))
        if see is not None:
            see(name, density)
        return counted

    return for_each_photo(model, photos, count, what)


def say_if_collapsed(counts: Sequence[PhotoCount]) -> None:
    """Note on stderr when the photos of a validation, together, are counted as nearly empty."""
    if sum(one.predicted for one in counts) < 0.01 * sum(one.actual for one in counts):
        note(
            "the counter sees nobody in the validation photos: its density has collapsed to 0, and "
            "a training seldom comes back from there; start again with --block-counts 4, a lower "
            "--lr, or --pretrained and a trained counter"
        )


@torch.inference_mode()
def predict_density(model: nn.Module, image: Tensor, tile: int = 512) -> Tensor:
    """Predict the density map of a photo tile by tile; its sum is the count.

    Of a normalised photo [3, H, W] on any device, by a model in evaluation mode,
    [B, 3, h, w] -> [B, 1, h // 8, w // 8]: float32 [ceil(H / 8), ceil(W / 8)] on the CPU. Tiles,
    into which sides above `tile` pixels are cut, are neither padded nor overlapped (released code).
    Where a tile does not begin on a multiple of 8 pixels, its cells are shared out among those of
    the photo's grid that they lie on; the sum stays the same.
    """
    image = to_device(image[None], next(model.parameters()).device)
    height, width = image.shape[2:]
    density = torch.zeros(math.ceil(height / STRIDE), math.ceil(width / STRIDE))
    for top, bottom in tile_edges(height, tile):
        for left, right in tile_edges(width, tile):
            cells = model(image[:, :, top:bottom, left:right])[0, 0].float().cpu()
            rows = _sharing(top, cells.shape[0], density.shape[0])
            columns = _sharing(left, cells.shape[1], density.shape[1])
            density += rows @ cells @ columns.T
    return density


def tile_edges(side: int, tile: int = 512) -> list[tuple[int, int]]:
    """Cut a side into ceil(side / tile) intervals of side // that number; the last takes the rest.

    Returns (start, end) of each; together they cover 0 … side once (released code).
    """
    number = max(math.ceil(side / tile), 1)
    starts = [index * (side // number) for index in range(number)]
    return list(zip(starts, [*starts[1:], side], strict=True))


def _sharing(start: int, cells: int, length: int) -> Tensor:
    """Share of each of `cells` cells from pixel `start` on in each grid cell, [length, cells]."""
    apart = torch.arange(length)[:, None] - torch.arange(cells) - start / STRIDE
    return (1 - apart.abs()).clamp(min=0)


def _count(density: Tensor, name: str) -> float:
    """Sum a density map; raise `InputError` naming the photo when the count is not finite."""
    count = density.sum(dtype=torch.float64).item()
    if not math.isfinite(count):
        raise InputError(f"the count of {name} is {count}: the checkpoint diverged or is corrupt")
    return count
