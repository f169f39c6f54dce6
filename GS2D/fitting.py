"""Fit one 2D Gaussian per annotated head to a photo (GST, section on Gaussian splatting)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from GS2D import autograd_fit, fused_fit
from GS2D.parameters import activate, fitted_pixels, initial_parameters, neighbour_distances
from GS2D.rasterizer import choose_backend


@dataclass(frozen=True)
class Gaussians:
    """The fitted Gaussians of one photo; all arrays float32, row i belongs to point i.

    Attributes:
        means: [N, 2] x, y in pixels: the points, unchanged.
        scales: [N, 2] standard deviations in pixels.
        rotations: [N] angle of the first axis in (0, pi).
        colors: [N, 3] in (0, 1).
        render_loss: mean L1 times H W / (number of pixels that were not copied).
        shape_loss: the largest relu(axis ratio - 1.5) over the Gaussians.
    """

    means: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    colors: np.ndarray
    render_loss: float
    shape_loss: float

    def as_params(self) -> np.ndarray:
        """Rows x, y, s0, s1, theta, r, g, b, float32 [N, 8], as `GS2D.store` writes them."""
        return np.concatenate(
            [self.means, self.scales, self.rotations[:, None], self.colors], axis=1
        ).astype(np.float32)


def fit_gaussians(
    image: np.ndarray,
    points: np.ndarray,
    iterations: int = 4000,
    lr: float = 0.01,
    backend: str = "auto",
    seed: int = 0,
    background_mask: bool = True,
    quiet: bool = False,
) -> Gaussians:
    """Fit one Gaussian of opacity 1 per point: scale, rotation and colour, the centre stays.

    Minimises mean |output - image| * H W / (pixels not copied) + 0.2 max_i relu(ratio_i - 1.5),
    where output = render + image * mask, the mask marks the pixels that no Gaussian of the
    background mask reaches, and ratio is the larger over the smaller raw scale. Adam, one learning
    rate; scale = relu(raw) + 1, rotation = pi sigmoid(raw), colour = sigmoid(raw) (released code).

    Args:
        image: [H, W, 3] RGB, uint8 or float in [0, 1].
        points: [N, 2] x, y in pixels; a point outside the image takes the nearest pixel's colour.
        iterations: Steps of Adam.
        lr: Learning rate.
        backend: As in `GS2D.rasterize`; "cpu" runs loss, gradient and Adam fused.
        seed: Of the initial rotations.
        background_mask: False compares the render with the whole image.
        quiet: Show no progress bar, however long it takes.

    Returns:
        Activated values, and both losses at these values.

    Raises:
        ValueError: `image` or `points` has another shape, or holds values that are not finite.
    """
    image, points = np.asarray(image), np.asarray(points, dtype=np.float32)
    _check(image, points)
    backend = choose_backend(backend, on_cuda=torch.cuda.is_available())
    if len(points) == 0:
        pairs = np.zeros((0, 2), np.float32)
        return Gaussians(pairs, pairs, pairs[:, 0], np.zeros((0, 3), np.float32), 0.0, 0.0)
    distances = neighbour_distances(points)
    raw = initial_parameters(image, points, distances, seed)
    fitted = np.ones(image.shape[:2], bool)
    if background_mask:
        fitted = fitted_pixels(points, distances, *fitted.shape)
    # |render + image mask - image| = |render - target|: a copied pixel costs what leaks into it.
    target = image * fitted[..., None]
    fit = fused_fit.fit if backend == "cpu" else autograd_fit.fit
    raw, render_loss, shape_loss = fit(
        raw, points, target, max(int(fitted.sum()), 1), iterations, lr, backend, quiet
    )
    scales, rotations, colors = (part.numpy() for part in activate(torch.from_numpy(raw)))
    return Gaussians(points, scales, rotations, colors, render_loss, shape_loss)


def _check(image: np.ndarray, points: np.ndarray) -> None:
    """Raise `ValueError` with what is wrong, if anything."""
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"expected an RGB image [H, W, 3], got {list(image.shape)}")
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected points [N, 2], got {list(points.shape)}")
    if not np.isfinite(points).all():
        raise ValueError("points hold values that are not finite")
    if image.dtype != np.uint8 and not (image.min() >= 0.0 and image.max() <= 1.0):
        raise ValueError("an image is uint8, or floating point in [0, 1]")
