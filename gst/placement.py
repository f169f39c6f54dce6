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
from gst.localize import density_heads

RADII = (8.0, 24.0)
MATCH = 8.0


class Placement:
    """How much of a split's density lies near its heads, and how many heads are found.

    Give it every photo's map.

    Args:
        photos: of the split.
        radii: pixels of the photos as the network sees them.
    """

    def __init__(self, photos: CountedPhotos, radii: Sequence[float] = RADII):
        self.radii = radii
        self._heads = {path.name: _seen(photos, index) for index, path in enumerate(photos.paths)}
        self._near, self._all = np.zeros(len(radii)), 0.0
        self._matches: list[dict[str, float]] = []
        self.points: list[tuple] = []
        """Rows of the heads found: photo, x, y, confidence."""

    def add(self, name: str, density: Tensor) -> None:
        """Add the density map [h, w] of the photo of that name."""
        actual = self._heads[name]
        self._near += density_near(density.numpy(), actual, self.radii)
        self._all += density.double().sum().item()
        heads, confidence = density_heads(density.numpy(), STRIDE)
        self._matches.append(localization(heads, actual, MATCH))
        self.points += point_rows(name, heads, confidence)

    def localization(self) -> dict[str, dict[str, float]]:
        """Precision, recall and F1 over all photos, of heads matched within `MATCH` pixels."""
        return {f"{MATCH:g} px": pool_localization(self._matches)}

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


def _seen(photos: CountedPhotos, index: int) -> np.ndarray:
    """Heads of a photo at the size that the network sees it, [N, 2]."""
    stored, rule = read_size(photos.paths[index]), photos.preprocessing
    seen = target_size(*stored, rule.min_size, rule.max_size)
    return photos.points[index][:, :2] * np.divide(seen, stored)
