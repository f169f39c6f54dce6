"""GST's processed set: photos at the size of the training, heads with their neighbours' distance.

`train/NAME.npy` is float32 [N, 3] = x, y, mean distance to the three nearest heads (JHU-Crowd++:
the annotated height of the head); `val/` and `test/` hold [N, 2]. All in pixels of `NAME.jpg`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.spatial import cKDTree

from crowd.annotations import read_box_sizes
from crowd.data.photo_jobs import Job, Resized
from crowd.data.resize import resize_photo, target_size

__all__ = ["GaussianJob", "neighbour_distance", "resize_photo", "target_size"]

SINGLE_HEAD = 8.0


def neighbour_distance(points: np.ndarray, single: float = SINGLE_HEAD) -> np.ndarray:
    """Mean distance of each point [N, 2] to its three nearest, or to as many as there are.

    Returns float32 [N], pixels; a point on its own gets `single`. Heads that share a place are at
    distance 0 of each other.
    """
    if len(points) < 2:
        return np.full(len(points), single, np.float32)
    # The nearest is the point itself, or one at the same place, which is as far.
    distance, _ = cKDTree(points).query(points, k=min(4, len(points)))
    return distance[:, 1:].mean(1).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianJob(Job):
    """One photo to process; where `distances` are wanted, its heads get the third column."""

    distances: bool

    def heads(self, resized: Resized) -> np.ndarray:
        """Return the heads, float32 [N, 3] with the distance and [N, 2] without."""
        if not self.distances:
            return resized.points
        if self.layout == "jhu":
            heights = read_box_sizes(self.photo, self.convention)[:, 1]
            distance = heights[resized.inside] * resized.ratio
        else:
            distance = neighbour_distance(resized.points, SINGLE_HEAD * resized.ratio)
        return np.column_stack([resized.points, distance]).astype(np.float32)
