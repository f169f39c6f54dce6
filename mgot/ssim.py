"""Cost between patch distributions: 1 − mean SSIM, in the official form or one window a patch.

SSIM = (2 μx μy + C1)(2 σxy + C2) / ((μx² + μy² + C1)(σx² + σy² + C2)), C1 = 1e-4, C2 = 9e-4.
`official` is the released code's: pooling with a 256-wide window runs along each row and divides by
256², so that SSIM is averaged over 224 rows × 225 window positions of partial sums. `global` is
ordinary SSIM with the whole patch as the one window.
"""

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
from mgot.maps import PATCH_SIDE, check_maps
from mgot.options import C1, C2, VARIANTS, WINDOW_AREA, SsimCost

# Patches of a block: 280 MB of window statistics of the official variant.
BLOCK = 512
# So many columns of a block are centred at a time, 1.6 MB in float64.
COLUMNS = 392
# Target patches whose window statistics stay, tile by tile, in a core's second-level cache.
TARGET_GROUP = 8
# Pairs at once of the official cost on a GPU, about 1.5 MB each.
PAIRS = 512


def ssim_cost(
    target,
    source,
    variant: str = SsimCost.variant,
    device: str | torch.device | None = SsimCost.device,
) -> np.ndarray:
    """Cost 1 − mean SSIM between every target and every source patch, exactly.

    Args:
        target: `[n, 224, 224]` (any shape with 50 176 values a patch), numpy, torch or an h5
            dataset, which is read in blocks.
        source: `[m, 224, 224]`, likewise.
        variant: "official" or "global".
        device: where to compute, "cpu" or a GPU such as "cuda:0"; None: where the target is.

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
    device = torch.device(getattr(target, "device", "cpu") if device is None else device)
    if variant == "global":
        flat = functools.partial(torch.flatten, start_dim=1)
        return _by_blocks(target, source, device, flat, _global_distances)
    if device.type == "cpu":
        return _compiled_cost(target, source)
    return _by_blocks(target, source, device, _windows, _official_distances)


def ssim_cost_reference(target, source, variant: str = SsimCost.variant) -> np.ndarray:
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
    names = [f"patch {first + index} of {name}" for index in range(len(block))]
    check_maps(block, names, "the features hold")
    return torch.from_numpy(block)


def _blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut 0 … count − 1 into ranges (first, last + 1) of at most `size`."""
    return ((first, min(first + size, count)) for first in range(0, count, size))


def _compiled_cost(target, source) -> np.ndarray:
    """The official cost on a CPU (`mgot.ssim_kernel`)."""
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


def _by_blocks(target, source, device, prepare: Callable, distances: Callable) -> np.ndarray:
    """Cost by matrix products, on any device: `distances` of two prepared blocks at a time."""
    cost = np.zeros((len(target), len(source)), np.float32)
    with progress(total=cost.size, what="SSIM", unit="pair") as bar:
        for first, last in _blocks(len(source), BLOCK):
            y = prepare(read_patches(source, first, last, "source").to(device))
            for top, bottom in _blocks(len(target), BLOCK):
                x = prepare(read_patches(target, top, bottom, "target").to(device))
                cost[top:bottom, first:last] = distances(x, y).cpu().numpy()
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


def _windows(patches: Tensor) -> tuple[Tensor, ...]:
    """Patches / 256, and `[b, 224, 193]` each: means / √C1, variances + C2 / 2 of their windows."""
    window = _layout(patches.device)[0].double()
    exact = patches.double()
    means = exact @ window / WINDOW_AREA
    variances = exact.square() @ window / WINDOW_AREA - means.square()
    return patches / WINDOW_AREA**0.5, (means / C1**0.5).float(), (variances + C2 / 2).float()


def _official_distances(x: tuple[Tensor, ...], y: tuple[Tensor, ...]) -> Tensor:
    """Mean of 1 − SSIM over all rows and positions, float64 `[n, m]`, `PAIRS` pairs at a time.

    The formula is that of `mgot.ssim_kernel`, the variances without its scale. The sums of squared
    differences of all windows are one product with a matrix of zeros and ones.
    """
    window, weight = _layout(x[0].device)
    (y_values, y_means, y_variances), parts = y, []
    for part in zip(*(array.split(max(PAIRS // len(y[0]), 1)) for array in x), strict=True):
        values, means, variances = (array[:, None] for array in part)
        sums = (values - y_values).square_() @ window
        luminance = (means * y_means).mul_(2).add_(1)
        apart = (means - y_means).square_()
        variances = variances + y_variances
        numerator = sums.sub_(apart, alpha=C1).mul_(luminance).addcmul_(apart, variances)
        distance = numerator.div_(luminance.add_(apart).mul_(variances))
        parts.append((distance @ weight).double().sum(-1) / (PATCH_SIDE * weight.sum()))
    return torch.cat(parts)


@functools.cache
def _layout(device: torch.device) -> tuple[Tensor, Tensor]:
    """Which column `[224, 193]` belongs to which window, and how often each window occurs `[193]`.

    Windows 0 … 96 begin at column 0 and end at column 127 … 223, the last counted 33 times;
    windows 97 … 192 end at column 223 and begin at 1 … 96.
    """
    columns = torch.arange(PATCH_SIDE)[:, None]
    window = torch.cat([columns <= torch.arange(127, 224), columns >= torch.arange(1, 97)], 1)
    weight = torch.ones(window.shape[1])
    weight[96] = 33.0
    return window.float().to(device), weight.to(device)
