"""Where predicted density and heads lie: on the annotated heads, or anywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree
from torch import Tensor

from crowd.count.photos import point_rows
from crowd.data.images import read_size
from crowd.data.resize import target_size
from crowd.metrics import localization, pool_localization
from crowd.train.loading import CountedPhotos
from gst.evaluation import STRIDE
from gst.heads import neighbour_distance
from gst.localize import density_heads

RADII = (8.0, 24.0)
MATCH = 8.0
# A head's own sigma in its distance to its neighbours: the geometry-adaptive Gaussian's of MCNN
# (Zhang et al., CVPR 2016).
OWN = 0.3


class Placement:
    """How much of a split's density lies near its heads, and how many heads are found.

    Give it every photo's map.

    Args:
        photos: of the split.
        radii: pixels of the photos as the network sees them.
    """

    def __init__(self, photos: CountedPhotos, radii: Sequence[float] = RADII):
        self.radii = radii
        self._heads = {path.name: _heads(photos, index) for index, path in enumerate(photos.paths)}
        self._near, self._all = np.zeros(len(radii)), 0.0
        self._matches: dict[str, list[dict[str, float]]] = {f"{MATCH:g} px": [], "own sigma": []}
        self.points: list[tuple] = []
        """Rows of the heads found: photo, x, y, confidence, in pixels of the photo as stored."""

    def add(self, name: str, density: Tensor) -> None:
        """Add the density map [h, w] of the photo of that name."""
        actual, enlarged = self._heads[name]
        self._near += density_near(density.numpy(), actual * enlarged, self.radii)
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
        shares = self._near / self._all if self._all else np.full(len(self.radii), np.nan)
        return {
            f"{radius:g} px": float(one) for radius, one in zip(self.radii, shares, strict=True)
        }


def density_near(density: np.ndarray, points: np.ndarray, radii: Sequence[float]) -> np.ndarray:
    """Sum the density of the cells whose centre lies within each radius of a head.

    Args:
        density: map of a photo, [h, w], cells of `STRIDE` pixels.
        points: heads x, y, [N, 2], pixels of the photo.
        radii: pixels.

    Returns:
        Sums, float64 [len(radii)].
    """
    if not len(points):
        return np.zeros(len(radii))
    rows, columns = np.indices(density.shape)
    centers = (np.stack([columns, rows], axis=-1) + 0.5) * STRIDE
    distances, _ = cKDTree(points).query(centers.reshape(-1, 2))
    return np.array([density.flat[distances <= radius].sum(dtype=np.float64) for radius in radii])


def _heads(photos: CountedPhotos, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Heads of a photo as stored, [N, 2], and by what the network sees it enlarged, [2]."""
    stored, rule = read_size(photos.paths[index]), photos.preprocessing
    seen = target_size(*stored, rule.min_size, rule.max_size)
    return photos.points[index][:, :2], np.divide(seen, stored)
