"""FIDT maps: what the counter learns to predict (arXiv 2102.07925, equation 4)."""

from __future__ import annotations

import numpy as np

from crowd.io.errors import InputError
from mgot.arrays import to_numpy

SMALLEST_VALUE = 0.01


def fidt_map(points, height: int, width: int) -> np.ndarray:
    """Focal inverse distance transform of annotated heads.

    Each pixel holds 1 / (1 + P^(0.02 P + 0.75)), P its Euclidean distance to the nearest head
    pixel; values below 0.01 become 0. A head's pixel is (floor x, floor y), but at least 1, as in
    the released code, and on the right and lower edge the last one; heads outside are skipped.

    Args:
        points: heads `[N, 2]` or wider, x and y first, in pixels.
        height: rows of the map.
        width: columns of the map.

    Returns:
        float32 `[height, width]` in [0, 1]; all 0 without heads.

    Raises:
        InputError: a coordinate is NaN or infinite.
    """
    import cv2  # which other parts of the library do without

    columns, rows = _pixels_inside(points, height, width)
    columns, rows = np.maximum(columns, 1), np.maximum(rows, 1)
    inside = (columns < width) & (rows < height)
    background = np.ones((height, width), np.uint8)
    background[rows[inside], columns[inside]] = 0
    if background.all():
        return np.zeros((height, width), np.float32)
    distance = cv2.distanceTransform(background, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Its last bit depends on OpenCV's threads; between pixels a squared distance is an integer.
    distance = np.sqrt(np.rint(distance * distance))
    with np.errstate(over="ignore"):  # far from all heads: 1 / infinity is the 0 it should be
        values = 1.0 / (1.0 + distance ** (0.02 * distance + 0.75))
    values[values < SMALLEST_VALUE] = 0.0
    return values


def head_pixels(points, height: int, width: int) -> np.ndarray:
    """Mark the pixel (floor x, floor y) of every head inside the photo (`kpoint` in the h5 files).

    Args:
        points: heads `[N, 2]` or wider, x and y first, in pixels.
        height: rows of the map.
        width: columns of the map.

    Returns:
        uint8 `[height, width]`, 1 at head pixels, the last one for heads on the right and lower
        edge; two heads on one pixel give one mark.

    Raises:
        InputError: a coordinate is NaN or infinite.
    """
    columns, rows = _pixels_inside(points, height, width)
    marks = np.zeros((height, width), np.uint8)
    marks[rows, columns] = 1
    return marks


def _pixels_inside(points, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    points = to_numpy(points).astype(np.float64)
    if points.size == 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    if points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points[:, :2]).all():
        raise InputError("heads must be finite numbers [N, 2], x and y in pixels: check the points")
    inside = ((points[:, :2] >= 0) & (points[:, :2] <= (width, height))).all(1)
    # A head on the right or lower edge is in the photo, and so in its last pixel.
    pixels = np.minimum(np.floor(points[inside, :2]).astype(np.int64), (width - 1, height - 1))
    columns, rows = pixels.T
    return columns, rows
