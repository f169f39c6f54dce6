"""Counting whole photos in tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from crowd.count.evaluation import PhotoCount, for_each_photo
from crowd.io.errors import InputError

STRIDE = 8


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
    apart = torch.arange(length)[:, None] - torch.arange(cells) - start / STRIDE
    return (1 - apart.abs()).clamp(min=0)


def count_density(density: Tensor, name: str) -> float:
    """Sum a density map; raise `InputError` naming the photo when the count is not finite."""
    count = density.sum(dtype=torch.float64).item()
    if not math.isfinite(count):
        raise InputError(f"the model counts {count} people in {name}: its weights are lost")
    return count


def evaluate(
    model: nn.Module,
    photos: Iterable[tuple[Tensor, int, str]],
    tile: int = 512,
    what: str = "test",
    see: Callable[[str, Tensor], None] | None = None,
) -> list[PhotoCount]:
    """Count every photo; the model is put into evaluation mode and back.

    Args:
        model: as for `predict_density`.
        photos: (normalised photo [3, H, W], actual count, name), as
            `crowd.train.loading.photo_loader` gives them.
        tile: as for `predict_density`.
        what: name of the progress bar.
        see: called with each photo's name and density map.

    Raises:
        InputError: a count is not finite, naming the photo.
    """

    def count(image: Tensor, actual: int, name: str) -> PhotoCount:
        density = predict_density(model, image, tile)
        counted = PhotoCount(name, int(actual), count_density(density, name))
        if see is not None:
            see(name, density)
        return counted

    return for_each_photo(model, photos, count, what)
