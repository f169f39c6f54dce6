"""Sinkhorn's iterations for entropic optimal transport that neither overflow nor turn NaN.

Plans are exp(f_i + g_j − cost_ij / reg). Plain iterations, which scale exp(−cost / reg), lose all
mass where that underflows. Here f and g are logarithms, and sums over the plan are products with a
kernel that already contains them, so that its entries are near the plan's; what an iteration
changes is a factor, and a step in the log domain renews the kernel where factors grow large.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

# Factors between two log-domain steps stay within e^±LARGEST_LOG; what underflows beside them in
# the kernel (below e^−745) is then negligible.
LARGEST_LOG = 100.0
# A smaller sum may lack some of what has underflowed.
SMALLEST_SUM = 1e-200

# From log-sums and log-marginal to log-scalings that make the sums fit the constraint, and a common
# log-factor.
Project = Callable[[Tensor, Tensor], tuple[Tensor, Tensor | float]]


class Scaling(NamedTuple):
    """Where iterations ended: float64."""

    f: Tensor  # potentials of the rows `[n]`, in units of the regularisation
    g: Tensor  # of the columns `[m]`, whose constraint holds exactly
    plan: Tensor  # exp(f + g − cost / reg), `[n, m]`
    residual: float  # mass that the next projection onto the rows' constraint would still change
    iterations: int  # updates done of both sides


def saturate(log_sums: Tensor, log_marginal: Tensor) -> tuple[Tensor, float]:
    """Log-scalings that bring sums exactly to their marginal (the balanced constraint)."""
    return log_marginal - log_sums, 0.0


def scale(
    cost: Tensor,
    rows: Tensor,
    columns: Tensor,
    reg: float,
    steps: Iterable[int],
    tolerance: float = 0.0,
    project: Project = saturate,
) -> Scaling:
    """Alternate the projections onto the rows' and the columns' constraint.

    Args:
        cost: `[n, m]`, finite.
        rows: masses `[n]`, above 0.
        columns: masses `[m]`, above 0.
        reg: weight of the entropy, in units of the cost.
        steps: 0, 1, 2 …, one an update of both sides: `range(100)`, or a progress bar over it.
        tolerance: stop when the residual falls to it.
        project: constraint of either side.
    """
    scaled, log_rows, log_columns = _in_logs(cost, rows, columns, reg)
    g = torch.zeros_like(log_columns)
    kernel = _Kernel(scaled, -scaled.amax(dim=1), g)
    f, total = project(kernel.log_sums(g, 1), log_rows)
    for step in steps:
        g, more = project(kernel.log_sums(f + total, 0), log_columns)
        ended = f + total + more
        kernel = kernel.renewed(ended, g)
        log_sums = kernel.log_sums(g, 1)
        f, total = project(log_sums, log_rows)
        moved = torch.exp(f + total + log_sums) - torch.exp(ended + log_sums)
        residual, done = float(moved.abs().sum()), step + 1
        if residual <= tolerance:
            break
        kernel = kernel.renewed(f + total, g)
    return Scaling(ended, g, kernel.plan(ended, g), residual, done)


def scale_reference(
    cost: Tensor,
    rows: Tensor,
    columns: Tensor,
    reg: float,
    steps: Iterable[int],
    tolerance: float = 0.0,
    project: Project = saturate,
) -> Scaling:
    """The readable twin of `scale`, with every step in the log domain."""
    scaled, log_rows, log_columns = _in_logs(cost, rows, columns, reg)
    f, total = project(torch.logsumexp(scaled, dim=1), log_rows)
    for step in steps:
        g, more = project(torch.logsumexp(scaled + (f + total)[:, None], dim=0), log_columns)
        ended = f + total + more
        log_sums = torch.logsumexp(scaled + g, dim=1)
        f, total = project(log_sums, log_rows)
        moved = torch.exp(f + total + log_sums) - torch.exp(ended + log_sums)
        residual, done = float(moved.abs().sum()), step + 1
        if residual <= tolerance:
            break
    return Scaling(ended, g, torch.exp(scaled + ended[:, None] + g), residual, done)


def _in_logs(cost: Tensor, rows: Tensor, columns: Tensor, reg: float) -> tuple[Tensor, ...]:
    return (cost / -reg).double(), rows.double().log(), columns.double().log()


class _Kernel:
    """exp(scaled + f + g), and sums over it under other potentials."""

    def __init__(self, scaled: Tensor, f: Tensor, g: Tensor):
        self.scaled, self.f, self.g, self.is_old = scaled, f, g, False
        self.values = (scaled + f[:, None]).add_(g).exp_()

    def log_sums(self, potential: Tensor, side: int) -> Tensor:
        """Log Σ_i e^(scaled_ij + f_i) (side 0), or log Σ_j e^(scaled_ij + g_j) (side 1)."""
        old, absorbed = (self.f, self.g) if side == 0 else (self.g, self.f)
        change = potential - old
        if change.abs().max() <= LARGEST_LOG:
            sums = (self.values.T if side == 0 else self.values) @ change.exp()
            if sums.min() > SMALLEST_SUM:
                return sums.log() - absorbed
        self.is_old = True
        return torch.logsumexp(self.scaled + potential.unsqueeze(1 - side), dim=side)

    def renewed(self, f: Tensor, g: Tensor) -> _Kernel:
        """The kernel at these potentials where products with the present one do not tell sums."""
        return _Kernel(self.scaled, f, g) if self.is_old else self

    def plan(self, f: Tensor, g: Tensor) -> Tensor:
        """exp(scaled + f + g)."""
        rows, columns = f - self.f, g - self.g
        if max(rows.abs().max(), columns.abs().max()) > LARGEST_LOG:
            return _Kernel(self.scaled, f, g).values
        return self.values.mul_(rows.exp()[:, None]).mul_(columns.exp())
