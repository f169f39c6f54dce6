"""The readable fit: any backend, autograd, torch's Adam, one photo at a time.

`fused_fit` (CPU) and `gsplat_fit` (several photos on a GPU) are its fast twins.
"""

from __future__ import annotations

import torch

from crowd.io.progress import progress
from GS2D.parameters import SHAPE_WEIGHT, activate, in_unit_range, shape_loss
from GS2D.problem import Flatness, Problem, Schedule, Solution
from GS2D.rasterizer import rasterize


def fit(problem: Problem, schedule: Schedule, backend: str, quiet: bool = False) -> Solution:
    """Adam on the render loss plus 0.2 times the shape loss.

    Args:
        problem: The photo, its points, and where to start.
        schedule: When to stop, and Adam's learning rate.
        backend: "reference", "cpu" or "gsplat".
        quiet: Show no progress bar.
    """
    device = "cuda" if backend == "gsplat" and torch.cuda.is_available() else "cpu"
    raw = torch.tensor(problem.raw, device=device, requires_grad=True)
    points = torch.as_tensor(problem.points).to(device)
    target = torch.as_tensor(in_unit_range(problem.target)).to(device)
    adam = torch.optim.Adam([raw], lr=schedule.lr)
    flatness, steps = Flatness(schedule.convergence), 0
    for _ in progress(range(schedule.iterations), "fitting", disable=quiet):
        adam.zero_grad()
        loss = render_loss(raw, points, target, problem.fitted_pixels, backend)
        total = loss + SHAPE_WEIGHT * shape_loss(raw)
        total.backward()
        adam.step()
        steps += 1
        if flatness.reached(loss.detach(), total.detach()):
            break
    with torch.no_grad():
        rendering = render_loss(raw, points, target, problem.fitted_pixels, backend).item()
        return Solution(raw.detach().cpu().numpy(), rendering, shape_loss(raw).item(), steps)


def render_loss(raw, points, target, fitted_pixels: int, backend: str) -> torch.Tensor:
    """Mean |render - target| times H W / fitted_pixels."""
    height, width = target.shape[:2]
    image, _ = rasterize(points, *activate(raw), width, height, backend=backend)
    return (image - target).abs().mean() * (height * width / fitted_pixels)
