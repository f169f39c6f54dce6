"""From features and clusters to the selected source patches, their weights, and what is said of it.

The paper's alignment matches clusters, then the patches of matched clusters. The others are what it
is compared with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crowd.io.errors import InputError
from mgot.alignment import (
    DEFAULT,
    daot_costs,
    match_clusters_by_cost,
    match_daot_by_cost,
    match_patches_by_cost,
)
from mgot.options import AlignmentOptions
from mgot.ssim import ssim_cost

if TYPE_CHECKING:
    from mgot.feature_files import Clusters, Features


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
    seed: int = 0,
) -> Alignment:
    """Select source patches by one of `ALIGNMENTS`, and weigh them.

    Args:
        how: `mgot`, the paper's method: clusters by their centres, then the patches of matched
            clusters; `no-clusters`: all patches at once; `daot`: these with dustbins, weights 1;
            `random` and `all`, which match nothing: as many patches as `mgot` uses, and all.
        target: features of the target patches.
        source: features of the source patches.
        clusters: for `mgot` and `random`, partitions of the two.
        options: see `AlignmentOptions`.
        seed: of `random`.

    Raises:
        InputError: features that are not finite, or a mass so small that nothing is matched.
    """
    if how == "all":
        return _unmatched(np.arange(len(source)))
    if how == "random":
        used = len(np.unique(align("mgot", target, source, clusters, options).source))
        return _unmatched(np.sort(np.random.default_rng(seed).permutation(len(source))[:used]))
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
            cost = ssim_cost(*sides, **vars(options.ssim))
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


def _unmatched(source: np.ndarray) -> Alignment:
    """The selection of a control: no target patch, and no cost, belongs to any of its patches."""
    nobody, ones = np.full(len(source), -1), np.ones(len(source))
    return Alignment(source, nobody, ones, np.full(len(source), np.nan), nobody, [], {})


def _match_clusters(target: Clusters, source: Clusters, options: AlignmentOptions):
    """Members and names of each target cluster and its partner; how the transport converged."""
    cost = ssim_cost(target.centers, source.centers, **vars(options.ssim))
    sizes = None, None
    if options.marginals == "sizes":
        sizes = [list(map(len, side.members)) for side in (target, source)]
    matching = match_clusters_by_cost(cost, options.cluster_reg, sizes)
    pairs = []
    for number, partner in enumerate(matching.index.tolist()):
        names = {"target_cluster": number, "source_cluster": partner}
        names["cluster_cost"] = float(cost[number, partner])
        pairs.append((target.members[number], source.members[partner], names))
    return pairs, matching.transport.convergence()


def summarise(alignment: Alignment, weights: np.ndarray, available: int) -> dict:
    """Return what is known of an alignment, ready for JSON.

    `weights` are those written to the file, float64 `[p]`; `available` source patches there are.
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

    `why_all_1` is what is said where all weights are 1.
    """
    groups = summary["groups"]
    first = groups[0] if groups else {}
    names = [name for name in first if name not in ("iterations", "converged")]
    lines = ["  ".join(name.replace("_", " ") for name in names)] if groups else []
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
