"""Cost between patch distributions: 1 − mean SSIM, in the official form or one window a patch.

SSIM = (2 μx μy + C1)(2 σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2)), C1 = 1e-4, C2 = 9e-4.
`official` is the released code's: pooling with a 256-wide window runs along each row and divides by
256², so that SSIM is averaged over 224 rows × 225 window positions of partial sums. `global` is
ordinary SSIM with the whole patch as the one window.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from crowd.io.arrays import to_numpy
from crowd.io.errors import InputError
from crowd.io.progress import progress
from mgot.maps import LARGEST_VALUE, PATCH_SIDE, within_range

VARIANTS = ("official", "global")
WINDOW_AREA = 256.0 * 256.0
# (0.01 L)² and (0.03 L)² of SSIM, with L = 1 the height of a FIDT peak.
C1, C2 = 1e-4, 9e-4
# Patches of a block: 280 MB of window statistics of the official variant.
BLOCK = 512
# So many columns of a block are centred at a time, 1.6 MB in float64.
COLUMNS = 392
# Target patches whose window statistics stay, tile by tile, in a core's second-level cache.
TARGET_GROUP = 8


def ssim_cost(
    target, source, variant: str = VARIANTS[0], device: str | torch.device | None = None
) -> np.ndarray:
    """Cost 1 − mean SSIM between every target and every source patch, exactly.

    Args:
        target: `[n, 224, 224]` (any shape with 50 176 values a patch), numpy, torch or an h5
            dataset, which is read in blocks.
        source: `[m, 224, 224]`, likewise.
        variant: "official" or "global".
        device: where the global variant is computed, "cpu" or a GPU such as "cuda:0"; None: where
            the target is. The official one is compiled for the CPU.

    Returns:
        float32 `[n, m]`, numpy; on a CPU by `torch.get_num_threads()` threads.

    Raises:
        InputError: a wrong shape or variant, or values that are not finite.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown SSIM variant '{variant}': choose {' or '.join(VARIANTS)}")
    for side, name in ((target, "target"), (source, "source")):
        shape = np.shape(side)
        if not shape or int(np.prod(shape[1:])) != PATCH_SIDE**2:
            raise InputError(
                f"{name} has shape {list(shape)}, not [n, {PATCH_SIDE}, {PATCH_SIDE}]: pass patch "
                "distributions as the model puts them out"
            )
    if variant == "official":
        return _official_cost(target, source)
    device = getattr(target, "device", "cpu") if device is None else device
    return _global_cost(target, source, torch.device(device))


def ssim_cost_reference(target, source, variant: str = VARIANTS[0]) -> np.ndarray:
    """The slow twin of `ssim_cost`: the formula as written, pair by pair, in float64.

    The official variant is the released pooling of a `[224, 224, 1]` tensor.
    """
    pool = torch.mean
    if variant == "official":
        pool = functools.partial(functional.avg_pool2d, kernel_size=256, stride=1, padding=128)
    sides = ((target, "target"), (source, "source"))
    x, y = (read_patches(side, 0, len(side), name).double()[..., None] for side, name in sides)
    cost = [[1.0 - _ssim(a, b, pool).mean().item() for b in y] for a in x]
    return np.array(cost, np.float32).reshape(len(x), len(y))


