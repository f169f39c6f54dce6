"""Entropic optimal transport, balanced and partial, that neither overflows nor turns NaN."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import logsumexp
from threadpoolctl import ThreadpoolController

from crowd.errors import InputError
from crowd.progress import progress
from mgot.arrays import to_numpy

# Scalings between two log-domain steps stay within e^±LARGEST_LOG; what underflows beside them in
# the kernel (below e^−745) is then negligible.
LARGEST_LOG = 100.0
# A smaller sum may lack some of what has underflowed.
SMALLEST_SUM = 1e-200


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
        max_iterations: most row and column updates.
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
    return _scale(cost, a, b, reg, _saturate, max_iterations, tolerance)


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

    Args:
        cost: `[n, m]`, finite.
        a: mass of the rows `[n]`; uniform, 1/n each, when None.
        b: mass of the columns `[m]`; uniform when None.
        mass: mass to move; the smaller of both totals when None.
        reg: weight of the entropy, in units of the cost.
        max_iterations: most row and column updates.
        tolerance: stop when the mass that an update still moves falls to it.

    Raises:
        InputError: an empty side, a cost that is not finite, negative masses, or `mass` not in
            (0, min(Σa, Σb)].
    """
    cost, a, b = _checked(cost, a, b, reg)
    available = min(a.sum(), b.sum())
    mass = available if mass is None else float(mass)
    if not 0.0 < mass <= available * (1.0 + 1e-9):
        raise InputError(f"the mass to move must lie in (0, {available:g}], not {mass:g}")
    if mass >= max(a.sum(), b.sum()) * (1.0 - 1e-12):
        return _scale(cost, a, b, reg, _saturate, max_iterations, tolerance)

    def project(log_sums: np.ndarray, log_marginal: np.ndarray) -> tuple[np.ndarray, float]:
        return _saturate_to_mass(log_sums, log_marginal, min(mass, np.exp(log_marginal).sum()))

    result = _scale(cost, a, b, reg, project, max_iterations, tolerance)
    # Potentials of 1e8 (a cost of 1e4 at reg 1e-4) leave a relative error of 1e-8 in the total.
    return replace(result, plan=result.plan * (mass / result.plan.sum()))


