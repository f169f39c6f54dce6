"""Fit of one photo: its losses, the fast fit on a CPU, and its readable twin.

The fast one does forward, L1 and backward in one visit of every tile, and Adam beside it. Raw
parameters are one float32 array [N, 6] with the columns scale 0, scale 1, rotation, r, g, b.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from crowd.io.compiled import njit
from crowd.io.progress import progress
from GS2D import Convergence
from GS2D.cpu import cut_into_tiles, l1_gradients
from GS2D.rasterizer import rasterize

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  # torch's defaults
RATIO_LIMIT = 1.5
SHAPE_WEIGHT = 0.2
# Raw scales are unbounded, their ratio is not defined at zero: a divisor closer to zero than this
# is moved away from it, keeping its sign, which bounds the ratio and its gradient.
SMALLEST_DIVISOR = 1e-3


@dataclass(frozen=True)
class Schedule:
    """How long to fit, and with which steps; without `convergence` all iterations are done."""

    iterations: int = 4000
    lr: float = 0.01
    convergence: Convergence | None = None


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

        Of one photo, or tensors [photos], which are read once a window: then bool [photos].
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


def fit(problem: Problem, schedule: Schedule, quiet: bool = False) -> Solution:
    """Adam on the render loss plus 0.2 times the shape loss, one photo, backend "cpu"."""
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
        shape = _add_shape_gradient(raw, slope)
        _adam_step(raw, slope, first_moment, second_moment, step_size, root)
        rendering = black + change
        if flatness.reached(rendering, rendering + SHAPE_WEIGHT * shape):
            break
    shape = shape_loss(torch.from_numpy(raw)).item()
    return Solution(raw, black + float(render_gradient()[0]), shape, step)


@njit(cache=True)
def _activate(raw):
    """Scales, rotations and colours of raw parameters [N, 6], float32."""
    scales = np.maximum(raw[:, :2], np.float32(0.0)) + np.float32(1.0)
    rotations = np.pi / (1.0 + np.exp(-raw[:, 2]))
    colors = 1.0 / (1.0 + np.exp(-raw[:, 3:]))
    return scales, rotations.astype(np.float32), colors.astype(np.float32)


@njit(cache=True)
def _to_raw(raw, gradient):
    """Gradient [N, 6] of the raw parameters, from [N, 9] of the activated ones."""
    slope = np.empty_like(raw)
    slope[:, :2] = np.where(raw[:, :2] > 0.0, gradient[:, 2:4], 0.0)
    turn, color = 1.0 / (1.0 + np.exp(-raw[:, 2])), 1.0 / (1.0 + np.exp(-raw[:, 3:]))
    slope[:, 2] = gradient[:, 4] * np.pi * turn * (1.0 - turn)
    slope[:, 3:] = gradient[:, 6:] * color * (1.0 - color)
    return slope


@njit(cache=True)
def _add_shape_gradient(raw, slope):
    """Add `SHAPE_WEIGHT` times the gradient of `shape_loss` to `slope`; return the loss."""
    worst, worst_above, worst_ratio = -1, 0, RATIO_LIMIT
    for i in range(raw.shape[0]):
        for above in range(2):
            ratio = raw[i, above] / _divisor(raw[i, 1 - above])
            if ratio > worst_ratio:
                worst, worst_above, worst_ratio = i, above, ratio
    if worst >= 0:
        above, below = worst_above, 1 - worst_above
        divisor = _divisor(raw[worst, below])
        slope[worst, above] += SHAPE_WEIGHT / divisor
        if divisor == raw[worst, below]:
            slope[worst, below] -= SHAPE_WEIGHT * raw[worst, above] / (divisor * divisor)
    return worst_ratio - RATIO_LIMIT


@njit(cache=True)
def _divisor(scale):
    small = abs(scale) < SMALLEST_DIVISOR
    return np.copysign(SMALLEST_DIVISOR, scale) if small else np.float64(scale)


@njit(cache=True)
def _adam_step(raw, slope, first_moment, second_moment, step_size, root):
    """One step of Adam (Kingma & Ba, 2015), both bias corrections folded into the last two."""
    first_moment += (1.0 - BETA1) * (slope - first_moment)
    second_moment *= BETA2
    second_moment += (1.0 - BETA2) * slope * slope
    raw -= step_size * first_moment / (np.sqrt(second_moment) / root + EPSILON)


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


def in_unit_range(image: np.ndarray) -> np.ndarray:
    """Colours as float32 in [0, 1], from uint8 or from such floats."""
    return image.astype(np.float32) / np.float32(255.0 if image.dtype == np.uint8 else 1.0)


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
