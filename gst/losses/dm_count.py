"""DM-Count (Wang et al., NeurIPS 2020): count, optimal transport, total variation."""

from __future__ import annotations

import torch
from torch import Tensor

from crowd.sinkhorn import scale
from gst.losses.grid import nearest_cells, squared_distances

WEIGHTS = {"count": 1.0, "ot": 0.1, "tv": 0.01}
REGULARISATION = 10.0  # squared pixels
ITERATIONS = 100
SMALLEST = 1e-12  # share of a cell, so that its logarithm exists


def dm_count_losses(heads: list, density: Tensor) -> dict[str, Tensor]:
    """`count`, `ot` and `tv`, means over the batch; the paper weighs them as in `WEIGHTS`.

    Per crop with N = Σ t: count = |ΣD − N|; ot = entropic transport of D/ΣD to the heads' t/N by
    squared pixels; tv = N · Σ |D/ΣD − t/N| over the cells, each head in its cell. A crop without
    heads has its count alone.
    """
    terms = [
        _crop_terms(type(one)(*(array.to(density.device) for array in one)), predicted)
        for one, predicted in zip(heads, density[:, 0], strict=True)
    ]
    columns = zip(*terms, strict=True)
    return dict(zip(WEIGHTS, (torch.stack(column).mean() for column in columns), strict=True))


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
        ended = scale(cost, rows, masses, reg, range(iterations))
        value = (ended.plan * cost).sum().to(columns)
        potential = (reg * ended.g).to(columns)
    linear = (columns * potential).sum()
    return value + linear - linear.detach()
