"""The heads of crops: Gaussians with targets, fitted or round, one crop alone or a padded batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crowd.io.arrays import as_tensor, to_numpy

if TYPE_CHECKING:
    import torch
    from torch import Tensor

SINGLE_HEAD = 8.0  # pixels: the distance of a head without neighbours
NEIGHBOURS = 3
SIGMAS = 6.0  # a round Gaussian's standard deviations in the distance to its neighbours
# Where a padded head stands, pixels: so far off that no cell is its own in any kernel, and near
# enough that the square of the distance is a float32.
FAR = 1e15


class Heads(NamedTuple):
    """The Gaussians of one crop: points [n, 2], scales [n, 2], rotations [n], targets t [n].

    Or those of a batch of crops, padded to one number (`pad_heads`): [B, n, 2] and so on.
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
    from scipy.spatial import cKDTree

    # The nearest is the point itself, or one at the same place, which is as far.
    distance, _ = cKDTree(points).query(points, k=min(NEIGHBOURS + 1, len(points)))
    return distance[:, 1:].mean(1).astype(np.float32)


def round_scales(distances: np.ndarray) -> np.ndarray:
    """Scales [N, 2] of round Gaussians from the distances [N] to the neighbours (released code)."""
    return np.repeat(distances[:, None] / SIGMAS, 2, axis=1)


def round_heads(points) -> Heads:
    """Round Gaussians of the neighbours' distance at points [n, 2], each a whole head.

    Raises `ValueError` for another shape, and for points that are not finite.
    """
    import torch  # workers that preprocess photos do without it

    points = as_tensor(points).detach().cpu().float()
    points = points if points.numel() else points.reshape(0, 2)
    if points.shape[1:] != (2,) or not points.isfinite().all():
        raise ValueError(f"finite points [n, 2] are needed, not {list(points.shape)}")
    scales = torch.from_numpy(round_scales(neighbour_distance(points.numpy())))
    return Heads(points, scales, torch.zeros(len(points)), torch.ones(len(points)))


def head_rows(heads: Sequence[Heads]) -> list[np.ndarray]:
    """The heads of each crop as rows x, y, scale 0, scale 1, rotation, target, [n, 6].

    Raises `ValueError` naming the crop whose arrays do not fit each other, or hold a NaN or
    infinite value.
    """
    rows = []
    for index, one in enumerate(heads):
        points, scales, rotations, targets = map(to_numpy, one)
        count = len(targets)
        if not points.shape == scales.shape == (count, 2) or rotations.size != count:
            raise ValueError(
                f"crop {index}: {len(points)} Gaussians with {count} targets, or arrays that are "
                "not [n, 2], [n, 2], [n] and [n]"
            )
        columns = points, scales, rotations.reshape(-1, 1), targets.reshape(-1, 1)
        rows.append(np.concatenate(columns, axis=1))
        if not np.isfinite(rows[-1]).all():
            raise ValueError(f"crop {index}: points, scales, rotations and targets must be finite")
    return rows


def pad_heads(heads: Sequence[Heads], device: torch.device) -> Heads:
    """Join the heads of several crops to one padded array, copied to `device` at once.

    What is added stands at `FAR`, has the target 0, and so costs nothing; there is at least one a
    crop, so that one without heads is nothing special. Raises `ValueError` as `head_rows` does.
    """
    import torch

    rows = head_rows(heads)
    padding = np.array([FAR] * 5 + [0], np.result_type(*rows))
    padded = np.tile(padding, (len(rows), 1 + max(map(len, rows)), 1))
    for mine, row in zip(padded, rows, strict=True):
        mine[: len(row)] = row
    moved = torch.from_numpy(padded).to(device, non_blocking=True)
    points, scales, rotations, targets = moved.split((2, 2, 1, 1), 2)
    return Heads(points, scales, rotations[..., 0], targets[..., 0])
