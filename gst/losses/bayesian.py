"""Bayesian loss (Ma et al., ICCV 2019, with background): expected counts of the heads."""

from __future__ import annotations

import torch
from torch import Tensor

from gst.losses.grid import STRIDE, squared_distances
from gst.padded import batch_transport_loss, pad_heads

SIGMA = 8.0  # pixels
BACKGROUND_RATIO = 1.0  # of the crop's short side


def bayesian_posterior(points: Tensor, shape: tuple[int, int]) -> Tensor:
    """P(head n | cell x), heads and one background being equally likely beforehand.

    A head's likelihood is a Gaussian of 8 pixels. The background stands, at every cell, at the
    distance d_bg with d_bg² = (1.0 · short side)² / d_min, where d_min is the squared distance to
    the nearest head: the nearer a head, the farther the background, which takes over from about
    √(short side) pixels on. So the release that has the ratio 1.0; the other published form is
    d_bg = ratio · short side − √d_min, for which the paper's ratio is 0.15.

    Args:
        points: heads x, y `[..., n, 2]`, n ≥ 1, pixels of the crop.
        shape: cells (h, w) of the density map.

    Returns:
        `[..., n + 1, h · w]`, the background last; every column sums to 1.
    """
    squared = squared_distances(points, shape)
    reach = BACKGROUND_RATIO * min(shape) * STRIDE
    background = reach**2 / (squared.amin(-2, keepdim=True) + 1e-5)
    return torch.softmax(torch.cat([squared, background], -2) / (-2 * SIGMA**2), dim=-2)


def bayesian_losses(heads: list, density: Tensor) -> dict[str, Tensor]:
    """`bayesian`: Σ_n |t_n − Σ_x P(n | x) D(x)|, the background's t being 0, mean over the batch.

    It is the transport loss of another kernel, one that has not looked at the photo.
    """
    padded = pad_heads(heads, density.device)
    posteriors = bayesian_posterior(padded.points, density.shape[-2:])
    return {"bayesian": batch_transport_loss(posteriors, padded.targets, density)}
