"""The readable fit: any backend, autograd, torch's Adam. `fused_fit` is its fast twin."""

from __future__ import annotations

import numpy as np
import torch

from crowd.progress import progress
from GS2D.parameters import SHAPE_WEIGHT, activate, in_unit_range, shape_loss
from GS2D.rasterizer import rasterize


def fit(
    raw: np.ndarray,
    points: np.ndarray,
    target: np.ndarray,
    fitted_pixels: int,
    iterations: int,
    lr: float,
    backend: str,
    quiet: bool = False,
) -> tuple[np.ndarray, float, float]:
    """Adam on the render loss plus 0.2 times the shape loss.

    Args:
        raw: Start of the raw parameters, float32 [N, 6] (see `GS2D.parameters`).
        points: [N, 2] x, y in pixels.
        target: [H, W, 3] uint8 or float in [0, 1], black where the photo is copied.
        fitted_pixels: Number of pixels that are not copied.
        iterations: Steps of Adam.
        lr: Learning rate.
        backend: "reference", "cpu" or "gsplat".
        quiet: Show no progress bar.

    Returns:
        The raw parameters after the last step, and their render loss and shape loss.
    """
    device = "cuda" if backend == "gsplat" and torch.cuda.is_available() else "cpu"
    raw = torch.tensor(raw, device=device, requires_grad=True)
    points, target = (
        torch.as_tensor(points).to(device),
        torch.as_tensor(in_unit_range(target)).to(device),
    )
    adam = torch.optim.Adam([raw], lr=lr)
    for _ in progress(range(iterations), "fitting", disable=quiet):
        adam.zero_grad()
        loss = render_loss(raw, points, target, fitted_pixels, backend)
        (loss + SHAPE_WEIGHT * shape_loss(raw)).backward()
        adam.step()
    with torch.no_grad():
        rendering = render_loss(raw, points, target, fitted_pixels, backend).item()
        return raw.detach().cpu().numpy(), rendering, shape_loss(raw).item()


def render_loss(raw, points, target, fitted_pixels: int, backend: str) -> torch.Tensor:
    """Mean |render - target| times H W / fitted_pixels."""
    height, width = target.shape[:2]
    image, _ = rasterize(points, *activate(raw), width, height, backend=backend)
    return (image - target).abs().mean() * (height * width / fitted_pixels)
