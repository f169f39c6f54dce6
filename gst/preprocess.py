"""GST's processed set: photos at the size of the training, heads with their neighbours' distance.

`train/NAME.npy` is float32 [N, 3] = x, y, mean distance to the three nearest heads (JHU-Crowd++:
the annotated height of the head); `val/` and `test/` hold [N, 2]. All in pixels of `NAME.jpg`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from crowd.data.photo_jobs import Job, Resized
from crowd.data.resize import resize_photo, target_size
from gst.heads import SINGLE_HEAD, neighbour_distance

__all__ = ["GaussianJob", "neighbour_distance", "resize_photo", "target_size"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianJob(Job):
    """One photo to process; where `distances` are wanted, its heads get the third column."""

    distances: bool

    def heads(self, resized: Resized) -> np.ndarray:
        """Return the heads, float32 [N, 3] with the distance and [N, 2] without."""
        if not self.distances:
            return resized.points
        if self.layout == "jhu":
            heights = self.seen.boxes(self.convention)[:, 1]
            distance = heights[resized.inside] * resized.ratio
        else:
            distance = neighbour_distance(resized.points, SINGLE_HEAD * resized.ratio)
        return np.column_stack([resized.points, distance]).astype(np.float32)
