"""Direct regression: the squared error to a density map of one fixed Gaussian a head."""

from __future__ import annotations

import torch
from torch import Tensor

from gst.losses.grid import centers
from gst.padded import pad_heads

SIGMA = 8.0  # pixels


def gaussian_density(points: Tensor, targets: Tensor, shape: tuple[int, int]) -> Tensor:
    """Density map of heads, each a Gaussian of 8 pixels whose sum in the crop is its target.

    Args:
        points: heads x, y `[..., n, 2]`, pixels of the crop.
        targets: mass of each, `[..., n]`.
        shape: cells (h, w) of the map.

    Returns:
        `[..., h, w]` with sum Σ targets; zeros without heads.
    """
    xs, ys = centers(shape, points)
    # A head outside the crop may lie so far off that all of its row underflows: softmax does not.
    columns = torch.softmax(-((points[..., :1] - xs) ** 2) / (2 * SIGMA**2), dim=-1)
    rows = torch.softmax(-((points[..., 1:] - ys) ** 2) / (2 * SIGMA**2), dim=-1)
    return (rows * targets[..., None]).mT @ columns


def gaussian_losses(heads: list, density: Tensor) -> dict[str, Tensor]:
    """`mse`: squared error summed over the cells of a crop, mean over the batch."""
    padded = pad_heads(heads, density.device)
    wanted = gaussian_density(padded.points, padded.targets, density.shape[-2:])
    return {"mse": (wanted - density[:, 0]).square().sum() / len(density)}
