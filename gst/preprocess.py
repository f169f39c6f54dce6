"""GST's processed set: photos at the size of the training, heads with their extents.

`train/NAME.npy` is float32 [N, 3] = x, y, extent of the head: the mean distance to the three
nearest heads, or on JHU-Crowd++ the height of its annotated box. `val/` and `test/` hold [N, 2].
All in pixels of `NAME.jpg`.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from crowd.data.photo_jobs import Job, Resized
from gst.heads import SINGLE_HEAD, neighbour_distance


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianJob(Job):
    """One photo to process; where `extents` are wanted, its heads get the third column."""

    extents: bool

    def heads(self, resized: Resized) -> np.ndarray:
        """Return the heads, float32 [N, 3] with their extents (see above) and [N, 2] without."""
        if not self.extents:
            return resized.points
        if self.layout == "jhu":
            box_heights = self.seen.boxes(self.convention)[resized.inside, 1]
            extents = box_heights * resized.ratio
        else:
            extents = neighbour_distance(resized.points, SINGLE_HEAD * resized.ratio)
        return np.column_stack([resized.points, extents]).astype(np.float32)
