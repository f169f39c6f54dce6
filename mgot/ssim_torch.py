"""SSIM costs by matrix products: both variants on a GPU, the global one on the CPU as well.

The official windows of a row begin at column 0 (97 of them, the whole row counted 33 times) or end
at column 223 (96 more). Their sums are one product with a matrix of zeros and ones, which nothing
is ever subtracted from. Figures are scaled as in `mgot.ssim_kernel`, so that SSIM's constants
become 1 and 1 − SSIM is added up, not SSIM.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from crowd.progress import progress
from mgot.arrays import C1, C2, PATCH_SIDE, blocks, read_patches

# Patches of a block, 0.2 MB each in float32.
GLOBAL_BLOCK = 1024
# Sums over so many columns are rounded to float32, then added up in float64.
GLOBAL_COLUMNS = 1568
# Window statistics take 0.55 MB a patch, a pair in work about 1.5 MB.
OFFICIAL_BLOCK = 512
PAIRS = 512
WINDOW_AREA = 256.0 * 256.0


def global_cost(target, source, device: torch.device) -> np.ndarray:
    """Ordinary SSIM over whole patches; covariances are products of centred patches.

    Arguments as for `mgot.ssim_cost.ssim_cost`; float32 `[n, m]`, computed on `device`.
    """
    cost = np.zeros((len(target), len(source)), np.float32)
    with progress(total=cost.size, what="SSIM", unit="pair") as bar:
        for first, last in blocks(len(source), GLOBAL_BLOCK):
            y, mean_y, variance_y = _moments(source, first, last, "source", device)
            for top, bottom in blocks(len(target), GLOBAL_BLOCK):
                x, mean_x, variance_x = _moments(target, top, bottom, "target", device)
                means = mean_x[:, None] * mean_y
                squares = mean_x[:, None] ** 2 + mean_y**2
                covariance = _inner_products(x, y) / PATCH_SIDE**2
                ssim = ((2 * means + C1) * (2 * covariance + C2)) / (
                    (squares + C1) * (variance_x[:, None] + variance_y + C2)
                )
                cost[top:bottom, first:last] = (1.0 - ssim).cpu().numpy()
                bar.update(ssim.numel())
    return cost


def _moments(patches, first: int, last: int, name: str, device: torch.device):
    """Centred patches `[b, 50176]` in float32, means and variances `[b]` in float64."""
    flat = _read(patches, first, last, name, device).flatten(1)
    mean = flat.mean(1)
    centred = flat - mean[:, None]
    parts = centred.split(GLOBAL_COLUMNS, 1)
    variance = sum(part.square().sum(1).double() for part in parts) / PATCH_SIDE**2
    return centred, mean.double(), variance


def _inner_products(x: Tensor, y: Tensor) -> Tensor:
    total = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    for x_part, y_part in zip(x.split(GLOBAL_COLUMNS, 1), y.split(GLOBAL_COLUMNS, 1), strict=True):
        total += x_part @ y_part.T
    return total


class _Windows(NamedTuple):
    """Patches `[b, 224, 224]` scaled by √(2 / (65 536 · C2)), and `[b, 224, 193]` each: means
    / √C1, and variances / C2 + 1/2, of their windows."""

    values: Tensor
    means: Tensor
    variances: Tensor

    def part(self, first: int, last: int) -> _Windows:
        return _Windows(*(array[first:last] for array in self))


def official_cost(target, source, device: torch.device) -> np.ndarray:
    """The released code's SSIM, `PAIRS` pairs at a time.

    Arguments as for `mgot.ssim_cost.ssim_cost`; float32 `[n, m]`, computed on `device`.
    """
    cost = torch.zeros(len(target), len(source), device=device)
    with progress(total=cost.numel(), what="SSIM", unit="pair") as bar:
        for first, last in blocks(len(source), OFFICIAL_BLOCK):
            y = _windows(source, first, last, "source", device)
            group = max(PAIRS // (last - first), 1)
            for top, bottom in blocks(len(target), OFFICIAL_BLOCK):
                x = _windows(target, top, bottom, "target", device)
                for i, i_end in blocks(bottom - top, group):
                    distances = _distances(x.part(i, i_end), y)
                    cost[top + i : top + i_end, first:last] = distances
                    bar.update(distances.numel())
    return cost.cpu().numpy()


def _windows(patches, first: int, last: int, name: str, device: torch.device) -> _Windows:
    values = _read(patches, first, last, name, device)
    window, _ = _layout(device)
    exact, window = values.double(), window.double()
    means = exact @ window / WINDOW_AREA
    variances = exact.square() @ window / WINDOW_AREA - means.square()
    return _Windows(
        values * (2.0 / (WINDOW_AREA * C2)) ** 0.5,
        (means / C1**0.5).float(),
        (variances / C2 + 0.5).float(),
    )


def _distances(x: _Windows, y: _Windows) -> Tensor:
    """Mean of 1 − SSIM over all rows and positions, for every pair, float64 `[n, m]`."""
    window, weight = _layout(x.values.device)
    sums = (x.values[:, None] * y.values) @ window
    product = x.means[:, None] * y.means
    luminance = 2 * product + 1
    structure = sums.add_(product, alpha=-2 * C1 / C2).add_(1)
    denominator = (x.means[:, None] - y.means).square_().add_(luminance)
    denominator *= x.variances[:, None] + y.variances
    distance = torch.addcmul(denominator, luminance, structure, value=-1).div_(denominator)
    return (distance @ weight).double().sum(-1) / (PATCH_SIDE * weight.sum())


@functools.cache
def _layout(device: torch.device) -> tuple[Tensor, Tensor]:
    """Which column `[224, 193]` belongs to which window, and how often each window occurs `[193]`.

    Windows 0 … 96 end at column 127 … 223, windows 97 … 192 begin at 1 … 96.
    """
    columns = torch.arange(PATCH_SIDE)[:, None]
    growing = columns <= torch.arange(127, PATCH_SIDE)
    shrinking = columns >= torch.arange(1, 97)
    window = torch.cat([growing, shrinking], 1).float()
    weight = torch.ones(window.shape[1])
    weight[96] = 33.0
    return window.to(device), weight.to(device)


def _read(patches, first: int, last: int, name: str, device: torch.device) -> Tensor:
    return torch.from_numpy(read_patches(patches, first, last, name)).to(device)
