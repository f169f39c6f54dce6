"""The CPU rasteriser: compiled kernels behind an autograd function."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch

from GS2D import geometry, kernels

_ONE = np.float32(1.0)


def _share_out(kernel, *arguments) -> None:
    """Run `kernel(worker, workers, *arguments)` in threads; the kernels release the interpreter.

    As many as torch uses, within what NUMBA_NUM_THREADS allows.
    """
    workers = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    others = [_pool(workers).submit(kernel, n, workers, *arguments) for n in range(1, workers)]
    kernel(0, workers, *arguments)
    for other in others:
        other.result()


@functools.cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers)


def render(means, scales, rotations, colors, opacities, width: int, height: int):
    """See `GS2D.rasterize`; computed in float32 on the CPU, returned on the device of `means`."""
    tensors = (means, scales, rotations, colors, opacities)
    image, alpha = _Render.apply(*(tensor.float().cpu() for tensor in tensors), width, height)
    return image.to(means.device), alpha.to(means.device)


def cut_into_tiles(planes: np.ndarray) -> np.ndarray:
    """Lay out planes [C, H, W] tile by tile, padded with 0: [C, tiles * tile height, tile width].

    A tile's pixels become neighbours in memory, which the processor then fetches ahead.
    """
    rows, columns = kernels.TILE_HEIGHT, kernels.TILE_WIDTH
    count, height, width = planes.shape
    planes = np.pad(planes, ((0, 0), (0, -height % rows), (0, -width % columns)))
    tiles = planes.reshape(count, planes.shape[1] // rows, rows, -1, columns).swapaxes(2, 3)
    return np.ascontiguousarray(tiles).reshape(count, -1, columns)


def l1_gradients(means, scales, rotations, colors, opacities, target, size, weight):
    """Fused forward, loss and backward of L = weight * sum |render - target|, float32 arrays.

    Args:
        means: [N, 2]; this and the next four are as in `GS2D.rasterize`.
        scales: [N, 2].
        rotations: [N].
        colors: [N, 3].
        opacities: [N].
        target: `cut_into_tiles` of the three colour planes, float32 in [0, 1] or uint8 in 0..255.
        size: Height and width of the image.
        weight: float32.

    Returns:
        L minus that of a black render, and the gradient float64 [N, 9] = dL/d(mean x, mean y,
        scale 0, scale 1, rotation, opacity, colour).
    """
    unit = np.float32(1.0 / 255.0 if target.dtype == np.uint8 else 1.0)
    form, tiles = _lay_out(means, scales, rotations, opacities, *size)
    partial, loss = _gradients(tiles, form, colors, size, target, unit, weight)
    return weight * loss.sum(), geometry.sum_tiles(tiles[1], partial, scales, rotations, opacities)


def _gradients(tiles, form, colors, size, given, unit=_ONE, weight=_ONE):
    """`kernels.gradients` on all tiles: gradients [members, 9], and the change of the loss."""
    partial, loss = np.empty((tiles[1].size, 9), np.float32), np.zeros(tiles[0].size - 1)
    _share_out(kernels.gradients, tiles, form, colors, size, given, unit, weight, partial, loss)
    return partial, loss


def _lay_out(means, scales, rotations, opacities, height, width):
    """Row forms, and the lists of the kernels' tiles."""
    form, box = geometry.row_forms(means, scales, rotations, opacities, width, height)
    size = kernels.TILE_WIDTH, kernels.TILE_HEIGHT
    return form, geometry.tile_lists(box, width, height, *size)


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, scales, rotations, colors, opacities, width, height):
        arrays = [
            np.ascontiguousarray(tensor.detach().numpy())
            for tensor in (means, scales, rotations, colors, opacities)
        ]
        form, tiles = _lay_out(*arrays[:3], arrays[4], height, width)
        planes = np.zeros((4, height, width), np.float32)
        _share_out(kernels.render, tiles, form, arrays[3], planes)
        ctx.arrays, ctx.form, ctx.tiles, ctx.size = arrays, form, tiles, (height, width)
        return torch.from_numpy(planes[1:]).permute(1, 2, 0), torch.from_numpy(planes[0])

    @staticmethod
    def backward(ctx, v_image, v_alpha):
        _, scales, rotations, colors, opacities = ctx.arrays
        cotangent = torch.cat([-v_alpha[None], v_image.permute(2, 0, 1)]).numpy()
        partial, _ = _gradients(ctx.tiles, ctx.form, colors, ctx.size, cut_into_tiles(cotangent))
        gradient = geometry.sum_tiles(ctx.tiles[1], partial, scales, rotations, opacities)
        gradient = torch.from_numpy(gradient.astype(np.float32))
        means, scales, rotations, opacities, colors = gradient.split([2, 2, 1, 1, 3], dim=1)
        return means, scales, rotations[:, 0], colors, opacities[:, 0], None, None
