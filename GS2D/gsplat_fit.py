"""The fit on a GPU: several photos side by side, drawn by stock gsplat.

The host does not wait for the device: one iteration is a fixed sequence of kernels over the
Gaussians of all photos. The host reads one number when the lists of tiles may no longer hold, and
the losses once a window of `Convergence`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from crowd.io.progress import progress
from GS2D.fused_fit import (
    RATIO_LIMIT,
    SHAPE_WEIGHT,
    Flatness,
    Problem,
    Schedule,
    Solution,
    activate,
    axis_ratios,
    in_unit_range,
)
from GS2D.gsplat_backend import REACH, draw, tile_lists

MARGIN = 2.0  # pixels of scale that tile lists leave for growth
FEWEST_STEPS = 8  # lists are made anew when they may hold for fewer
# Adam's step is at most this many learning rates: by Cauchy-Schwarz on its two moments,
# |m| / sqrt(v) <= (1 - b1) / sqrt((1 - b2) (1 - b1^2 / b2)), with b1 = 0.9, b2 = 0.999.
LONGEST_STEP = 0.1 / math.sqrt(0.001 * (1.0 - 0.81 / 0.999))


def fit(
    problems: Sequence[Problem], schedule: Schedule, device: torch.device, quiet: bool = False
) -> list[Solution]:
    """As `GS2D.fused_fit.fit` with gsplat for every problem, all at once.

    A photo that has converged keeps its parameters of that iteration while the others go on.
    """
    if not problems:
        return []
    batch = _Batch(problems, device)
    raw = torch.tensor(
        np.concatenate([one.raw for one in problems]), device=device, requires_grad=True
    )
    adam = torch.optim.Adam([raw], lr=schedule.lr, fused=True)
    tiles = _TileLists(batch, LONGEST_STEP * schedule.lr)
    flatness, steps = Flatness(schedule.convergence), np.zeros(len(problems), int)
    running, kept = np.ones(len(problems), bool), {}
    for step in progress(range(1, schedule.iterations + 1), "fitting", disable=quiet):
        adam.zero_grad()
        rendering = batch.render_losses(raw, tiles)
        losses = rendering + SHAPE_WEIGHT * batch.shape_losses(raw)
        losses.sum().backward()
        adam.step()
        steps[running] = step
        flat = flatness.reached(rendering.detach(), losses.detach())
        for i in np.flatnonzero(flat & running):
            running[i], kept[i] = False, batch.rows(raw.detach(), i).clone()
        if not running.any():
            break
    with torch.no_grad():
        for i, rows in kept.items():
            batch.rows(raw, i).copy_(rows)
        losses = zip(
            batch.render_losses(raw, _TileLists(batch, MARGIN)).tolist(),
            batch.shape_losses(raw).tolist(),
            steps.tolist(),
            strict=True,
        )
        return [Solution(batch.rows(raw, i).cpu().numpy(), *end) for i, end in enumerate(losses)]


class _Batch:
    """Photos padded to one size, Gaussians one after the other."""

    def __init__(self, problems: Sequence[Problem], device: torch.device):
        numbers = [len(one.raw) for one in problems]
        self._ends = np.cumsum([0, *numbers])
        self.photos = len(problems)
        self.points = torch.cat([torch.as_tensor(one.points) for one in problems]).to(device)
        self.owner = torch.repeat_interleave(torch.tensor(numbers)).to(device)
        self.opacities = torch.ones(len(self.points), device=device)
        sides = np.max([one.target.shape[:2] for one in problems], axis=0)
        self.height, self.width = (int(side) for side in sides)
        size = self.photos, self.height, self.width
        self._target = torch.zeros(*size, 3, device=device)
        # What one unit of |render - target| costs: nothing beyond the photo.
        self._weight = torch.zeros(*size, 1, device=device)
        for i, one in enumerate(problems):
            height, width = one.target.shape[:2]
            self._target[i, :height, :width] = torch.as_tensor(in_unit_range(one.target))
            self._weight[i, :height, :width] = 1.0 / (3 * one.fitted_pixels)

    def rows(self, values: torch.Tensor, photo: int) -> torch.Tensor:
        return values[self._ends[photo] : self._ends[photo + 1]]

    def render_losses(self, raw: torch.Tensor, tiles: _TileLists) -> torch.Tensor:
        """Mean |render - target| times H W / fitted_pixels of each photo, [photos]."""
        activated = activate(raw)
        lists, size = tiles.holding(activated[0].detach()), (self.width, self.height)
        image, _ = draw(self.points, *activated, self.opacities, lists, *size)
        return ((image - self._target).abs() * self._weight).sum(dim=(1, 2, 3))

    def shape_losses(self, raw: torch.Tensor) -> torch.Tensor:
        """`GS2D.fused_fit.shape_loss` of each photo, [photos]."""
        worst = raw.new_full((self.photos,), -math.inf)
        worst = worst.scatter_reduce(0, self.owner, axis_ratios(raw), "amax")
        return torch.relu(worst - RATIO_LIMIT)


class _TileLists:
    """Tile lists that are kept until a scale may have left the margin they were made with.

    They allow for every rotation, and scales may grow or shrink by `MARGIN` before new ones are
    made. A step changes a scale by `longest` pixels at most, so that the host need not look before
    the margin can be used up.
    """

    def __init__(self, batch: _Batch, longest: float):
        self._batch, self._longest = batch, longest
        self._made_for: torch.Tensor | None = None
        self._steps = 0

    def holding(self, scales: torch.Tensor):
        """Lists that hold for these scales, which are those of the next step in turn."""
        if self._steps == 0:
            self._renew(scales.amax(dim=1))
        self._steps -= 1
        return self._lists

    def _renew(self, reach: torch.Tensor) -> None:
        left = 0
        if self._made_for is not None:
            left = self._steps_within(MARGIN - float((reach - self._made_for).abs().max()))
        if left < FEWEST_STEPS:
            batch, self._made_for = self._batch, reach
            boxes = REACH * (reach + MARGIN)[:, None].expand(-1, 2)
            size = batch.photos, batch.width, batch.height
            self._lists = tile_lists(batch.points, boxes, batch.owner, *size)
            left = self._steps_within(MARGIN)
        self._steps = left

    def _steps_within(self, margin: float) -> int:
        """For how many steps, this one first, the scales stay within `margin`."""
        return 1 + int(margin / self._longest) if margin >= 0.0 else 0
