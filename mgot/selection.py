"""From features and clusters to the selected source patches, their weights, and what is said of it.

The paper's alignment matches clusters, then the patches of matched clusters. The others are what it
is compared with: the same without clusters, and DAOT (arXiv 2308.05311).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowd.io.errors import InputError
from mgot.alignment import (
    Matching,
    daot_costs,
    match_clusters_by_cost,
    match_daot_by_cost,
    match_patches_by_cost,
)
from mgot.cluster_files import Clusters
from mgot.feature_files import Features
from mgot.ssim_cost import OFFICIAL, SsimCost
from mgot.transport import Transport

ALIGNMENTS = ("mgot", "daot", "no-clusters")
MARGINALS = ("uniform", "sizes")
ROUNDING = 1e-6


@dataclass(frozen=True)
class AlignmentOptions:
    """How features are aligned; the defaults are the release's.

    Attributes:
        ssim: the cost.
        cluster_reg: weight of the entropy between clusters.
        patch_reg: weight of the entropy between patches.
        mass: share of the patches' mass to move, in (0, 1].
        marginals: mass of the clusters, "uniform" or their "sizes".
    """

    ssim: SsimCost = OFFICIAL
    cluster_reg: float = 1e-3
    patch_reg: float = 1e-3
    mass: float = 1.0
    marginals: str = MARGINALS[0]


RELEASED = AlignmentOptions()


@dataclass(frozen=True)
class Group:
    """Target patches matched together: a target cluster, or all of them.

    Attributes:
        target: int64 `[n]`, the target patches that chose, as indices into the features.
        source: int64 `[n]`, the source patch that each chose.
        weight: float64 `[n]`, the weight of that patch.
        cost: float64 `[n]`, 1 − mean SSIM of each pair.
        sizes: target and source patches that were matched.
        transport: the plan, with its residual.
        clusters: target and source cluster, and the cost of their centres; empty without clusters.
    """

    target: np.ndarray
    source: np.ndarray
    weight: np.ndarray
    cost: np.ndarray
    sizes: tuple[int, int]
    transport: Transport
    clusters: dict[str, float]

    @property
    def listed(self) -> np.ndarray:
        """Positions of the pairs that the selection lists: a source patch once, at its first."""
        return np.sort(np.unique(self.source, return_index=True)[1])


class Alignment:
    """What an alignment selects.

    Attributes:
        groups: in the order of the target clusters.
        available: number of source patches there are.
        cluster_transport: the plan between clusters; None without clusters.
        source: int64 `[p]`, the selected source patches; one may repeat across groups.
        target: int64 `[p]`, for each selected source patch the first target patch that chose it.
        weight: float64 `[p]`, the weights of the selected source patches.
        cost: float64 `[p]`, 1 − mean SSIM of `target` and `source`.

    Raises:
        InputError: nothing was matched.
    """

    def __init__(self, groups: list[Group], available: int, transport: Transport | None = None):
        if not any(len(group.target) for group in groups):
            raise InputError("no target patch moved 1 % of its mass: choose a larger --mass")
        self.groups, self.available, self.cluster_transport = groups, available, transport
        self.source, self.target, self.weight, self.cost = (
            np.concatenate([getattr(group, name)[group.listed] for group in groups])
            for name in ("source", "target", "weight", "cost")
        )


def align(
    how: str,
    target: Features,
    source: Features,
    clusters: tuple[Clusters, Clusters] | None = None,
    options: AlignmentOptions = RELEASED,
) -> Alignment:
    """Align by one of `ALIGNMENTS`; `mgot` needs the clusters of target and source."""
    if how == "mgot":
        return align_clusters(target, source, clusters, options)
    return (align_daot if how == "daot" else align_patches)(target, source, options)


def align_clusters(
    target: Features,
    source: Features,
    clusters: tuple[Clusters, Clusters],
    options: AlignmentOptions = RELEASED,
) -> Alignment:
    """Match clusters by their centres, then the patches of matched clusters (the paper's method).

    Args:
        target: features of the target patches.
        source: features of the source patches.
        clusters: partitions of the two.
        options: see `AlignmentOptions`.

    Raises:
        InputError: features that are not finite, or a mass so small that nothing is matched.
    """
    cost = options.ssim(*(side.centers for side in clusters))
    sizes = [side.sizes for side in clusters] if options.marginals == "sizes" else ()
    matching = match_clusters_by_cost(cost, options.cluster_reg, *sizes)
    groups = []
    for number, partner in enumerate(matching.index.tolist()):
        rows, columns = clusters[0].members[number], clusters[1].members[partner]
        patch_cost = options.ssim(target.rows(rows), source.rows(columns))
        patches = match_patches_by_cost(patch_cost, options.patch_reg, options.mass)
        pair = {"target_cluster": number, "source_cluster": partner}
        pair["cluster_cost"] = float(cost[number, partner])
        groups.append(_group(patches, patch_cost, rows, columns, pair))
    return Alignment(groups, len(source), matching.transport)


def align_patches(
    target: Features, source: Features, options: AlignmentOptions = RELEASED
) -> Alignment:
    """Match all patches at once (ablation: no clusters). Arguments as for `align_clusters`."""
    cost = options.ssim(target.all(), source.all())
    matching = match_patches_by_cost(cost, options.patch_reg, options.mass)
    return Alignment([_group(matching, cost)], len(source))


def align_daot(
    target: Features, source: Features, options: AlignmentOptions = RELEASED
) -> Alignment:
    """Match all patches at once with dustbins (DAOT); all weights are 1."""
    costs = daot_costs(target.all(), source.all(), options.ssim)
    matching = match_daot_by_cost(*costs, options.patch_reg)
    return Alignment([_group(matching, costs[0])], len(source))


def _group(
    matching: Matching, cost: np.ndarray, rows=None, columns=None, clusters: dict | None = None
) -> Group:
    """Name pairs by their indices into the features; rows that chose no patch are left out.

    Without `rows` and `columns` these are all features.
    """
    chose = np.flatnonzero(matching.index >= 0)
    chosen = matching.index[chose]
    return Group(
        target=chose if rows is None else rows[chose],
        source=chosen if columns is None else columns[chosen],
        weight=matching.weight[chose],
        cost=cost[chose, chosen].astype(np.float64),
        sizes=cost.shape,
        transport=matching.transport,
        clusters=clusters or {},
    )


def summarise(alignment: Alignment, weights: np.ndarray) -> dict:
    """Return the figures of an alignment, ready for JSON; `weights` as written to the file."""
    summary = {
        "selected": len(alignment.source),
        "used": len(np.unique(alignment.source)),
        "available": alignment.available,
        "weights": {
            name: float(getattr(np, name)(weights)) for name in ("min", "median", "mean", "max")
        }
        | {"std": float(weights.std()), "above_1": int((weights > 1 + ROUNDING).sum())},
        "groups": [_figures(group) for group in alignment.groups],
    }
    if alignment.cluster_transport:
        summary["clusters"] = _convergence(alignment.cluster_transport)
    return summary


def _figures(group: Group) -> dict:
    return {
        **group.clusters,
        "target_patches": group.sizes[0],
        "source_patches": group.sizes[1],
        "selected": len(group.listed),
        "unmatched": group.sizes[0] - len(group.target),
        "mean_cost": float(group.cost.mean()) if len(group.cost) else None,
        **_convergence(group.transport),
    }


def _convergence(transport: Transport) -> dict:
    return {name: getattr(transport, name) for name in ("residual", "iterations", "converged")}


# Columns of the table that is printed.
COLUMNS = {
    "target_cluster": "target cluster",
    "source_cluster": "source cluster",
    "cluster_cost": "cost",
    "target_patches": "target patches",
    "source_patches": "source patches",
    "selected": "selected",
    "unmatched": "unmatched",
    "mean_cost": "mean cost",
    "residual": "residual",
}


def describe(summary: dict) -> str:
    """Return the lines that a reader needs: matches, residuals, patches used, spread of weights.

    Args:
        summary: as `summarise` returns it; with the command's `arguments`, where there are any, it
            is said why all weights are 1.
    """
    groups, spread = summary["groups"], summary["weights"]
    columns = {name: title for name, title in COLUMNS.items() if name in groups[0]}
    lines = ["  ".join(columns.values())]
    for group in groups:
        cells = (_cell(group[name]).rjust(len(title)) for name, title in columns.items())
        lines.append("  ".join(cells))
    parts = {"clusters": summary.get("clusters")}
    parts |= {f"row {number}": group for number, group in enumerate(groups, start=1)}
    lines += [
        f"{name}: not converged after {part['iterations']} iterations, residual "
        f"{part['residual']:.2g} of the mass"
        for name, part in parts.items()
        if part and not part["converged"]
    ]
    lines.append(
        f"{summary['used']} of {summary['available']} source patches used, in "
        f"{summary['selected']} entries"
    )
    weights = (
        f"weights {spread['min']:.4f} to {spread['max']:.4f}, mean {spread['mean']:.4f}, standard "
        f"deviation {spread['std']:.4f}, {spread['above_1']} above 1"
    )
    lines.append(weights if spread["above_1"] else "all weights are 1" + _reason(summary))
    return "\n".join(lines)


def _reason(summary: dict) -> str:
    arguments = summary.get("arguments", {})
    if not arguments.get("weights", True):
        return " (--no-weights)"
    return ", as always at --mass 1" if arguments.get("mass") in (None, 1) else ""


def _cell(value: float | int | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3g}"
