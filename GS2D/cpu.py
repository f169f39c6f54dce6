"""The CPU rasteriser: compiled kernels behind an autograd function.

On the row at distance dy from its centre a Gaussian is

    sigma(x) = dy^2 P / 2 + A (x - xc)^2 / 2,   xc = mean_x + K dy,
    P = 1 / S_yy,  K = S_xy / S_yy,  A = S_yy / det S,   S = R diag(s^2) R^T,

a sum of positive terms (nothing cancels for thin Gaussians), and the columns where alpha >= 1/255
have a closed form. That is its row form, which `GS2D.kernels` draws.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch

from crowd.io.compiled import njit
from GS2D import kernels
from GS2D.reference import MIN_ALPHA

_ONE = np.float32(1.0)
_pool = functools.cache(ThreadPoolExecutor)  # by the number of workers
_MARGIN = 1e-4  # sigma is searched this much further than alpha >= 1/255 needs


def _share_out(kernel, *arguments) -> None:
    """Run `kernel(worker, workers, *arguments)` in threads; the kernels release the interpreter.

    As many as torch uses, within what NUMBA_NUM_THREADS allows.
    """
    workers = min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS)
    others = [_pool(workers).submit(kernel, n, workers, *arguments) for n in range(1, workers)]
    kernel(0, workers, *arguments)
    for other in others:
        other.result()


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

    The Gaussians are as in `GS2D.rasterize`; `target` is `cut_into_tiles` of the three colour
    planes, float32 in [0, 1] or uint8 in 0..255, of an image of `size` (height, width).

    Returns L minus that of a black render, and the gradient float64 [N, 9] = dL/d(mean x, mean y,
    scale 0, scale 1, rotation, opacity, colour).
    """
    unit = np.float32(1.0 / 255.0 if target.dtype == np.uint8 else 1.0)
    form, tiles = _lay_out(means, scales, rotations, opacities, *size)
    partial, loss = _gradients(tiles, form, colors, size, target, unit, weight)
    return weight * loss.sum(), sum_tiles(tiles[1], partial, scales, rotations, opacities)


def _gradients(tiles, form, colors, size, given, unit=_ONE, weight=_ONE):
    """`kernels.gradients` on all tiles: gradients [members, 9], and the change of the loss."""
    partial, loss = np.empty((tiles[1].size, 9), np.float32), np.zeros(tiles[0].size - 1)
    _share_out(kernels.gradients, tiles, form, colors, size, given, unit, weight, partial, loss)
    return partial, loss


def _lay_out(means, scales, rotations, opacities, height, width):
    """Row forms, and the lists of the kernels' tiles."""
    form, box = row_forms(means, scales, rotations, opacities, width, height)
    size = kernels.TILE_WIDTH, kernels.TILE_HEIGHT
    return form, tile_lists(box, width, height, *size)


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
        gradient = sum_tiles(ctx.tiles[1], partial, scales, rotations, opacities)
        gradient = torch.from_numpy(gradient.astype(np.float32))
        means, scales, rotations, opacities, colors = gradient.split([2, 2, 1, 1, 3], dim=1)
        return means, scales, rotations[:, 0], colors, opacities[:, 0], None, None


@njit(cache=True)
def row_forms(means, scales, rotations, opacities, width, height):
    """Row form [N, 7] = mean x, mean y, A, K, P, log opacity, limit of sigma; and pixel box [N, 4].

    The box is x0, x1, y0, y1, ends exclusive.
    A Gaussian that reaches no pixel, or is not finite, gets an empty box.
    """
    number = means.shape[0]
    form = np.zeros((number, 7), np.float32)
    box = np.zeros((number, 4), np.int64)
    for i in range(number):
        s0, s1 = np.float64(scales[i, 0]), np.float64(scales[i, 1])
        sine, cosine = np.sin(np.float64(rotations[i])), np.cos(np.float64(rotations[i]))
        xx = s0 * s0 * cosine * cosine + s1 * s1 * sine * sine
        yy = s0 * s0 * sine * sine + s1 * s1 * cosine * cosine
        x, y, opacity = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(opacities[i])
        finite = np.isfinite(x) and np.isfinite(y) and np.isfinite(xx) and np.isfinite(yy)
        if not (finite and s0 * s1 != 0.0 and opacity >= MIN_ALPHA):
            continue
        limit = np.log(opacity / MIN_ALPHA) + _MARGIN
        form[i, 0], form[i, 1] = x, y
        form[i, 2] = yy / (s0 * s0 * s1 * s1)
        form[i, 3] = (s0 * s0 - s1 * s1) * sine * cosine / yy
        form[i, 4], form[i, 5], form[i, 6] = 1.0 / yy, np.log(opacity), limit
        reach_x, reach_y = np.sqrt(2.0 * limit * xx), np.sqrt(2.0 * limit * yy)
        box[i, 0] = int(min(max(np.floor(x - reach_x - 0.5), 0.0), width))
        box[i, 1] = int(min(max(np.ceil(x + reach_x + 0.5), 0.0), width))
        box[i, 2] = int(min(max(np.floor(y - reach_y - 0.5), 0.0), height))
        box[i, 3] = int(min(max(np.ceil(y + reach_y + 0.5), 0.0), height))
    return form, box


