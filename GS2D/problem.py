"""What the fits are given and what they return, and when a fit has nothing left to gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Problem:
    """One photo to fit.

    Attributes:
        raw: Start of the raw parameters, float32 [N, 6] (see `GS2D.parameters`), N > 0.
        points: [N, 2] x, y in pixels.
        target: [H, W, 3] uint8 or float in [0, 1], black where the photo is copied.
        fitted_pixels: Number of pixels that are not copied.
    """

    raw: np.ndarray
    points: np.ndarray
    target: np.ndarray
    fitted_pixels: int


@dataclass(frozen=True)
class Convergence:
    """Stop when the loss is flat: the means of two windows in a row differ too little.

    Adam's steps do not shrink, so that the loss of single iterations never comes to rest; the mean
    over a window does. Render loss and whole loss must both be flat: where thin Gaussians fight the
    shape loss of one at a time, it falls long after the render has settled; and while both move,
    their sum may stand still.

    Attributes:
        threshold: Difference of the means relative to the earlier one, below which it is flat.
        window: Iterations of a window.
    """

    threshold: float = 0.002
    window: int = 200


@dataclass(frozen=True)
class Schedule:
    """How long to fit, and with which steps; without `convergence` all iterations are done."""

    iterations: int = 4000
    lr: float = 0.01
    convergence: Convergence | None = None


@dataclass(frozen=True)
class Solution:
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
