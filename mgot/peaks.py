"""Counting on a predicted FIDT map: one head per local maximum (FIDT's LMDS)."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from crowd.io.errors import InputError

RELATIVE_THRESHOLD = 100.0 / 255.0
LOWEST_MAXIMUM = 0.1


def local_maxima(prediction, smooth: bool = False) -> np.ndarray:
    """Find the heads of a predicted FIDT map; their number is the count.

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
    values = torch.as_tensor(prediction).detach().float()
    if values.dim() < 2 or values.numel() != values.shape[-1] * values.shape[-2]:
        raise InputError(f"a predicted map must be [H, W], not {list(values.shape)}: pass one map")
    if values.numel() == 0:
        return np.zeros((0, 2), np.int64)
    values = values.reshape(1, 1, *values.shape[-2:])
    maximum = values.max().item()
    if np.isnan(maximum):
        raise InputError("the predicted map holds NaN: use a checkpoint that has not diverged")
    if maximum < LOWEST_MAXIMUM:
        return np.zeros((0, 2), np.int64)
    if smooth:
        values = functional.avg_pool2d(values, 3, stride=1, padding=1)
    highest = functional.max_pool2d(values, 3, stride=1, padding=1)
    peaks = (values == highest) & (values >= RELATIVE_THRESHOLD * maximum)
    rows, columns = torch.nonzero(peaks[0, 0], as_tuple=True)
    return torch.stack([columns, rows], dim=1).cpu().numpy()
