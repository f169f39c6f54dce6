"""The fast fit on CPU: forward, L1 and backward in one visit of every tile, Adam beside it."""

from __future__ import annotations

import math

import numpy as np
import torch

from crowd.io.compiled import njit
from crowd.io.progress import progress
from GS2D.cpu import cut_into_tiles, l1_gradients
from GS2D.problem import (
    RATIO_LIMIT,
    SHAPE_WEIGHT,
    SMALLEST_DIVISOR,
    Flatness,
    Problem,
    Solution,
    activate,
    in_unit_range,
    shape_loss,
)
from GS2D.rasterizer import rasterize
from GS2D.schedule import Schedule

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # torch's defaults


def fit(problem: Problem, schedule: Schedule, quiet: bool = False) -> Solution:
    """Adam on the render loss plus 0.2 times the shape loss, one photo, backend "cpu".

    Args:
        problem: The photo, its points, and where to start.
        schedule: When to stop, and Adam's learning rate.
        quiet: Show no progress bar.
    """
    raw = problem.raw.astype(np.float32)
    points, target = np.ascontiguousarray(problem.points, np.float32), problem.target
    if target.dtype != np.uint8:
        target = target.astype(np.float32)
    tiles, size = cut_into_tiles(target.transpose(2, 0, 1)), target.shape[:2]
    weight = np.float32(1.0 / (3 * problem.fitted_pixels))
    # A render loss is counted from a black render, which costs the sum of the target.
    black = float(weight * in_unit_range(target).sum(dtype=np.float64))
    flatness, step = Flatness(schedule.convergence), 0
    opacities = np.ones(len(raw), np.float32)
    first_moment, second_moment = np.zeros_like(raw), np.zeros_like(raw)

    def render_gradient():
        return l1_gradients(points, *_activate(raw), opacities, tiles, size, weight)

    for step in progress(range(1, schedule.iterations + 1), "fitting", disable=quiet):
        change, gradient = render_gradient()
        step_size, root = schedule.lr / (1.0 - BETA1**step), math.sqrt(1.0 - BETA2**step)
        slope = _to_raw(raw, gradient)
        shape = _add_shape_gradient(raw, slope, RATIO_LIMIT, SHAPE_WEIGHT, SMALLEST_DIVISOR)
        _adam_step(raw, slope, first_moment, second_moment, step_size, root)
        rendering = black + change
        if flatness.reached(rendering, rendering + SHAPE_WEIGHT * shape):
            break
    shape = shape_loss(torch.from_numpy(raw)).item()
    return Solution(raw, black + float(render_gradient()[0]), shape, step)


@njit(cache=True)
def _activate(raw):
    """Scales, rotations and colours of raw parameters [N, 6], float32."""
    number = raw.shape[0]
    scales, colors = np.empty((number, 2), np.float32), np.empty((number, 3), np.float32)
    rotations = np.empty(number, np.float32)
    for i in range(number):
        for axis in range(2):
            scales[i, axis] = max(raw[i, axis], np.float32(0.0)) + np.float32(1.0)
        rotations[i] = np.pi / (1.0 + np.exp(-raw[i, 2]))
        for channel in range(3):
            colors[i, channel] = 1.0 / (1.0 + np.exp(-raw[i, 3 + channel]))
    return scales, rotations, colors


@njit(cache=True)
def _to_raw(raw, gradient):
    """Gradient [N, 6] of the raw parameters, from [N, 9] of the activated ones."""
    slope = np.empty_like(raw)
    for i in range(raw.shape[0]):
        for axis in range(2):
            slope[i, axis] = gradient[i, 2 + axis] if raw[i, axis] > 0.0 else 0.0
        turn = 1.0 / (1.0 + np.exp(-raw[i, 2]))
        slope[i, 2] = gradient[i, 4] * np.pi * turn * (1.0 - turn)
        for channel in range(3):
            color = 1.0 / (1.0 + np.exp(-raw[i, 3 + channel]))
            slope[i, 3 + channel] = gradient[i, 6 + channel] * color * (1.0 - color)
    return slope


@njit(cache=True)
def _add_shape_gradient(raw, slope, limit, weight, smallest):
    """Add `weight` times the gradient of `GS2D.problem.shape_loss` to `slope`; return the loss.

    The constants come as arguments, because compiled code is cached with the globals it saw.
    """
    worst, worst_above, worst_ratio = -1, 0, limit
    for i in range(raw.shape[0]):
        for above in range(2):
            ratio = raw[i, above] / _divisor(raw[i, 1 - above], smallest)
            if ratio > worst_ratio:
                worst, worst_above, worst_ratio = i, above, ratio
    if worst >= 0:
        above, below = worst_above, 1 - worst_above
        divisor = _divisor(raw[worst, below], smallest)
        slope[worst, above] += weight / divisor
        if divisor == raw[worst, below]:
            slope[worst, below] -= weight * raw[worst, above] / (divisor * divisor)
    return worst_ratio - limit


@njit(cache=True)
def _divisor(scale, smallest):
    return np.float64(scale) if abs(scale) >= smallest else np.copysign(smallest, scale)


@njit(cache=True)
def _adam_step(raw, slope, first_moment, second_moment, step_size, root):
    """One step of Adam (Kingma & Ba, 2015), both bias corrections folded into the last two."""
    for i in range(raw.shape[0]):
        for j in range(raw.shape[1]):
            first_moment[i, j] += (1.0 - BETA1) * (slope[i, j] - first_moment[i, j])
            second_moment[i, j] *= BETA2
            second_moment[i, j] += (1.0 - BETA2) * slope[i, j] * slope[i, j]
            scale = np.sqrt(second_moment[i, j]) / root + EPSILON
            raw[i, j] -= step_size * first_moment[i, j] / scale


def fit_reference(
    problem: Problem, schedule: Schedule, backend: str = "reference", quiet: bool = False
) -> Solution:
    """Readable twin of `fit`, by autograd and torch's Adam, for every backend of `rasterize`."""
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
