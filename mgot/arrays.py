"""Arrays from wherever they come, numpy, torch or h5, and the constants of their SSIM."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from crowd.io.errors import InputError

PATCH_SIDE = 224
LARGEST_VALUE = 100.0
# (0.01 L)² and (0.03 L)² of SSIM, with L = 1 the height of a FIDT peak.
C1, C2 = 1e-4, 9e-4


def to_numpy(array) -> np.ndarray:
    """Return a numpy view (or copy) of a numpy, torch or h5 array, or of nested lists."""
    if isinstance(array, torch.Tensor):
        return array.detach().cpu().numpy()
    return np.asarray(array)


def check_patches(patches, name: str) -> None:
    """Raise `InputError` unless `patches` is `[n, ...]` with 224×224 values a patch."""
    shape = tuple(getattr(patches, "shape", np.shape(patches)))
    if not shape or int(np.prod(shape[1:])) != PATCH_SIDE**2:
        raise InputError(
            f"{name} has shape {list(shape)}, not [n, {PATCH_SIDE}, {PATCH_SIDE}]: pass patch "
            "distributions as the model puts them out"
        )


def read_patches(patches, first: int, last: int, name: str) -> np.ndarray:
    """Return patches `first … last − 1` as float32 `[last − first, 224, 224]`.

    Reads only that block of an h5 dataset. Raises `InputError` for values that are not finite or
    far outside a FIDT map's range [0, 1], where SSIM with its constants means nothing.
    """
    block = to_numpy(patches[first:last]).astype(np.float32, copy=False)
    block = np.ascontiguousarray(block.reshape(-1, PATCH_SIDE, PATCH_SIDE))
    within = within_range(block.reshape(-1, PATCH_SIDE**2))
    if not within.all():
        raise InputError(
            f"patch {first + int(np.argmin(within))} of {name} holds NaN or values beyond "
            f"±{LARGEST_VALUE:.0f}: extract the features again with a model that has not diverged"
        )
    return block


def within_range(values: np.ndarray) -> np.ndarray:
    """Whether all values of each patch are numbers within ±`LARGEST_VALUE`, `[n, d]` -> `[n]`."""
    largest = np.maximum(values.max(axis=1, initial=0), -values.min(axis=1, initial=0))
    # Written so that NaN, for which every comparison is false, is refused too.
    return largest <= LARGEST_VALUE


def blocks(count: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut 0 … count − 1 into ranges (first, last + 1) of at most `size`."""
    return ((first, min(first + size, count)) for first in range(0, count, size))