@njit(cache=True)
def tile_lists(box, width, height, tile_width, tile_height):
    """Gaussians of every tile in annotation order: first [tiles + 1], members, most, room.

    `members[first[t] : first[t + 1]]` are the indices of tile t, tiles counted row by row. `most`
    is the largest number of Gaussians in one tile, `room` the largest number of pixels that the row
    slices of one tile can have together.
    """
    across = (width + tile_width - 1) // tile_width
    down = (height + tile_height - 1) // tile_height
    first = np.zeros(across * down + 1, np.int64)
    pixels = np.zeros(across * down, np.int64)
    for i in range(box.shape[0]):
        x0, x1, y0, y1 = box[i]
        if x0 < x1 and y0 < y1:
            length = min(x1 - x0 + 16, tile_width)
            for v in range(y0 // tile_height, (y1 - 1) // tile_height + 1):
                rows = min(y1, (v + 1) * tile_height) - max(y0, v * tile_height)
                for u in range(x0 // tile_width, (x1 - 1) // tile_width + 1):
                    first[v * across + u + 1] += 1
                    pixels[v * across + u] += rows * length
    most, room = 0, 0
    for tile in range(across * down):
        most, room = max(most, first[tile + 1]), max(room, pixels[tile])
        first[tile + 1] += first[tile]
    members, place = np.empty(first[-1], np.int64), first.copy()
    for i in range(box.shape[0]):
        x0, x1, y0, y1 = box[i]
        if x0 < x1 and y0 < y1:
            for v in range(y0 // tile_height, (y1 - 1) // tile_height + 1):
                for u in range(x0 // tile_width, (x1 - 1) // tile_width + 1):
                    members[place[v * across + u]] = i
                    place[v * across + u] += 1
    return first, members, most, room


@njit(cache=True)
def sum_tiles(members, partial, scales, rotations, opacities):
    """Sum the tiles' gradients [len(members), 9] in tile order; lead them back to the parameters.

    From the sums over s = dL/dsigma of s, s dx, s dy, s dx^2, s dx dy, s dy^2, and dL/dcolour, to
    float64 [N, 9] = dL/d(mean x, mean y, scale 0, scale 1, rotation, opacity, colour).
    """
    gradient = np.zeros((opacities.size, 9), np.float64)
    drawn = np.zeros(opacities.size, np.bool_)
    for entry in range(members.size):
        drawn[members[entry]] = True
        for column in range(9):
            gradient[members[entry], column] += partial[entry, column]
    for i in range(opacities.size):
        if drawn[i]:
            _to_parameters(gradient[i], scales[i], rotations[i], opacities[i])
    return gradient


@njit(cache=True)
def _to_parameters(row, scales, rotation, opacity):
    """The chain rule in place, with d' = R^T d, sigma = d'_0^2 / (2 s0^2) + d'_1^2 / (2 s1^2)."""
    s0, s1 = np.float64(scales[0]), np.float64(scales[1])
    sine, cosine = np.sin(np.float64(rotation)), np.cos(np.float64(rotation))
    total, x, y, xx, xy, yy = row[0], row[1], row[2], row[3], row[4], row[5]
    along, across = cosine * x + sine * y, cosine * y - sine * x
    mixed = (cosine * cosine - sine * sine) * xy + cosine * sine * (yy - xx)
    row[0] = -(cosine * along / s0**2 - sine * across / s1**2)
    row[1] = -(sine * along / s0**2 + cosine * across / s1**2)
    row[2] = -(cosine * cosine * xx + 2.0 * cosine * sine * xy + sine * sine * yy) / s0**3
    row[3] = -(sine * sine * xx - 2.0 * cosine * sine * xy + cosine * cosine * yy) / s1**3
    # dd'_0 / dtheta = d'_1, dd'_1 / dtheta = -d'_0.
    row[4] = mixed * (1.0 / s0**2 - 1.0 / s1**2)
    row[5] = -total / np.float64(opacity)
