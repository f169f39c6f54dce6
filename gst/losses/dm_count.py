"""DM-Count (Wang et al., NeurIPS 2020): count, optimal transport, total variation."""

from __future__ import annotations

import torch
from torch import Tensor

from gst.losses.grid import nearest_cells, squared_distances

TV_WEIGHT = 0.01
REGULARISATION = 10.0  # squared pixels
ITERATIONS = 100
SMALLEST = 1e-12  # share of a cell, so that its logarithm exists
LARGEST_LOG = 100.0  # of the factors between two steps in the log domain


def dm_count_losses(heads: list, density: Tensor, ot_weight: float = 0.1) -> dict[str, Tensor]:
    """`count` + `ot_weight` · `ot` + 0.01 `tv`, weighted, means over the batch.

    Per crop with N = Σ t: count = |ΣD − N|; ot = entropic transport of D/ΣD to the heads' t/N by
    squared pixels; tv = N · Σ |D/ΣD − t/N| over the cells, each head in its cell. A crop without
    heads has its count alone.
    """
    terms = [
        _crop_terms(one, predicted) for one, predicted in zip(heads, density[:, 0], strict=True)
    ]
    count, transport, variation = (
        torch.stack(column).mean() for column in zip(*terms, strict=True)
    )
    return {"count": count, "ot": ot_weight * transport, "tv": TV_WEIGHT * variation}


def _crop_terms(heads, density: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    total, people = density.sum(), heads.targets.sum()
    count = (total - people).abs()
    if not len(heads.points):
        return count, 0 * total, 0 * total
    share = density.flatten() / total.clamp_min(SMALLEST)
    wanted = heads.targets / people
    cost = squared_distances(heads.points, density.shape)
    transport = sinkhorn_cost(cost, wanted, share)
    cells = torch.zeros_like(share).index_add(0, nearest_cells(heads.points, density.shape), wanted)
    return count, transport, people * (share - cells).abs().sum()


def sinkhorn_potentials(
    cost: Tensor, rows: Tensor, columns: Tensor, reg: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """Dual potentials of entropic optimal transport, by Sinkhorn's iterations.

    The plan exp((f + g − cost) / reg) has the wanted columns exactly, and the rows in the limit.
    Plain iterations lose all mass here: exp(−cost / 10) is 0 from 32 pixels on in float32. So the
    potentials are kept as logarithms; what an iteration changes is a factor on the plan of a former
    one, taken into the logarithms when it grows beyond e^±100. In double precision what has
    underflowed in that plan, below e^−745, is then negligible, and iterations are two products.

    Args:
        cost: `[n, m]`.
        rows: masses `[n]`, positive.
        columns: masses `[m]`, positive, of the same total.
        reg: weight of the entropy, in units of the cost.
        iterations: number of updates of both.

    Returns:
        f `[n]` and g `[m]`, in the precision of the cost.
    """
    scaled, rows, columns = (cost / -reg).double(), rows.double(), columns.double()
    g = torch.zeros_like(columns)
    u, v = torch.ones_like(rows), torch.ones_like(columns)
    plan = scaled.new_zeros(scaled.shape)
    for _ in range(iterations):
        next_u = rows / (plan @ v)
        next_v = columns / (next_u @ plan)
        if _is_small(next_u) and _is_small(next_v):
            u, v = next_u, next_v
            continue
        f, g = log_step(scaled, rows, columns, g + v.log())
        plan = torch.exp(scaled + f[:, None] + g)
        u, v = torch.ones_like(rows), torch.ones_like(columns)
    return ((f + u.log()) * reg).to(cost), ((g + v.log()) * reg).to(cost)


def log_potentials(
    cost: Tensor, rows: Tensor, columns: Tensor, reg: float, iterations: int
) -> tuple[Tensor, Tensor]:
    """The readable twin of `sinkhorn_potentials`, with every iteration in the log domain."""
    g = torch.zeros_like(columns)
    for _ in range(iterations):
        f, g = log_step(cost / -reg, rows, columns, g)
    return f * reg, g * reg


def log_step(scaled: Tensor, rows: Tensor, columns: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """One iteration: f that gives the plan exp(scaled + f + g) its rows, then g its columns."""
    f = rows.log() - torch.logsumexp(scaled + g, dim=1)
    return f, columns.log() - torch.logsumexp(scaled + f[:, None], dim=0)


def _is_small(factors: Tensor) -> bool:
    return bool((factors.log().abs() <= LARGEST_LOG).all())


def sinkhorn_cost(
    cost: Tensor,
    rows: Tensor,
    columns: Tensor,
    reg: float = REGULARISATION,
    iterations: int = ITERATIONS,
) -> Tensor:
    """Transported cost Σ plan · cost, whose gradient in `columns` is the dual potential g.

    As in the paper the iterations are not differentiated: by the envelope theorem g is the
    gradient of the entropic optimum, up to a constant that a sum of shares does not see.

    Args:
        cost: `[n, m]`.
        rows: masses `[n]`, positive.
        columns: masses `[m]`; what is below 1e-12 counts as that.
        reg: weight of the entropy, in units of the cost.
        iterations: of Sinkhorn.
    """
    with torch.no_grad():
        masses = columns.clamp_min(SMALLEST)
        masses = masses * (rows.sum() / masses.sum())
        f, g = sinkhorn_potentials(cost, rows, masses, reg, iterations)
        value = (torch.exp((f[:, None] + g - cost) / reg) * cost).sum()
    linear = (columns * g).sum()
    return value + linear - linear.detach()