def _checked(cost, a, b, reg: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    cost = to_numpy(cost).astype(np.float64)
    if cost.ndim != 2 or not cost.size:
        raise InputError(f"a cost of shape {list(cost.shape)} has an empty side: nothing to match")
    if not np.isfinite(cost).all():
        raise InputError("the transport cost holds NaN or infinite values: check the features")
    if not reg > 0.0:
        raise InputError(f"the regularisation must be above 0, not {reg}")
    masses = []
    for given, size, side in ((a, cost.shape[0], "row"), (b, cost.shape[1], "column")):
        mass = np.full(size, 1.0 / size) if given is None else to_numpy(given).astype(np.float64)
        if mass.shape != (size,) or not np.isfinite(mass).all() or (mass < 0).any():
            raise InputError(f"{side} masses must be {size} finite numbers of at least 0")
        if mass.sum() <= 0:
            raise InputError(f"all {side} masses are 0: nothing to move")
        masses.append(mass)
    return cost, *masses


def _saturate(log_sums: np.ndarray, log_marginal: np.ndarray) -> tuple[np.ndarray, float]:
    """Log-scalings that bring sums exactly to their marginal (the balanced constraint)."""
    return log_marginal - log_sums, 0.0


def _saturate_to_mass(
    log_sums: np.ndarray, log_marginal: np.ndarray, mass: float
) -> tuple[np.ndarray, float]:
    """Log-scalings ≤ 0 and a common log-factor t with Σ min(marginal, e^t · sums) = mass.

    The total grows with t, linearly in e^t between the points where one more sum reaches its
    marginal; sorting those points gives t without iterating.
    """
    saturation = log_marginal - log_sums
    order = np.argsort(saturation)
    saturated = np.concatenate([[0.0], np.cumsum(np.exp(log_marginal[order]))])
    free = np.logaddexp.accumulate(log_sums[order][::-1])[::-1]
    total_at = saturated[:-1] + np.exp(saturation[order] + free)
    first_free = min(int(np.searchsorted(total_at, mass)), len(order) - 1)
    rest = max(mass - saturated[first_free], np.finfo(np.float64).tiny)
    factor = min(np.log(rest) - free[first_free], saturation[order[-1]])
    return np.minimum(saturation - factor, 0.0), factor


def _scale(
    cost: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    reg: float,
    project: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]],
    max_iterations: int,
    tolerance: float,
) -> Transport:
    """Alternate the projections onto the rows' and the columns' constraint.

    The plan is e^(f_i + g_j + t − cost_ij / reg). Sums over it are matrix products with a kernel
    that already contains the potentials of the last log-domain step, so that its entries are near
    the plan's; a log-domain step renews the kernel whenever the scalings since then grow large.
    """
    rows, columns = a > 0, b > 0
    scaled = cost[np.ix_(rows, columns)] / -reg
    log_a, log_b = np.log(a[rows]), np.log(b[columns])
    f, g, total = np.zeros(len(log_a)), np.zeros(len(log_b)), 0.0
    kernel = _Kernel(scaled, -scaled.max(axis=1), g)
    residual, done = np.inf, 0
    with (
        # A matrix-vector product waits for memory; a second thread that waits for a busy core
        # makes it 20 times slower.
        _thread_pools().limit(limits=1, user_api="blas"),
        progress(total=max_iterations, what="transport", unit="iteration") as bar,
    ):
        while True:
            log_sums = kernel.log_row_sums(g)
            renew = log_sums is None
            if renew:
                log_sums = logsumexp(scaled + g, axis=1)
            f_next, t = project(log_sums, log_a)
            if renew:
                kernel = _Kernel(scaled, f_next + t, g)
            if done:
                moved = np.exp(f_next + log_sums + t) - np.exp(f + log_sums + total)
                residual = np.abs(moved).sum()
            if residual <= tolerance or done >= max_iterations:
                break
            f = f_next
            log_sums = kernel.log_column_sums(f + t)
            renew = log_sums is None
            if renew:
                log_sums = logsumexp(scaled + (f + t)[:, None], axis=0)
            g, rest = project(log_sums, log_b)
            total = t + rest
            if renew:
                kernel = _Kernel(scaled, f + total, g)
            done += 1
            bar.update()
    plan = np.zeros(cost.shape)
    plan[np.ix_(rows, columns)] = kernel.plan(f + total, g)
    return Transport(plan, float(residual), done, bool(residual <= tolerance))


@functools.cache
def _thread_pools() -> ThreadpoolController:
    return ThreadpoolController()


class _Kernel:
    """e^(scaled + f + g), and sums over it under other potentials."""

    def __init__(self, scaled: np.ndarray, f: np.ndarray, g: np.ndarray):
        self.scaled, self.f, self.g = scaled, f, g
        self.values = scaled + f[:, None]
        self.values += g
        np.exp(self.values, out=self.values)

    def log_row_sums(self, g: np.ndarray) -> np.ndarray | None:
        """Log Σ_j e^(scaled_ij + g_j), or None where products with the kernel do not tell."""
        return _log_sums(self.values, self.f, g - self.g)

    def log_column_sums(self, f: np.ndarray) -> np.ndarray | None:
        """Log Σ_i e^(scaled_ij + f_i), likewise."""
        return _log_sums(self.values.T, self.g, f - self.f)

    def plan(self, f: np.ndarray, g: np.ndarray) -> np.ndarray:
        """e^(scaled + f + g)."""
        rows, columns = f - self.f, g - self.g
        if max(np.abs(rows).max(), np.abs(columns).max()) > LARGEST_LOG:
            return _Kernel(self.scaled, f, g).values
        return np.exp(rows)[:, None] * self.values * np.exp(columns)


def _log_sums(kernel: np.ndarray, absorbed: np.ndarray, change: np.ndarray) -> np.ndarray | None:
    if np.abs(change).max() > LARGEST_LOG:
        return None
    sums = kernel @ np.exp(change)
    return np.log(sums) - absorbed if sums.min() > SMALLEST_SUM else None
