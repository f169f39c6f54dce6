"""Arrays from wherever they come, made such that torch and compiled code take them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def plain(array, dtype=None) -> np.ndarray:
    """Copy an array or nested lists: row by row, in the byte order of this machine.

    torch takes neither the negative strides of a flipped view nor a foreign byte order, and an
    array of one row may keep such strides though numpy calls it contiguous: only a copy is safe.
    """
    array = np.asarray(array, dtype)
    return np.array(array, array.dtype.newbyteorder("="), order="C")


def as_tensor(array) -> torch.Tensor:
    """Return a tensor as it is, anything else, numpy or nested lists, as a tensor on the CPU."""
    import torch

    return array if isinstance(array, torch.Tensor) else torch.from_numpy(plain(array))


def to_numpy(array) -> np.ndarray:
    """Return a numpy view (or copy) of a numpy, torch or h5 array, or of nested lists."""
    if hasattr(array, "detach"):  # a tensor, said without importing torch
        array = array.detach().cpu()
        # numpy has no such type.
        return (array.float() if str(array.dtype) == "torch.bfloat16" else array).numpy()
    return np.asarray(array)
