"""Random fields and colours, cheap enough to draw for every photo."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.special import ndtri

_QUANTILES = ndtri((np.arange(256) + 0.5) / 256).astype(np.float32)


def noise(rng: np.random.Generator, height: int, width: int, cells: float, octaves: int):
    """Return fractal noise float32 [height, width] of zero mean and about unit deviation.

    `cells` is the number of coarsest cells along the longer side; cells are square.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        density = cells * 2.0**octave / max(height, width)
        grid_shape = [min(max(round(side * density), 2), side) for side in (height, width)]
        grid = rng.standard_normal(grid_shape, dtype=np.float32) * np.float32(0.8 / 1.6**octave)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return total


def periodic_noise(rng: np.random.Generator, side: int, cells: int, octaves: int) -> np.ndarray:
    """Return fractal noise float32 [side, side] that continues over its own edges.

    The finest octave's cells, cells · 2^(octaves − 1) along a side, must divide `side`.
    """
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        count, rim = cells * 2**octave, 2
        cell = side // count
        grid = rng.standard_normal((count, count), dtype=np.float32)
        grid = np.pad(grid * np.float32(0.8 / 1.6**octave), rim, mode="wrap")
        whole = side + 2 * rim * cell
        inner = slice(rim * cell, rim * cell + side)
        total += cv2.resize(grid, (whole, whole), interpolation=cv2.INTER_CUBIC)[inner, inner]
    return total


def white_noise(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return float32 noise of unit deviation: one of 256 normal quantiles, from one random byte."""
    drawn = np.frombuffer(rng.bytes(int(np.prod(shape))), np.uint8)
    return _QUANTILES[drawn].reshape(shape)


def jitter(rng: np.random.Generator, colour, spread: float = 0.03) -> np.ndarray:
    """Return a colour near `colour`, float32 [3]."""
    return (np.array(colour) + rng.normal(0, spread) + rng.normal(0, spread / 3, 3)).astype(
        np.float32
    )
