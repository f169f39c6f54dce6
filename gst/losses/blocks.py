"""Block counts: how many people a crop and its blocks hold, whoever they are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from gst.losses.grid import nearest_cells
from gst.padded import pad_heads

# Side of a block in cells (16, 32 and 64 pixels), and what its error weighs.
BLOCKS = {2: 0.25, 4: 0.5, 8: 1.0}
CROP_WEIGHT = 1.0


def block_count_loss(heads: list, density: Tensor) -> Tensor:
    """Sum of |predicted − annotated| counts over blocks of 16, 32 and 64 pixels and the crop.

    A density loss such as GST's sets where mass belongs; this one sets how much there is, and does
    not ask where in a block. No part of GST's paper.

    Args:
        heads: of each crop, with `points` `[n, 2]`, pixels, and `targets` `[n]`; each counts in the
            cell that it lies in, or the nearest.
        density: predicted `[B, 1, h, w]`.

    Returns:
        Scalar, mean over the batch, the blocks weighted by 1/4, 1/2, 1 and the crop by 1. Blocks
        that the border cuts are left out.
    """
    padded = pad_heads(heads, density.device)
    index = nearest_cells(padded.points, density.shape[-2:])
    annotated = torch.zeros_like(density).flatten(1)
    annotated = annotated.scatter_add(1, index, padded.targets.to(density))
    error = density - annotated.view_as(density)
    loss = CROP_WEIGHT * error.sum(dim=(1, 2, 3)).abs().sum()
    for side, weight in BLOCKS.items():
        loss = loss + weight * side**2 * functional.avg_pool2d(error, side).abs().sum()
    return loss / len(density)
