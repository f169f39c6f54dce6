"""Entropic optimal transport, balanced and partial, that neither overflows nor turns NaN."""

import functools
import sys
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from crowd.io.arrays import to_numpy
from crowd.io.errors import InputError
from crowd.io.progress import progress
from crowd.sinkhorn import Project, saturate, scale


@dataclass(frozen=True)
class Transport:
    """A transport plan and how far it is from the fixed point.

    Attributes:
        plan: float64 `[n, m]`, the mass moved from row i to column j.
        residual: mass that the next projection onto the row constraint would still change; for
            balanced transport the L1 error of the row marginal. The columns' constraint and the
            total hold exactly.
        iterations: row and column updates done.
        converged: whether the residual reached the tolerance.
    """

    plan: np.ndarray
    residual: float
    iterations: int
    converged: bool

    def convergence(self) -> dict:
        """How it ended, ready for JSON."""
        return {name: value for name, value in vars(self).items() if name != "plan"}


def sinkhorn(
    cost, a=None, b=None, reg: float = 1e-3, max_iterations: int = 2000, tolerance: float = 1e-9
) -> Transport:
    """Balanced entropic transport (Cuturi 2013).

    Solves min_P ⟨P, cost⟩ + reg · Σ P (log P − 1) subject to P 1 = a, Pᵀ 1 = b, P ≥ 0.

    Args:
        cost: `[n, m]`, finite.
        a: mass of the rows `[n]`; uniform, 1/n each, when None.
        b: mass of the columns `[m]`, of the same total; uniform when None.
        reg: weight of the entropy, in units of the cost.
        max_iterations: most row and column updates (default: as released).
        tolerance: stop when the L1 error of the row marginal falls to it.

    Raises:
        InputError: an empty side, a cost that is not finite, masses that are negative or of
            different totals.

    >>> import numpy as np
    >>> sinkhorn(np.array([[0.0, 1.0], [1.0, 0.0]]), reg=0.01).plan.round(3)
    array([[0.5, 0. ],
           [0. , 0.5]])
    """
    cost, a, b = _checked(cost, a, b, reg)
    if not np.isclose(a.sum(), b.sum(), rtol=1e-9, atol=0.0):
        raise InputError(
            f"rows hold {a.sum():g} and columns {b.sum():g} of mass: make the totals equal, or "
            "move a part with entropic_partial"
        )
    return _scale((cost, a, b), reg, max_iterations, tolerance)


def entropic_partial(
    cost,
    a=None,
    b=None,
    mass: float | None = None,
    reg: float = 1e-3,
    max_iterations: int = 1000,
    tolerance: float = 1e-10,
) -> Transport:
    """Partial entropic transport (Benamou et al. 2015): only `mass` of the total moves.

    Solves min_P ⟨P, cost⟩ + reg · Σ P (log P − 1) subject to P 1 ≤ a, Pᵀ 1 ≤ b, Σ P = mass. The
    optimum is the one of `ot.partial.entropic_partial_wasserstein`; here the total is projected
    together with the rows, then with the columns, which needs far fewer iterations than three
    projections in turn. With `mass` the total of both sides it is the balanced problem.

    Arguments are as for `sinkhorn`, but that the totals of `a` and `b` may differ, `mass` None is
    the smaller of both, and `tolerance` is of the mass that an update still moves.

    Raises:
        InputError: as `sinkhorn` does, and for `mass` not in (0, min(Σa, Σb)].
    """
    cost, a, b = _checked(cost, a, b, reg)
    available = min(a.sum(), b.sum())
    mass = available if mass is None else float(mass)
    if not 0.0 < mass <= available * (1.0 + 1e-9):
        raise InputError(f"the mass to move must lie in (0, {available:g}], not {mass:g}")
    if mass >= max(a.sum(), b.sum()) * (1.0 - 1e-12):
        return _scale((cost, a, b), reg, max_iterations, tolerance)

    project = functools.partial(_saturate_to_mass, mass=mass)
    result = _scale((cost, a, b), reg, max_iterations, tolerance, project)
    # Potentials of 1e8 (a cost of 1e4 at reg 1e-4) leave a relative error of 1e-8 in the total.
    return replace(result, plan=result.plan * (mass / result.plan.sum()))


def _checked(cost, a, b, reg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cost = to_numpy(cost).astype(np.float64)
    if cost.ndim != 2 or not cost.size:
        raise InputError(f"a cost of shape {list(cost.shape)} has an empty side: nothing to match")
    if not np.isfinite(cost).all():
        raise InputError("the transport cost holds NaN or infinite values: check the features")
    if not reg > 0.0 or np.abs(cost).max() > float(reg) * sys.float_info.max:
        raise InputError(f"the regularisation must be above 0, and not too near it, not {reg}")
    masses = []
    for given, size, side in ((a, cost.shape[0], "row"), (b, cost.shape[1], "column")):
        mass = np.full(size, 1.0 / size) if given is None else to_numpy(given).astype(np.float64)
        if mass.shape != (size,) or not (mass >= 0).all() or not 0 < mass.sum() < np.inf:
            raise InputError(f"{side} masses must be {size} finite numbers >= 0, not all 0")
        masses.append(mass)
    return cost, *masses


def _saturate_to_mass(log_sums: Tensor, log_marginal: Tensor, mass: float) -> tuple[Tensor, Tensor]:
    """Log-scalings ≤ 0 and a common log-factor t with Σ min(marginal, e^t · sums) = mass.

    The total grows with t, linearly in e^t between the points where one more sum reaches its
    marginal; sorting those points gives t without iterating.
    """
    mass = min(mass, float(log_marginal.exp().sum()))
    saturation = log_marginal - log_sums
    order = saturation.argsort()
    saturated = log_marginal[order].exp().cumsum(0) - log_marginal[order].exp()
    free = log_sums[order].flip(0).logcumsumexp(0).flip(0)
    total_at = saturated + torch.exp(saturation[order] + free)
    first_free = min(int(torch.searchsorted(total_at, mass)), len(order) - 1)
    rest = (mass - saturated[first_free]).clamp_min(torch.finfo(torch.float64).tiny)
    factor = torch.minimum(rest.log() - free[first_free], saturation[order[-1]])
    return (saturation - factor).clamp_max(0.0), factor


def _scale(
    problem: tuple[np.ndarray, np.ndarray, np.ndarray],
    reg: float,
    max_iterations: int,
    tolerance: float,
    project: Project = saturate,
) -> Transport:
    """Scale what has mass (`crowd.sinkhorn.scale`)."""
    if max_iterations < 1:
        raise InputError(f"{max_iterations} iterations transport nothing: allow one or more")
    cost, a, b = problem
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    inner, threads = np.ix_(rows, columns), torch.get_num_threads()
    parts = (torch.from_numpy(part) for part in (cost[inner], a[rows], b[columns]))
    # A matrix-vector product waits for memory; a second thread that waits for a busy core makes it
    # 20 times slower.
    torch.set_num_threads(1)
    try:
        steps = progress(range(max_iterations), "transport", "iteration")
        ended = scale(*parts, reg, steps, tolerance, project)
    finally:
        torch.set_num_threads(threads)
    plan = np.zeros(cost.shape)
    plan[inner] = ended.plan.numpy()
    return Transport(plan, ended.residual, ended.iterations, ended.residual <= tolerance)
