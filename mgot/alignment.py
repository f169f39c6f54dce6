"""Alignment of target to source by optimal transport: clusters, patches, and their weights.

The paper's alignment matches clusters, then the patches of matched clusters. The others are what it
is compared with: the same without clusters, and DAOT (arXiv 2308.05311), which has dustbins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crowd.io.errors import InputError
from mgot.maps import PATCH_SIDE
from mgot.options import AlignmentOptions, SsimCost
from mgot.transport import Transport, entropic_partial, sinkhorn

if TYPE_CHECKING:
    from mgot.feature_files import Clusters, Features

CLUSTER_ITERATIONS = 2000
PATCH_ITERATIONS = 1000
PATCH_TOLERANCE = 1e-10
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
        ssim: the cost.

    Returns int64 `[k]`, the source cluster that receives most of each target cluster. Raises
    `InputError` for an empty side, or centres that are not finite.
    """
    return match_clusters_by_cost(ssim(target_centers, source_centers), reg).index


def match_clusters_by_cost(cost, reg: float = DEFAULT.cluster_reg, sizes=(None, None)) -> Matching:
    """As `match_clusters`, from a cost `[k, l]`; all weights are 1.

    Masses are uniform, as in the released code, or by the patches of the target's and the source's
    clusters, `sizes` `[k]` and `[l]`.
    """
    masses = (None if given is None else np.divide(given, np.sum(given)) for given in sizes)
    transport = sinkhorn(cost, *masses, reg, max_iterations=CLUSTER_ITERATIONS)
    return Matching(_partners(transport.plan), np.ones(len(transport.plan)), transport)


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
        ssim: the cost.

    Returns:
        int64 `[n]`, the source patch chosen by each target patch, and float64 `[n]`, its weight.

    Raises:
        InputError: an empty side, values that are not finite, or a mass outside (0, 1].
    """
    matching = match_patches_by_cost(ssim(target, source), reg, mass)
    return matching.index, matching.weight


def match_patches_by_cost(
    cost, reg: float = DEFAULT.patch_reg, mass: float | None = None
) -> Matching:
    """As `match_patches`, from a cost `[n, m]`; the matching carries the plan and its residual.

    The value of a chosen source patch is its column sum. A patch above the mean of the chosen
    values (one per target row that chose, repeats included) is weighted by value / mean, any other
    by 1: the released form of the paper's re-weighting.
    """
    transport = entropic_partial(
        cost, mass=mass, reg=reg, max_iterations=PATCH_ITERATIONS, tolerance=PATCH_TOLERANCE
    )
    plan = transport.plan
    moved = plan.sum(axis=1) >= LEAST_SHARE / len(plan)
    index = np.where(moved, _partners(plan), -1)
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
    dustbins = (ssim(side, ones)[:, 0] for side in (target, source))
    return (ssim(target, source), *dustbins, float(ssim(ones, 0.0 * ones)[0, 0]))


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
    transport = sinkhorn(extended, reg=reg, max_iterations=PATCH_ITERATIONS)
    index = _partners(transport.plan[:-1, :-1])
    return Matching(index, np.ones(len(index)), transport)


def _partners(plan: np.ndarray) -> np.ndarray:
    """The column of each row's largest mass; where only rounding tells columns apart, the first."""
    return (plan >= plan.max(axis=1, keepdims=True) * (1 - ROUNDING)).argmax(axis=1)


@dataclass(frozen=True)
class Alignment:
    """What an alignment selects, of target clusters (or all target patches) one after the other.

    Attributes:
        source: int64 `[p]`, the selected source patches; one may repeat across clusters.
        target: int64 `[p]`, for each the first target patch of the cluster that chose it.
        weight: float64 `[p]`, their weights.
        cost: float64 `[p]`, 1 − mean SSIM of `target` and `source`.
        group: int64 `[p]`, which cluster each is of.
        groups: figures of each cluster's matching, ready for JSON.
        clusters: how far the transport between clusters came; empty without clusters.
    """

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    cost: np.ndarray
    group: np.ndarray
    groups: list[dict]
    clusters: dict


