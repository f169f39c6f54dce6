"""Heads from a density map, one by one; and where predicted density and heads lie."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import correlate1d
from scipy.spatial import cKDTree
from torch import Tensor

from crowd.count.photos import point_rows
from crowd.data.images import read_size
from crowd.data.resize import target_size
from crowd.metrics import localization, pool_localization
from crowd.train.loading import CountedPhotos
from gst.heads import neighbour_distance
from gst.options import STRIDE

# Chosen on validation photos of ShanghaiTech A, as is the confidence from which a head counts.
NEIGHBOUR = 0.3  # weight of a neighbouring cell beside the cell itself
REACH = 3  # cells from which a person's mass is taken
LEAST = 0.2
RADII = (8.0, 24.0)  # pixels of the photos as the network sees them
MATCH = 8.0  # pixels of the photos as stored
# A head's own sigma in its distance to its neighbours: the geometry-adaptive Gaussian's of MCNN
# (Zhang et al., CVPR 2016).
OWN = 0.3


def density_heads(density: np.ndarray, stride: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Heads of a density map, finer than its cells.

    The cell with the most weighted mass around it gives a head, at the centre of mass of it and its
    eight neighbours. The mass of one person, the nearest to that place, is taken away; and so on.

    Args:
        density: people per cell [h, w].
        stride: side of a cell, pixels.

    Returns:
        Heads (x, y), float32 [M, 2], in pixels of the photo, the surest first; and the confidence
        of each, [M] in (0, 1]: the weighted mass around its cell. M is near the count, not equal
        to it: mass that is spread too thinly to point at anybody (a confidence below `LEAST`), or
        is more than one person a pixel, stays in the count alone.
    """
    border = REACH + 2
    # Taken away one by one, the mass of a counter that diverged would last for ever.
    rest = np.pad(np.asarray(density, np.float64).clip(0, stride**2), border)
    around = _around(rest)
    heads, confidences = [], []
    while (mass := around.flat[best := int(around.argmax())]) >= LEAST:
        row, column = divmod(best, around.shape[1])
        window = rest[row - 1 : row + 2, column - 1 : column + 2]
        y, x = (_OFFSETS * window).sum(axis=(1, 2)) / window.sum()
        _take_person(rest[row - REACH : row + REACH + 1, column - REACH : column + REACH + 1], y, x)
        heads.append((column + x, row + y))
        confidences.append(min(mass, 1.0))
        top, left = row - REACH - 1, column - REACH - 1
        changed = _around(rest[top - 1 : row + border + 1, left - 1 : column + border + 1])
        around[top : row + border, left : column + border] = changed[1:-1, 1:-1]
    places = (np.reshape(heads, (-1, 2)) - border + 0.5) * stride
    return places.astype(np.float32), np.array(confidences, np.float32)


_OFFSETS = np.mgrid[-1:2, -1:2]
_DISTANCES = np.mgrid[-REACH : REACH + 1, -REACH : REACH + 1]


def _around(mass: np.ndarray) -> np.ndarray:
    """Mass of every cell and, weighted, of its eight neighbours; nothing lies beyond the map."""
    for axis in (0, 1):
        mass = correlate1d(mass, (NEIGHBOUR, 1, NEIGHBOUR), axis, mode="constant")
    return mass


def _take_person(square: np.ndarray, y: float, x: float) -> None:
    """Take one person away from a square of cells, from those nearest to (y, x) of its middle."""
    nearest = np.hypot(_DISTANCES[0] - y, _DISTANCES[1] - x).ravel().argsort(kind="stable")
    left = square.flatten()
    cells = left[nearest]
    before = np.cumsum(cells) - cells
    left[nearest] = cells - np.clip(1.0 - before, 0.0, cells)
    square[:] = left.reshape(square.shape)


class Placement:
    """How much of a split's density lies near its heads, and how many heads are found.

    Give it every photo's map.
    """

    def __init__(self, photos: CountedPhotos):
        self._heads = {path.name: _heads(photos, index) for index, path in enumerate(photos.paths)}
        self._near, self._all = np.zeros(len(RADII)), 0.0
        self._matches: dict[str, list[dict[str, float]]] = {f"{MATCH:g} px": [], "own sigma": []}
        self.points: list[tuple] = []
        """Rows of the heads found: photo, x, y, confidence, in pixels of the photo as stored."""

    def add(self, name: str, density: Tensor) -> None:
        """Add the density map [h, w] of the photo of that name."""
        actual, enlarged = self._heads[name]
        self._near += density_near(density.numpy(), actual * enlarged, RADII)
        self._all += density.double().sum().item()
        heads, confidence = density_heads(density.numpy(), STRIDE)
        heads = heads / enlarged
        own = OWN * neighbour_distance(actual, MATCH / OWN)
        for matches, radius in zip(self._matches.values(), (MATCH, own), strict=True):
            matches.append(localization(heads, actual, radius))
        self.points += point_rows(name, heads, confidence)

    def localization(self) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 over all photos.

        Heads match within `MATCH` pixels of the photo as stored, or within the annotated head's
        own sigma, `OWN` times the mean distance to its three nearest; a head on its own has
        `MATCH`.
        """
        return {name: pool_localization(matches) for name, matches in self._matches.items()}

    def shares(self) -> dict[str, float]:
        """Share of all density within each radius of a head; NaN where there is no density."""
        shares = self._near / (self._all or np.nan)
        return {f"{radius:g} px": float(one) for radius, one in zip(RADII, shares, strict=True)}


def density_near(density: np.ndarray, points: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    """Sum of a density [h, w] over the cells whose centre is within each radius of a head.

    Heads [N, 2] and radii in pixels of the photo; float64 [len(radii)].
    """
    rows, columns = np.indices(density.shape)
    centers = (np.stack([columns, rows], axis=-1) + 0.5) * STRIDE
    distances, _ = cKDTree(points).query(centers.reshape(-1, 2))
    return np.array([density.flat[distances <= radius].sum(dtype=np.float64) for radius in radii])


def _heads(photos: CountedPhotos, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Heads of a photo as stored, [N, 2], and by what the network sees it enlarged, [2]."""
    stored, rule = read_size(photos.paths[index]), photos.preprocessing
    seen = target_size(*stored, rule.min_size, rule.max_size)
    return photos.points[index][:, :2], np.divide(seen, stored)
