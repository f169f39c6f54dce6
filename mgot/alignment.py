"""Matching of target to source by optimal transport: clusters, patches, and their weights.

DAOT (arXiv 2308.05311), which the paper is compared with, has dustbins and no clusters.
"""

import functools
from dataclasses import dataclass

import numpy as np

from crowd.io.arrays import to_numpy
from mgot.maps import PATCH_SIDE
from mgot.options import AlignmentOptions, SsimCost
from mgot.ssim import ssim_cost
from mgot.transport import Transport, entropic_partial, sinkhorn

# With mass < 1, a target patch of which less than this share moved has no counterpart.
LEAST_SHARE = 0.01
# Masses nearer to each other than this share are equal: a plan is e to the power of thousands, each
# known to a share of 1e-16, and equal patches get equal columns up to that.
ROUNDING = 1e-9
DEFAULT = AlignmentOptions()


@dataclass(frozen=True)
class Matching:
    """The source partner of every target row.

    Attributes:
        index: int64 `[n]`, the chosen source column; −1 where a row chose none.
        weight: float64 `[n]`, the training weight of the chosen patch; 0 where none was chosen.
        transport: the plan behind the choice, with its residual.
    """

    index: np.ndarray
    weight: np.ndarray
    transport: Transport


def match_clusters(
    target_centers, source_centers, reg: float = DEFAULT.cluster_reg, ssim: SsimCost = DEFAULT.ssim
) -> np.ndarray:
    """Match cluster centres (coarse granularity) by balanced transport under the SSIM cost.

    Args:
        target_centers: `[k, 224, 224]` (or `[k, 50176]`).
        source_centers: `[l, 224, 224]`.
        reg: weight of the entropy.
        ssim: options of the cost.

    Returns int64 `[k]`, the source cluster that receives most of each target cluster. Raises
    `InputError` for an empty side, or centres that are not finite.
    """
    cost = ssim_cost(target_centers, source_centers, **vars(ssim))
    return match_clusters_by_cost(cost, reg).index


def match_clusters_by_cost(cost, reg: float = DEFAULT.cluster_reg, sizes=(None, None)) -> Matching:
    """As `match_clusters`, from a cost `[k, l]`; all weights are 1.

    Masses are uniform, as in the released code, or by the patches of the target's and the source's
    clusters, `sizes` `[k]` and `[l]`.
    """
    masses = (None if given is None else np.divide(given, np.sum(given)) for given in sizes)
    transport = sinkhorn(cost, *masses, reg)
    return Matching(_partners(transport.plan, cost), np.ones(len(transport.plan)), transport)


def match_patches(
    target,
    source,
    reg: float = DEFAULT.patch_reg,
    mass: float | None = None,
    ssim: SsimCost = DEFAULT.ssim,
) -> tuple[np.ndarray, np.ndarray]:
    """Match the patches of two matched clusters (fine granularity) by partial transport.

    Args:
        target: patch distributions of the target cluster, `[n, 224, 224]`.
        source: patch distributions of the source cluster, `[m, 224, 224]`.
        reg: weight of the entropy.
        mass: share of the mass to move, in (0, 1]. None moves all of it, as the released code
            does: then every column sum is the fixed marginal and every weight is 1. Below 1, rows
            that move less than 1 % of their mass choose no patch: index −1 and weight 0.
        ssim: options of the cost.

    Returns:
        int64 `[n]`, the source patch chosen by each target patch, and float64 `[n]`, its weight.

    Raises:
        InputError: an empty side, values that are not finite, or a mass outside (0, 1].
    """
    matching = match_patches_by_cost(ssim_cost(target, source, **vars(ssim)), reg, mass)
    return matching.index, matching.weight


def match_patches_by_cost(
    cost, reg: float = DEFAULT.patch_reg, mass: float | None = None
) -> Matching:
    """As `match_patches`, from a cost `[n, m]`; the matching carries the plan and its residual.

    The value of a chosen source patch is its column sum. A patch above the mean of the chosen
    values (one per target row that chose, repeats included) is weighted by value / mean, any other
    by 1: the released form of the paper's re-weighting.
    """
    transport = entropic_partial(cost, mass=mass, reg=reg)
    plan = transport.plan
    moved = plan.sum(axis=1) >= LEAST_SHARE / len(plan)
    index = np.where(moved, _partners(plan, cost), -1)
    weight = np.zeros(len(plan))
    if moved.any():
        values = plan.sum(axis=0)[index[moved]]
        weight[moved] = np.maximum(values / values.mean(), 1.0)
    return Matching(index, weight, transport)


def daot_costs(
    target, source, ssim: SsimCost = DEFAULT.ssim
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """The costs that `match_daot_by_cost` takes: `[n, m]`, both dustbins `[n]`, `[m]`, the corner.

    A patch costs 1 − SSIM(patch, map of ones) to throw away, and the two dustbins
    1 − SSIM(ones, zeros) to pair. Arguments and errors as for `match_patches`.
    """
    ones = np.ones((1, PATCH_SIDE, PATCH_SIDE), np.float32)
    cost = functools.partial(ssim_cost, **vars(ssim))
    dustbins = (cost(side, ones)[:, 0] for side in (target, source))
    return (cost(target, source), *dustbins, float(cost(ones, 0.0 * ones)[0, 0]))


def match_daot_by_cost(
    cost, target_dustbin, source_dustbin, corner: float, reg: float = DEFAULT.patch_reg
) -> Matching:
    """Match patches without clusters, with a dustbin on both sides (DAOT, arXiv 2308.05311).

    From a cost `[n, m]` and the costs of the dustbins `[n]`, `[m]` and corner. Rows (then columns)
    whose every entry costs more than their dustbin have all entries set to the dustbin's cost, so
    that throwing them away is never dearer than a match. (The released code sets them to 0, which
    makes the worst patches the cheapest.) Masses are uniform, dustbins included; weights are 1.
    """
    rows, columns = np.array(target_dustbin)[:, None], np.array(source_dustbin)
    far_rows = cost.min(axis=1, keepdims=True) > rows
    far_columns = cost.min(axis=0) > columns
    inner = np.where(far_columns, columns, np.where(far_rows, rows, cost))
    extended = np.block([[inner, rows], [columns, np.float64(corner)]])
    transport = sinkhorn(extended, reg=reg, max_iterations=1000)
    index = _partners(transport.plan[:-1, :-1], cost)
    return Matching(index, np.ones(len(index)), transport)


def _partners(plan: np.ndarray, cost) -> np.ndarray:
    """The column of each row's largest mass; of those that only rounding tells apart, the cheapest.

    A lone target fills every source alike.
    """
    largest = plan >= plan.max(axis=1, keepdims=True) * (1 - ROUNDING)
    return np.where(largest, to_numpy(cost), np.inf).argmin(axis=1)
