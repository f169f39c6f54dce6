"""Cost between patch distributions: 1 − mean SSIM, in the official form or one window a patch."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch.nn import functional

from crowd.io.errors import InputError
from crowd.io.progress import progress
from mgot.arrays import C1, C2, PATCH_SIDE, blocks, check_patches, read_patches
from mgot.ssim_torch import global_cost, official_cost

VARIANTS = ("official", "global")
# Window statistics take 0.55 MB a patch: a block of source patches stays in memory (280 MB), a
# group of target patches, tile by tile, in a core's second-level cache.
SOURCE_BLOCK = 512
TARGET_GROUP = 8


def ssim_cost(
    target, source, variant: str = "official", device: str | torch.device | None = None
) -> np.ndarray:
    """Cost 1 − mean SSIM between every target and every source patch, exactly.

    SSIM = (2 μx μy + C1)(2 σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2)), C1 = 1e-4, C2 = 9e-4.
    `official` is the released code's: pooling with a 256-wide window runs along each row and
    divides by 256², so that SSIM is averaged over 224 rows × 225 window positions of partial sums.
    `global` is ordinary SSIM with the whole patch as the one window.

    Args:
        target: `[n, 224, 224]` (any shape with 50 176 values a patch), numpy, torch or an h5
            dataset, which is read in blocks.
        source: `[m, 224, 224]`, likewise; the same object as `target` halves the official work
            on a CPU.
        variant: "official" or "global".
        device: where to compute, "cpu" or a GPU such as "cuda:0"; None: where `target` is.

    Returns:
        float32 `[n, m]`, numpy; on a CPU by `torch.get_num_threads()` threads.

    Raises:
        InputError: a wrong shape or variant, or values that are not finite.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown SSIM variant '{variant}': choose {' or '.join(VARIANTS)}")
    check_patches(target, "target")
    check_patches(source, "source")
    device = torch.device(getattr(target, "device", "cpu") if device is None else device)
    if variant == "global":
        return global_cost(target, source, device)
    if device.type == "cpu":
        return _compiled_cost(target, source, symmetric=target is source)
    return official_cost(target, source, device)


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


def _compiled_cost(target, source, symmetric: bool) -> np.ndarray:
    # Imported here: numba takes a second, and the command lines that only count need none of it.
    from mgot.ssim_kernel import POSITIONS, distance_sums

    n, m = len(target), len(source)
    cost = np.zeros((n, m), np.float32)
    threads = torch.get_num_threads()
    with (
        ThreadPoolExecutor(threads) as pool,
        progress(total=n * m, what="SSIM", unit="pair") as bar,
    ):
        for first, last in blocks(m, SOURCE_BLOCK):
            statistics = _statistics(source, first, last, "source")

            def fill(rows, first=first, last=last, statistics=statistics):
                # A symmetric cost needs only the columns from this group's own patches on.
                start = max(first, rows[0]) if symmetric else first
                if start < last:
                    sums = np.empty((rows[1] - rows[0], last - start))
                    group = _statistics(target, *rows, "target")
                    distance_sums(group, statistics, sums, start - first)
                    cost[rows[0] : rows[1], start:last] = sums / (PATCH_SIDE * POSITIONS)
                return (rows[1] - rows[0]) * (last - first)

            for done in pool.map(fill, list(blocks(n, TARGET_GROUP))):
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