def align(
    how: str,
    target: Features,
    source: Features,
    clusters: tuple[Clusters, Clusters] | None = None,
    options: AlignmentOptions = DEFAULT,
) -> Alignment:
    """Select source patches by one of `ALIGNMENTS`, and weigh them.

    Args:
        how: `mgot`, the paper's method: clusters by their centres, then the patches of matched
            clusters; `no-clusters`: all patches at once; `daot`: these with dustbins, weights 1.
        target: features of the target patches.
        source: features of the source patches.
        clusters: for `mgot`, partitions of the two.
        options: see `AlignmentOptions`.

    Raises:
        InputError: features that are not finite, or a mass so small that nothing is matched.
    """
    pairs, between = [(np.arange(len(target)), np.arange(len(source)), {})], {}
    if how == "mgot":
        pairs, between = _match_clusters(*clusters, options)
    parts, groups = [], []
    for number, (rows, columns, names) in enumerate(pairs):
        sides = target.rows(rows), source.rows(columns)
        if how == "daot":
            cost, *dustbins = daot_costs(*sides, options.ssim)
            matching = match_daot_by_cost(cost, *dustbins, options.patch_reg)
        else:
            cost = options.ssim(*sides)
            matching = match_patches_by_cost(cost, options.patch_reg, options.mass)
        chose = np.flatnonzero(matching.index >= 0)
        chosen = matching.index[chose]
        costs = cost[chose, chosen].astype(np.float64)
        # A source patch is listed once a cluster, where it is chosen first.
        first = np.sort(np.unique(chosen, return_index=True)[1])
        listed = columns[chosen[first]], rows[chose[first]], matching.weight[chose[first]]
        parts.append((*listed, costs[first], np.full(len(first), number)))
        figures = {
            "target_patches": len(rows),
            "source_patches": len(columns),
            "selected": len(first),
            "unmatched": len(rows) - len(chose),
            "mean_cost": float(costs.mean()) if len(chose) else None,
        }
        groups.append(names | figures | matching.transport.convergence())
    arrays = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if not len(arrays[0]):
        raise InputError("no target patch moved 1 % of its mass: choose a larger --mass")
    return Alignment(*arrays, groups, between)


def _match_clusters(target: Clusters, source: Clusters, options: AlignmentOptions):
    """Members and names of each target cluster and its partner; how the transport converged."""
    cost = options.ssim(target.centers, source.centers)
    sizes = [list(map(len, side.members)) for side in (target, source)]
    by_sizes = [sizes] if options.marginals == "sizes" else []
    matching = match_clusters_by_cost(cost, options.cluster_reg, *by_sizes)
    pairs = []
    for number, partner in enumerate(matching.index.tolist()):
        names = {"target_cluster": number, "source_cluster": partner}
        names["cluster_cost"] = float(cost[number, partner])
        pairs.append((target.members[number], source.members[partner], names))
    return pairs, matching.transport.convergence()


def summarise(alignment: Alignment, weights: np.ndarray, available: int) -> dict:
    """Return what is known of an alignment, ready for JSON.

    Args:
        alignment: what was selected.
        weights: as written to the file, float64 `[p]`.
        available: number of source patches there are.
    """
    spread = {name: float(getattr(weights, name)()) for name in ("min", "mean", "max", "std")}
    spread |= {"median": float(np.median(weights)), "above_1": int((weights > 1 + 1e-6).sum())}
    summary = {
        "selected": len(alignment.source),
        "used": len(np.unique(alignment.source)),
        "available": available,
        "weights": spread,
        "groups": alignment.groups,
    }
    return summary | ({"clusters": alignment.clusters} if alignment.clusters else {})


def describe(summary: dict, why_all_1: str) -> str:
    """Return the lines that a reader needs: matches, residuals, patches used, spread of weights.

    Args:
        summary: as `summarise` returns it.
        why_all_1: what is said where all weights are 1.
    """
    groups = summary["groups"]
    names = [name for name in groups[0] if name not in ("iterations", "converged")]
    lines = ["  ".join(name.replace("_", " ") for name in names)]
    for group in groups:
        cells = ("–" if group[name] is None else f"{group[name]:.5g}" for name in names)
        lines.append("  ".join(f"{c:>{len(name)}}" for c, name in zip(cells, names, strict=True)))
    parts = {"clusters": summary["clusters"]} if "clusters" in summary else {}
    parts |= {f"row {number}": group for number, group in enumerate(groups, start=1)}
    lines += [
        f"{name}: not converged after {part['iterations']} iterations, residual "
        f"{part['residual']:.2g} of the mass"
        for name, part in parts.items()
        if not part["converged"]
    ]
    used = "{used} of {available} source patches used, in {selected} entries"
    spread = "weights {min:.4f} to {max:.4f}, mean {mean:.4f}, standard deviation {std:.4f}, "
    spread += "{above_1} above 1"
    told = spread if summary["weights"]["above_1"] else f"all weights are 1{why_all_1}"
    return "\n".join([*lines, used.format(**summary), told.format(**summary["weights"])])
