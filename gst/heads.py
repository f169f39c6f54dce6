"""The heads of a crop: Gaussians with targets, fitted ones or round ones from the points alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

from crowd.io.arrays import as_tensor

SINGLE_HEAD = 8.0  # pixels: the distance of a head without neighbours
NEIGHBOURS = 3
SIGMAS = 6.0  # a round Gaussian's standard deviations in the distance to its neighbours


class Heads(NamedTuple):
    """The Gaussians of one crop: points [n, 2], scales [n, 2], rotations [n], targets t [n].

    Or those of a batch of crops, padded to one number (`gst.padded`): [B, n, 2] and so on.
    """

    points: Tensor
    scales: Tensor
    rotations: Tensor
    targets: Tensor


def neighbour_distance(points: np.ndarray, single: float = SINGLE_HEAD) -> np.ndarray:
    """Mean distance of each point [N, 2] to its three nearest, or to as many as there are.

    Returns float32 [N], pixels; a point on its own gets `single`. Heads that share a place are at
    distance 0 of each other.
    """
    if len(points) < 2:
        return np.full(len(points), single, np.float32)
    # The nearest is the point itself, or one at the same place, which is as far.
    distance, _ = cKDTree(points).query(points, k=min(NEIGHBOURS + 1, len(points)))
    return distance[:, 1:].mean(1).astype(np.float32)


def round_scales(distances: np.ndarray) -> np.ndarray:
    """Scales [N, 2] of round Gaussians from the distances [N] to the neighbours (released code)."""
    return np.repeat(distances[:, None] / SIGMAS, 2, axis=1)


def round_heads(points) -> Heads:
    """Round Gaussians of the neighbours' distance at points [n, 2], each a whole head."""
    points = as_tensor(points).detach().cpu().float().reshape(-1, 2)
    if not points.isfinite().all():
        raise ValueError("points must be finite")
    scales = torch.from_numpy(round_scales(neighbour_distance(points.numpy())))
    return Heads(points, scales, torch.zeros(len(points)), torch.ones(len(points)))
