"""Heads from a density map: places that hold the mass of a person, taken one by one."""

from __future__ import annotations

import heapq

import numpy as np

# Chosen on validation photos of ShanghaiTech A, as is the confidence from which a head counts.
NEIGHBOUR = 0.3  # weight of a neighbouring cell beside the cell itself
REACH = 3  # cells from which a person's mass is taken
LEAST = 0.2


def density_heads(
    density: np.ndarray, stride: int = 8, least: float = LEAST
) -> tuple[np.ndarray, np.ndarray]:
    """Heads of a density map, finer than its cells.

    The cell with the most weighted mass around it gives a head, at the centre of mass of it and its
    eight neighbours. The mass of one person, the nearest to that place, is taken away; and so on.

    Args:
        density: people per cell [h, w].
        stride: side of a cell, pixels.
        least: confidence below which the mass that is left makes no head.

    Returns:
        Heads (x, y), float32 [M, 2], in pixels of the photo, the surest first; and the confidence
        of each, [M] in (0, 1]: the weighted mass around its cell. M is near the count, not equal
        to it: mass that is spread too thinly to point at anybody stays in the count alone.
    """
    border = REACH + 2
    rest = np.pad(np.asarray(density, np.float64).clip(0), border)
    around = _around(rest)
    heap = [(-around[cell], cell) for cell in zip(*np.nonzero(around >= least), strict=True)]
    heapq.heapify(heap)
    heads, confidences = [], []
    while heap:
        mass, (row, column) = heapq.heappop(heap)
        if -mass != around[row, column]:
            continue  # it has changed since, and waits in the heap with what it holds now
        window = rest[row - 1 : row + 2, column - 1 : column + 2]
        y, x = (_OFFSETS * window).sum(axis=(1, 2)) / window.sum()
        _take_person(rest[row - REACH : row + REACH + 1, column - REACH : column + REACH + 1], y, x)
        heads.append((column + x, row + y))
        confidences.append(min(-mass, 1.0))
        top, left = row - REACH - 1, column - REACH - 1
        new = _around(rest[top - 1 : row + border + 1, left - 1 : column + border + 1])[1:-1, 1:-1]
        old = around[top : row + border, left : column + border]
        for cell in zip(*np.nonzero((new != old) & (new >= least)), strict=True):
            heapq.heappush(heap, (-new[cell], (top + cell[0], left + cell[1])))
        old[:] = new
    places = (np.reshape(heads, (-1, 2)) - border + 0.5) * stride
    return places.astype(np.float32), np.array(confidences, np.float32)


_OFFSETS = np.mgrid[-1:2, -1:2]
_DISTANCES = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]


def _around(mass: np.ndarray) -> np.ndarray:
    """Mass of every cell and, weighted, of its eight neighbours; nothing lies beyond the map."""
    for _ in range(2):  # along rows, then along columns
        beside = np.zeros_like(mass)
        beside[1:] += mass[:-1]
        beside[:-1] += mass[1:]
        mass = (mass + NEIGHBOUR * beside).T
    return mass


def _take_person(square: np.ndarray, y: float, x: float) -> None:
    """Take one person away from a square of cells, from those nearest to (y, x) of its middle."""
    nearest = np.hypot(_DISTANCES[0] - y, _DISTANCES[1] - x).ravel().argsort(kind="stable")
    cells = square.ravel()[nearest]
    before = np.cumsum(cells) - cells
    cells -= np.clip(1.0 - before, 0.0, cells)
    left = np.empty_like(cells)
    left[nearest] = cells
    square[:] = left.reshape(square.shape)
