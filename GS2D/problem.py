"""Fitted parameters: layout, initialisation, activation, losses; and whether these are flat.

Raw parameters are one float32 array [N, 6] with the columns scale 0, scale 1, rotation, r, g, b.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial import cKDTree

from GS2D.rasterizer import rasterize
from GS2D.schedule import Convergence


@dataclass(frozen=True)
class Problem:
    """One photo to fit.

    Attributes:
        raw: Start of the raw parameters, float32 [N, 6], N > 0.
        points: [N, 2] x, y in pixels.
        target: [H, W, 3] uint8 or float in [0, 1], black where the photo is copied.
        fitted_pixels: Number of pixels that are not copied.
    """

    raw: np.ndarray
    points: np.ndarray
    target: np.ndarray
    fitted_pixels: int


class Solution(NamedTuple):
    """Raw parameters after the last step, their two losses, and how many steps that took."""

    raw: np.ndarray
    render_loss: float
    shape_loss: float
    iterations: int


class Flatness:
    """Watches the losses of one photo, or of several at once, for `Convergence`."""

    def __init__(self, convergence: Convergence | None):
        self._convergence = convergence
        self._previous: np.ndarray | None = None
        self._sums, self._count = [0.0, 0.0], 0

    def reached(
        self, render_loss: float | torch.Tensor, loss: float | torch.Tensor
    ) -> np.ndarray | bool:
        """Take the losses of one more iteration; say whether the window that it ends was flat.

        Args:
            render_loss: One photo's, or a tensor [photos], which is read once a window.
            loss: The whole loss, of the same shape.

        Returns:
            bool, or bool [photos] at the end of a window for a tensor.
        """
        if self._convergence is None:
            return False
        self._sums = [self._sums[0] + render_loss, self._sums[1] + loss]
        self._count += 1
        if self._count < self._convergence.window:
            return False
        means = np.stack([torch.as_tensor(one).cpu().numpy() for one in self._sums]) / self._count
        before, self._previous, self._sums, self._count = self._previous, means, [0.0, 0.0], 0
        if before is None:
            return False
        return (np.abs(before - means) <= self._convergence.threshold * before).all(axis=0)


NEIGHBOURS = 3
LONE_HEAD = 8.0  # pixels: the distance of a head without neighbours
SMALLEST_START = 2.0
COLOR_MARGIN = 1e-3
RATIO_LIMIT = 1.5
SHAPE_WEIGHT = 0.2
# Raw scales are unbounded, their ratio is not defined at zero: a divisor closer to zero than this
# is moved away from it, keeping its sign, which bounds the ratio and its gradient.
SMALLEST_DIVISOR = 1e-3


def in_unit_range(image: np.ndarray) -> np.ndarray:
    """Colours as float32 in [0, 1], from uint8 or from such floats."""
    return image.astype(np.float32) / np.float32(255.0 if image.dtype == np.uint8 else 1.0)


def neighbour_distances(points: np.ndarray) -> np.ndarray:
    """Root mean square distance [N] to the 3 nearest other heads, or to those there are."""
    if len(points) == 1:
        return np.full(1, LONE_HEAD)
    nearest = min(NEIGHBOURS, len(points) - 1)
    distances = cKDTree(points).query(points, k=nearest + 1)[0][:, 1:]
    return np.sqrt(np.mean(distances**2, axis=1))


def initial_parameters(
    image: np.ndarray, points: np.ndarray, distances: np.ndarray, seed: int
) -> np.ndarray:
    """Start of the raw parameters [N, 6].

    Scales at max(log distance, 2), rotations uniform in (0, pi), colours those of the pixel under
    the centre: row y, column x (the released code reads the photo transposed).
    """
    height, width = image.shape[:2]
    column = np.clip(np.floor(points[:, 0]).astype(int), 0, width - 1)
    row = np.clip(np.floor(points[:, 1]).astype(int), 0, height - 1)
    colors = np.clip(in_unit_range(image[row, column]), COLOR_MARGIN, 1.0 - COLOR_MARGIN)
    turn = np.random.default_rng(seed).uniform(1e-6, 1.0 - 1e-6, (len(points), 1))
    # log of a distance below 1 px is negative, of 0 minus infinity: the maximum ends both.
    scale = np.log(np.maximum(distances, np.exp(SMALLEST_START)))[:, None]
    parts = [scale, scale, _logit(turn), _logit(colors)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _logit(probability: np.ndarray) -> np.ndarray:
    return np.log(probability) - np.log1p(-probability)


def activate(raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Scales relu(raw) + 1 in pixels [N, 2], rotations pi sigmoid(raw) [N], colours [N, 3]."""
    return (
        torch.relu(raw[:, :2]) + 1.0,
        torch.pi * torch.sigmoid(raw[:, 2]),
        torch.sigmoid(raw[:, 3:]),
    )


def shape_loss(raw: torch.Tensor) -> torch.Tensor:
    """relu(ratio - 1.5) of the Gaussian whose raw scales differ most."""
    ratios = axis_ratios(raw)
    return torch.relu(ratios[ratios.argmax()] - RATIO_LIMIT)


def axis_ratios(raw: torch.Tensor) -> torch.Tensor:
    """max(s0/s1, s1/s0) of every Gaussian [N].

    As in the released code the ratio is taken of raw scales, where signs may differ: then it is
    negative and costs nothing.
    """
    scales = raw[:, :2]
    floor = torch.copysign(torch.full_like(scales, SMALLEST_DIVISOR), scales)
    divisors = torch.where(scales.abs() < SMALLEST_DIVISOR, floor, scales)
    return torch.maximum(scales[:, 0] / divisors[:, 1], scales[:, 1] / divisors[:, 0])


def fitted_pixels(points: np.ndarray, distances: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels bool [H, W] that the background mask's Gaussians reach; the others are copied.

    They are isotropic, of scale clamp(distance / 6, 2, 0.015 max(W, H)), and reach as far as
    alpha >= 1/255.
    """
    # As torch.clamp does, the upper bound wins where a small image puts it below the lower one.
    scale = np.minimum(np.maximum(distances / 6.0, 2.0), 0.015 * max(width, height))
    scales = np.repeat(scale[:, None], 2, axis=1)
    white = np.ones((len(points), 3))
    alpha = rasterize(points, scales, np.zeros(len(points)), white, width, height, backend="cpu")[1]
    return alpha > 0.0
