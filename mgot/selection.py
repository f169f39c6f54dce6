"""From features and clusters to the selected source patches and their weights.

The paper's alignment matches clusters, then the patches of matched clusters. The others are what it
is compared with: the same without clusters, and DAOT (arXiv 2308.05311).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

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
from mgot.ssim_cost import ssim_cost
from mgot.transport import Transport

ALIGNMENTS = ("mgot", "daot", "no-clusters")
MARGINALS = ("uniform", "sizes")


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
        clusters: target and source cluster; None without clusters.
        cluster_cost: 1 − mean SSIM of their centres.
    """

    target: np.ndarray
    source: np.ndarray
    weight: np.ndarray
    cost: np.ndarray
    sizes: tuple[int, int]
    transport: Transport
    clusters: tuple[int, int] | None = None
    cluster_cost: float | None = None

    @property
    def listed(self) -> np.ndarray:
        """Positions of the pairs that the selection lists: a source patch once, at its first."""
        return np.sort(np.unique(self.source, return_index=True)[1])


@dataclass(frozen=True)
class Alignment:
    """What an alignment selects.

    Attributes:
        groups: in the order of the target clusters.
        available: number of source patches there are.
        cluster_transport: the plan between clusters; None without clusters.
    """

    groups: list[Group]
    available: int
    cluster_transport: Transport | None = None

    def _listed(self, name: str) -> np.ndarray:
        return np.concatenate([getattr(group, name)[group.listed] for group in self.groups])

    @property
    def source(self) -> np.ndarray:
        """int64 `[p]`, the selected source patches; one may repeat across groups."""
        return self._listed("source")

    @property
    def target(self) -> np.ndarray:
        """int64 `[p]`, for each selected source patch the first target patch that chose it."""
        return self._listed("target")

    @property
    def weight(self) -> np.ndarray:
        """float64 `[p]`, the weights of the selected source patches."""
        return self._listed("weight")

    @property
    def cost(self) -> np.ndarray:
        """float64 `[p]`, 1 − mean SSIM of `target` and `source`."""
        return self._listed("cost")


def align_clusters(
    target: Features,
    source: Features,
    target_clusters: Clusters,
    source_clusters: Clusters,
    cluster_reg: float = 1e-3,
    patch_reg: float = 1e-3,
    mass: float | None = None,
    marginals: str = "uniform",
    variant: str = "official",
    device: torch.device | None = None,
) -> Alignment:
    """Match clusters by their centres, then the patches of matched clusters (the paper's method).

    Args:
        target: features of the target patches.
        source: features of the source patches.
        target_clusters: partition of the target features.
        source_clusters: partition of the source features.
        cluster_reg: weight of the entropy between clusters.
        patch_reg: weight of the entropy between patches.
        mass: share of the patches' mass to move, in (0, 1]; None as the release: all.
        marginals: mass of the clusters, "uniform" (released) or their "sizes".
        variant: of `ssim_cost`.
        device: of `ssim_cost`.

    Raises:
        InputError: features that are not finite, or a mass so small that nothing is matched.
    """
    cost = ssim_cost(target_clusters.centers, source_clusters.centers, variant, device)
    sizes = (target_clusters.sizes, source_clusters.sizes) if marginals == "sizes" else ()
    matching = match_clusters_by_cost(cost, cluster_reg, *sizes)
    groups = []
    for number, partner in enumerate(matching.index.tolist()):
        rows, columns = target_clusters.members[number], source_clusters.members[partner]
        patch_cost = ssim_cost(target.rows(rows), source.rows(columns), variant, device)
        groups.append(
            _group(
                match_patches_by_cost(patch_cost, patch_reg, mass),
                patch_cost,
                rows,
                columns,
                clusters=(number, partner),
                cluster_cost=float(cost[number, partner]),
            )
        )
    return _alignment(groups, source, matching.transport)


def align_patches(
    target: Features,
    source: Features,
    reg: float = 1e-3,
    mass: float | None = None,
    variant: str = "official",
    device: torch.device | None = None,
) -> Alignment:
    """Match all patches at once (ablation: no clusters). Arguments as for `align_clusters`."""
    rows, columns = np.arange(len(target)), np.arange(len(source))
    cost = ssim_cost(target.all(), source.all(), variant, device)
    matching = match_patches_by_cost(cost, reg, mass)
    return _alignment([_group(matching, cost, rows, columns)], source)


def align_daot(
    target: Features,
    source: Features,
    reg: float = 1e-3,
    variant: str = "official",
    device: torch.device | None = None,
) -> Alignment:
    """Match all patches at once with dustbins (DAOT); all weights are 1."""
    rows, columns = np.arange(len(target)), np.arange(len(source))
    costs = daot_costs(target.all(), source.all(), variant, device)
    matching = match_daot_by_cost(*costs, reg)
    return _alignment([_group(matching, costs[0], rows, columns)], source)


def _alignment(
    groups: list[Group], source: Features, transport: Transport | None = None
) -> Alignment:
    if not any(len(group.target) for group in groups):
        raise InputError("no target patch moved 1 % of its mass: choose a larger --mass")
    return Alignment(groups, len(source), transport)


def _group(
    matching: Matching, cost: np.ndarray, rows: np.ndarray, columns: np.ndarray, **clusters
) -> Group:
    """Name pairs by their indices into the features; rows that chose no patch are left out."""
    chose = np.flatnonzero(matching.index >= 0)
    chosen = matching.index[chose]
    return Group(
        target=rows[chose],
        source=columns[chosen],
        weight=matching.weight[chose],
        cost=cost[chose, chosen].astype(np.float64),
        sizes=(len(rows), len(columns)),
        transport=matching.transport,
        **clusters,
    )
