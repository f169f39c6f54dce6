"""SSIM costs by matrix products: both variants on a GPU, the global one on the CPU as well.

The official windows of a row begin at column 0 (97 of them, the whole row counted 33 times) or end
at column 223 (96 more). Their sums of squared differences are one product with a matrix of zeros
and ones. The formula is that of `mgot.ssim_kernel`, the variances without its scale.

The global covariances are products that cancel between patches that are alike: there is one window
a patch, so that they are affordable in float64.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from crowd.io.progress import progress
from mgot.arrays import C1, C2, PATCH_SIDE, blocks, read_patches

# Patches of a block, 0.2 MB each in float32.
GLOBAL_BLOCK = 1024
# So many columns of a block are centred at a time, 3 MB in float64.
GLOBAL_COLUMNS = 392
# Window statistics take 0.55 MB a patch, a pair in work about 1.5 MB.
OFFICIAL_BLOCK = 512
PAIRS = 512
WINDOW_AREA = 256.0 * 256.0


def global_cost(target, source, device: torch.device) -> np.ndarray:
    """Ordinary SSIM over whole patches, from centred patches in float64.

    Arguments as for `mgot.ssim_cost.ssim_cost`; float32 `[n, m]`, computed on `device`.
    """
    cost = np.zeros((len(target), len(source)), np.float32)
    with progress(total=cost.size, what="SSIM", unit="pair") as bar:
        for first, last in blocks(len(source), GLOBAL_BLOCK):
            y = _read(source, first, last, "source", device).flatten(1)
            for top, bottom in blocks(len(target), GLOBAL_BLOCK):
                x = _read(target, top, bottom, "target", device).flatten(1)
                ssim = _global_ssim(x, y)
                cost[top:bottom, first:last] = (1.0 - ssim).cpu().numpy()
                bar.update(ssim.numel())
    return cost


def _global_ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM of all pairs of `[n, 50176]` and `[m, 50176]`, float64 `[n, m]`."""
    products = torch.zeros(len(x), len(y), dtype=torch.float64, device=x.device)
    a, b = _Centred(x), _Centred(y)
    for x_part, y_part in zip(x.split(GLOBAL_COLUMNS, 1), y.split(GLOBAL_COLUMNS, 1), strict=True):
        products.addmm_(a.take(x_part), b.take(y_part).T)
    (mean_x, left_x, variance_x), (mean_y, left_y, variance_y) = a.moments(), b.moments()
    covariance = products.div_(PATCH_SIDE**2).addcmul_(left_x, left_y.T, value=-1)
    return ((2 * mean_x * mean_y.T + C1) * (2 * covariance + C2)) / (
        (mean_x.square() + mean_y.T.square() + C1) * (variance_x + variance_y.T + C2)
    )


class _Centred:
    """Patches about their middles, in float64 and so many columns at a time, and their moments.

    A middle is the mean of the first columns. With a share p of all columns it is at most
    √(variance / p) from the mean, so that taking off the rest afterwards costs float64 a few bits.
    """

    def __init__(self, flat: Tensor):
        self.shift = flat[:, :GLOBAL_COLUMNS].double().mean(1, keepdim=True)
        self.sums, self.squares = torch.zeros_like(self.shift), torch.zeros_like(self.shift)
        # One buffer for all parts: fresh memory would take longer than the arithmetic.
        self.buffer = self.shift.new_empty(len(flat), GLOBAL_COLUMNS)

    def take(self, part: Tensor) -> Tensor:
        """Centre the next columns, until the next call."""
        centred = self.buffer.copy_(part).sub_(self.shift)
        self.sums += centred.sum(1, keepdim=True)
        self.squares += torch.linalg.vector_norm(centred, dim=1, keepdim=True).square_()
        return centred

    def moments(self) -> tuple[Tensor, Tensor, Tensor]:
        """Means, what of them the centred patches still have, and variances, `[b, 1]` each."""
        left = self.sums / PATCH_SIDE**2
        return self.shift + left, left, self.squares / PATCH_SIDE**2 - left.square()


class _Windows(NamedTuple):
    """Patches `[b, 224, 224]` / 256, and `[b, 224, 193]` each: means / √C1, and variances + C2 / 2,
    of their windows."""

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
        values / WINDOW_AREA**0.5,
        (means / C1**0.5).float(),
        (variances + C2 / 2).float(),
    )


def _distances(x: _Windows, y: _Windows) -> Tensor:
    """Mean of 1 − SSIM over all rows and positions, for every pair, float64 `[n, m]`."""
    window, weight = _layout(x.values.device)
    sums = (x.values[:, None] - y.values).square_() @ window
    luminance = (x.means[:, None] * y.means).mul_(2).add_(1)
    apart = (x.means[:, None] - y.means).square_()
    variances = x.variances[:, None] + y.variances
    numerator = sums.sub_(apart, alpha=C1).mul_(luminance).addcmul_(apart, variances)
    distance = numerator.div_(luminance.add_(apart).mul_(variances))
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
