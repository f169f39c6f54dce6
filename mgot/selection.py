"""From features and clusters to the selected source patches, their weights, and what is said of it.

The paper's alignment matches clusters, then the patches of matched clusters. The others are what it
is compared with: the same without clusters, and DAOT (arXiv 2308.05311).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowd.io.errors import InputError
from mgot.alignment import (
    daot_costs,
    match_clusters_by_cost,
    match_daot_by_cost,
    match_patches_by_cost,
)
from mgot.cluster_files import Clusters
from mgot.feature_files import Features
from mgot.options import AlignmentOptions
from mgot.transport import Transport

ROUNDING = 1e-6
RELEASED = AlignmentOptions()


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
        available: number of source patches there are.
    """

    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    cost: np.ndarray
    group: np.ndarray
    groups: list[dict]
    clusters: dict
    available: int


def align(
    how: str,
    target: Features,
    source: Features,
    clusters: tuple[Clusters, Clusters] | None = None,
    options: AlignmentOptions = RELEASED,
) -> Alignment:
    """Select source patches by one of `ALIGNMENTS`.

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
        groups.append(names | figures | _convergence(matching.transport))
    arrays = [np.concatenate(column) for column in zip(*parts, strict=True)]
    if not len(arrays[0]):
        raise InputError("no target patch moved 1 % of its mass: choose a larger --mass")
    return Alignment(*arrays, groups, between, len(source))


def _match_clusters(target: Clusters, source: Clusters, options: AlignmentOptions):
    """Members and names of each target cluster and its partner; how the transport converged."""
    cost = options.ssim(target.centers, source.centers)
    sides = (target, source) if options.marginals == "sizes" else ()
    sizes = [[len(indices) for indices in side.members] for side in sides]
    matching = match_clusters_by_cost(cost, options.cluster_reg, *sizes)
    pairs = []
    for number, partner in enumerate(matching.index.tolist()):
        names = {"target_cluster": number, "source_cluster": partner}
        names["cluster_cost"] = float(cost[number, partner])
        pairs.append((target.members[number], source.members[partner], names))
    return pairs, _convergence(matching.transport)


def _convergence(transport: Transport) -> dict:
    return {name: getattr(transport, name) for name in ("residual", "iterations", "converged")}


def summarise(alignment: Alignment, weights: np.ndarray) -> dict:
    """Return the figures of an alignment, ready for JSON; `weights` as written to the file."""
    spread = {name: float(getattr(weights, name)()) for name in ("min", "mean", "max", "std")}
    spread["median"] = float(np.median(weights))
    summary = {
        "selected": len(alignment.source),
        "used": len(np.unique(alignment.source)),
        "available": alignment.available,
        "weights": spread | {"above_1": int((weights > 1 + ROUNDING).sum())},
        "groups": alignment.groups,
    }
    return summary | ({"clusters": alignment.clusters} if alignment.clusters else {})


def describe(summary: dict) -> str:
    """Return the lines that a reader needs: matches, residuals, patches used, spread of weights.

    Args:
        summary: as `summarise` returns it; with the command's `arguments`, where there are any, it
            is said why all weights are 1.
    """
    groups, spread = summary["groups"], summary["weights"]
    left_out = ("iterations", "converged")
    titles = {name: name.replace("_", " ") for name in groups[0] if name not in left_out}
    lines = ["  ".join(titles.values())]
    for group in groups:
        cells = (_cell(group[name]).rjust(len(title)) for name, title in titles.items())
        lines.append("  ".join(cells))
    parts = {"clusters": summary["clusters"]} if "clusters" in summary else {}
    parts |= {f"row {number}": group for number, group in enumerate(groups, start=1)}
    lines += [
        f"{name}: not converged after {part['iterations']} iterations, residual "
        f"{part['residual']:.2g} of the mass"
        for name, part in parts.items()
        if not part["converged"]
    ]
    lines.append(
        f"{summary['used']} of {summary['available']} source patches used, in "
        f"{summary['selected']} entries"
    )
    arguments = summary.get("arguments", {})
    if spread["above_1"]:
        lines.append(
            "weights {min:.4f} to {max:.4f}, mean {mean:.4f}, standard deviation {std:.4f}, "
            "{above_1} above 1".format(**spread)
        )
    elif not arguments.get("weights", True):
        lines.append("all weights are 1 (--no-weights)")
    else:
        always = ", as always at --mass 1" if arguments.get("mass") in (None, 1) else ""
        lines.append(f"all weights are 1{always}")
    return "\n".join(lines)


def _cell(value: float | int | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3g}"