def _ssim(x: Tensor, y: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    mean_x, mean_y = pool(x), pool(y)
    variance_x, variance_y = pool(x * x) - mean_x**2, pool(y * y) - mean_y**2
    covariance = pool(x * y) - mean_x * mean_y
    return ((2 * mean_x * mean_y + C1) * (2 * covariance + C2)) / (
        (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    )


def read_patches(patches, first: int, last: int, name: str) -> Tensor:
    """Read patches `first … last − 1`, of an h5 dataset those alone: float32 `[b, 224, 224]`.

    Raises `InputError` for values that are not finite or far outside a FIDT map's range [0, 1],
    where SSIM with its constants means nothing.
    """
    block = to_numpy(patches[first:last]).astype(np.float32, copy=False)
    block = np.ascontiguousarray(block.reshape(-1, PATCH_SIDE, PATCH_SIDE))
    within = within_range(block.reshape(-1, PATCH_SIDE**2))
    if not within.all():
        raise InputError(
            f"patch {first + int(np.argmin(within))} of {name} holds NaN or values beyond "
            f"±{LARGEST_VALUE:.0f}: extract the features again with a model that has not diverged"
        )
    return torch.from_numpy(block)


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut 0 … count − 1 into ranges (first, last + 1) of at most `size`."""
    return ((first, min(first + size, count)) for first in range(0, count, size))


def _official_cost(target, source) -> np.ndarray:
    """The official cost, by the kernel of `mgot.ssim_kernel`."""
    # Imported here: numba takes a second, and the command lines that only count need none of it.
    from mgot.ssim_kernel import POSITIONS, distance_sums

    cost = np.zeros((len(target), len(source)), np.float32)
    with (
        ThreadPoolExecutor(torch.get_num_threads()) as pool,
        progress(total=cost.size, what="SSIM", unit="pair") as bar,
    ):
        for first, last in _blocks(len(source), BLOCK):
            statistics = _statistics(source, first, last, "source")

            def fill(rows, first=first, last=last, statistics=statistics):
                sums = np.empty((rows[1] - rows[0], last - first))
                distance_sums(_statistics(target, *rows, "target"), statistics, sums)
                cost[slice(*rows), first:last] = sums / (PATCH_SIDE * POSITIONS)
                return sums.size

            for done in pool.map(fill, _blocks(len(target), TARGET_GROUP)):
                bar.update(done)
    return cost


def _statistics(patches, first: int, last: int, name: str) -> np.ndarray:
    from mgot.ssim_kernel import TILE_SIZE, TILES, window_statistics

    out = np.empty((TILES, last - first, TILE_SIZE), np.float32)
    window_statistics(read_patches(patches, first, last, name).numpy(), out)
    return out


def _global_cost(target, source, device: torch.device) -> np.ndarray:
    """The global cost by matrix products, a block of either side at a time."""
    cost = np.zeros((len(target), len(source)), np.float32)
    with progress(total=cost.size, what="SSIM", unit="pair") as bar:
        for first, last in _blocks(len(source), BLOCK):
            y = read_patches(source, first, last, "source").to(device).flatten(1)
            for top, bottom in _blocks(len(target), BLOCK):
                x = read_patches(target, top, bottom, "target").to(device).flatten(1)
                cost[top:bottom, first:last] = _global_distances(x, y).cpu().numpy()
                bar.update((bottom - top) * (last - first))
    return cost


def _global_distances(x: Tensor, y: Tensor) -> Tensor:
    """1 − SSIM of all pairs of `[n, 50176]` and `[m, 50176]`, float64 `[n, m]`.

    Covariances are products that cancel between patches that are alike: with one window a patch
    they are affordable in float64, of centred patches and so many columns at a time.
    """
    mean_x, mean_y = _means(x), _means(y)
    products = mean_x.new_zeros(len(x), len(y))
    square_x, square_y = torch.zeros_like(mean_x), torch.zeros_like(mean_y)
    for a, b in zip(_centred(x, mean_x), _centred(y, mean_y), strict=True):
        products.addmm_(a, b.T)
        square_x += torch.linalg.vector_norm(a, dim=1, keepdim=True).square_()
        square_y += torch.linalg.vector_norm(b, dim=1, keepdim=True).square_()
    variances, covariances = (square_x + square_y.T) / PATCH_SIDE**2, products / PATCH_SIDE**2
    luminance = (2 * mean_x * mean_y.T + C1) / (mean_x.square() + mean_y.T.square() + C1)
    return 1.0 - luminance * (2 * covariances + C2) / (variances + C2)


def _means(flat: Tensor) -> Tensor:
    """Means of patches `[b, 50176]`, float64 `[b, 1]`."""
    parts = flat.split(COLUMNS, 1)
    return sum(part.sum(1, keepdim=True, dtype=torch.float64) for part in parts) / flat.shape[1]


def _centred(flat: Tensor, means: Tensor) -> Iterator[Tensor]:
    """Columns of patches without their patches' means, float64 `[b, COLUMNS]`, one after the other.

    One buffer holds them all: fresh memory would take longer than the arithmetic.
    """
    buffer = means.new_empty(len(flat), COLUMNS)
    for part in flat.split(COLUMNS, 1):
        yield torch.sub(part, means, out=buffer)
