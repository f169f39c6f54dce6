"""Cost between patch distributions: 1 − mean SSIM, in the official form or one window a patch."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional

from crowd.errors import InputError
from crowd.progress import progress
from mgot.arrays import C1, C2, PATCH_SIDE, check_patches, read_patches

VARIANTS = ("official", "global")
# Window statistics take 0.55 MB a patch: a block of source patches stays in memory (280 MB), a
# group of target patches, tile by tile, in a core's second-level cache.
SOURCE_BLOCK = 512
TARGET_GROUP = 8
GLOBAL_BLOCK = 512


def ssim_cost(target, source, variant: str = "official") -> np.ndarray:
    """Cost 1 − mean SSIM between every target and every source patch, exactly.

    SSIM = (2 μx μy + C1)(2 σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2)), C1 = 1e-4, C2 = 9e-4.
    `official` is the released code's: pooling with a 256-wide window runs along each row and
    divides by 256², so that SSIM is averaged over 224 rows × 225 window positions of partial sums.
    `global` is ordinary SSIM with the whole patch as the one window.

    Args:
        target: `[n, 224, 224]` (any shape with 50 176 values a patch), numpy, torch or an h5
            dataset, which is read in blocks.
        source: `[m, 224, 224]`, likewise; the same object as `target` halves the official work.
        variant: "official" or "global".

    Returns:
        float32 `[n, m]`, on `torch.get_num_threads()` threads.

    Raises:
        InputError: a wrong shape or variant, or values that are not finite.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown SSIM variant '{variant}': choose {' or '.join(VARIANTS)}")
    check_patches(target, "target")
    check_patches(source, "source")
    if variant == "global":
        return _global_cost(target, source)
    return _official_cost(target, source, symmetric=target is source)


def ssim_cost_reference(target, source, variant: str = "official") -> np.ndarray:
    """The slow twin of `ssim_cost`: the formula as written, pair by pair, in float64.

    The official variant is the released pooling of a `[224, 224, 1]` tensor.
    """
    cost = np.zeros((len(target), len(source)), np.float32)
    x, y = (
        torch.from_numpy(read_patches(patches, 0, len(patches), name)).double()
        for patches, name in ((target, "target"), (source, "source"))
    )
    for i in range(len(x)):
        for j in range(len(y)):
            cost[i, j] = 1.0 - _ssim(x[i], y[j], _POOLS[variant]).mean().item()
    return cost


def _pool_official(values: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(values[:, :, None], 256, stride=1, padding=128)


_POOLS = {"official": _pool_official, "global": torch.mean}


def _ssim(x: torch.Tensor, y: torch.Tensor, pool) -> torch.Tensor:
    mean_x, mean_y = pool(x), pool(y)
    variance_x, variance_y = pool(x * x) - mean_x**2, pool(y * y) - mean_y**2
    covariance = pool(x * y) - mean_x * mean_y
    return ((2 * mean_x * mean_y + C1) * (2 * covariance + C2)) / (
        (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    )


def _official_cost(target, source, symmetric: bool) -> np.ndarray:
    # Imported here: numba takes a second, and the command lines that only count need none of it.
    from mgot.ssim_kernel import POSITIONS, distance_sums

    n, m = len(target), len(source)
    cost = np.zeros((n, m), np.float32)
    threads = torch.get_num_threads()
    with (
        ThreadPoolExecutor(threads) as pool,
        progress(total=n * m, what="SSIM", unit="pair") as bar,
    ):
        for first, last in _blocks(m, SOURCE_BLOCK):
            statistics = _statistics(source, first, last, "source")

            def fill(rows, first=first, last=last, statistics=statistics):
                # A symmetric cost needs only the columns from this group's own patches on.
                start = max(first, rows[0]) if symmetric else first
                if start < last:
                    sums = np.empty((rows[1] - rows[0], last - start))
                    group = _statistics(target, *rows, "target")
                    distance_sums(group, statistics[:, start - first :], sums)
                    cost[rows[0] : rows[1], start:last] = sums / (PATCH_SIDE * POSITIONS)
                return (rows[1] - rows[0]) * (last - first)

            for done in pool.map(fill, list(_blocks(n, TARGET_GROUP))):
                bar.update(done)
    if symmetric:
        lower = np.tril_indices(n, -1)
        cost[lower] = cost.T[lower]
    return cost


def _statistics(patches, first: int, last: int, name: str) -> np.ndarray:
    from mgot.ssim_kernel import TILE_SIZE, TILES, window_statistics

    out = np.empty((TILES, last - first, TILE_SIZE), np.float32)
    window_statistics(read_patches(patches, first, last, name), out)
    return out


def _global_cost(target, source) -> np.ndarray:
    """Ordinary SSIM over whole patches; covariances are products of centred patches."""
    cost = np.zeros((len(target), len(source)), np.float32)
    with progress(total=cost.size, what="SSIM", unit="pair") as bar:
        for first, last in _blocks(len(source), GLOBAL_BLOCK):
            y, mean_y, variance_y = _moments(source, first, last, "source")
            for top, bottom in _blocks(len(target), GLOBAL_BLOCK):
                x, mean_x, variance_x = _moments(target, top, bottom, "target")
                means = mean_x[:, None] * mean_y
                squares = mean_x[:, None] ** 2 + mean_y**2
                covariance = x @ y.T / PATCH_SIDE**2
                ssim = ((2 * means + C1) * (2 * covariance + C2)) / (
                    (squares + C1) * (variance_x[:, None] + variance_y + C2)
                )
                cost[top:bottom, first:last] = 1.0 - ssim
                bar.update(ssim.size)
    return cost


def _moments(patches, first: int, last: int, name: str):
    """Centred patches `[b, 50176]`, means and variances `[b]`, in float64."""
    flat = read_patches(patches, first, last, name).reshape(last - first, -1).astype(np.float64)
    mean = flat.mean(axis=1)
    flat -= mean[:, None]
    return flat, mean, np.square(flat).mean(axis=1)


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    return ((first, min(first + size, count)) for first in range(0, count, size))
