"""FIDT maps, what the counter learns to predict (arXiv 2102.07925), and heads as their peaks."""

from collections.abc import Sequence

import numpy as np

from crowd.io.arrays import as_tensor, to_numpy
from crowd.io.errors import InputError, extra

PATCH_SIDE = 224  # of the maps that are clustered and matched
LARGEST_VALUE = 100.0  # of a predicted map; of a FIDT map it is 1
SMALLEST_VALUE = 0.01
REACH = 32  # pixels, beyond which a head leaves no value as large as that
RELATIVE_THRESHOLD = 100.0 / 255.0
LOWEST_MAXIMUM = 0.1


def fidt_map(points, height: int, width: int) -> np.ndarray:
    """Focal inverse distance transform of annotated heads (FIDT, equation 4).

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
    with extra("commands", "FIDT maps"):
        import cv2

    columns, rows = np.maximum(_pixels_inside(points, height, width), 1)
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

    Arguments and errors as for `fidt_map`. Returns uint8 `[height, width]`, 1 at head pixels, the
    last one for heads on the right and lower edge; two heads on one pixel give one mark.
    """
    columns, rows = _pixels_inside(points, height, width)
    marks = np.zeros((height, width), np.uint8)
    marks[rows, columns] = 1
    return marks


def _pixels_inside(points, height: int, width: int) -> np.ndarray:
    """Columns and rows of the heads, int64 `[2, n]`."""
    points = to_numpy(points).astype(np.float64)
    if points.size == 0:
        return np.zeros((2, 0), np.int64)
    if points.ndim != 2 or points.shape[1] < 2 or not np.isfinite(points[:, :2]).all():
        raise InputError("heads must be finite numbers [N, 2], x and y in pixels: check the points")
    inside = ((points[:, :2] >= 0) & (points[:, :2] <= (width, height))).all(1)
    # A head on the right or lower edge is in the photo, and so in its last pixel.
    return np.minimum(np.floor(points[inside, :2]).astype(np.int64), (width - 1, height - 1)).T


def smoothed(maps):
    """Mean of 3×3 pixels of torch maps `[..., H, W]`, beyond the border 0 (FIDT, for UCF-QNRF)."""
    from torch.nn import functional

    return functional.avg_pool2d(maps, 3, stride=1, padding=1)


def local_maxima(prediction, smooth: bool = False) -> np.ndarray:
    """Find the heads of a predicted FIDT map, one a local maximum (FIDT's LMDS); count them.

    A pixel is a head when it equals the maximum of its 3×3 neighbourhood and reaches 100/255 of
    the map's maximum; a map whose maximum is below 0.1 has no heads.

    Args:
        prediction: map `[H, W]`, numpy or torch, also with leading dimensions of size 1.
        smooth: take the 3×3 mean first (UCF-QNRF; the zeros beyond the border count). The
            thresholds still come from the maximum before smoothing, as in the released code.

    Returns:
        int64 `[M, 2]`: column and row of every peak, in reading order.

    Raises:
        InputError: the prediction is not one map, or holds NaN.
    """
    import torch
    from torch.nn import functional

    values = as_tensor(prediction).detach().float()
    if values.dim() < 2 or values.numel() != values.shape[-1] * values.shape[-2]:
        raise InputError(f"a predicted map must be [H, W], not {list(values.shape)}: pass one map")
    values = values.reshape(1, 1, *values.shape[-2:])
    maximum = values.max().item() if values.numel() else 0.0
    if np.isnan(maximum):
        raise InputError("the predicted map holds NaN: use a checkpoint that has not diverged")
    if maximum < LOWEST_MAXIMUM:
        return np.zeros((0, 2), np.int64)
    if smooth:
        values = smoothed(values)
    highest = functional.max_pool2d(values, 3, stride=1, padding=1)
    peaks = (values == highest) & (values >= RELATIVE_THRESHOLD * maximum)
    rows, columns = torch.nonzero(peaks[0, 0], as_tuple=True)
    return torch.stack([columns, rows], dim=1).cpu().numpy()


def check_maps(maps: np.ndarray, names: Sequence[str], where: str) -> None:
    """Check predicted maps, of 224 × 224 values each.

    Raises `InputError` naming the first that is not finite or far outside a FIDT map's range.
    """
    values = maps.reshape(-1, PATCH_SIDE**2)
    largest = np.maximum(values.max(axis=1, initial=0), -values.min(axis=1, initial=0))
    # Written so that NaN, for which every comparison is false, is refused too.
    within = largest <= LARGEST_VALUE
    if not within.all():
        raise InputError(
            f"{where} NaN or values beyond ±{LARGEST_VALUE:.0f} for {names[int(within.argmin())]}: "
            "extract the features with a model that has not diverged"
        )
