"""Constants of SSIM; options of its cost and of the alignment, read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

VARIANTS = ("official", "global")
# (0.01 L)² and (0.03 L)² of SSIM, with L = 1 the height of a FIDT peak.
C1, C2 = 1e-4, 9e-4
WINDOW_AREA = 256.0 * 256.0
# The last two match nothing: as many source patches as the paper's method uses, drawn at random,
# and all of them. The selection is measured against them.
ALIGNMENTS = ("mgot", "daot", "no-clusters", "random", "all")
MARGINALS = ("uniform", "sizes")


@dataclass(frozen=True)
class SsimCost:
    """How the cost 1 − mean SSIM is computed: the options of `mgot.ssim_cost`.

    Attributes:
        variant: "official" or "global".
        device: where to compute, "cpu" or a GPU such as "cuda:0"; None: where the target is.
    """

    variant: str = VARIANTS[0]
    device: str | torch.device | None = None


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

    ssim: SsimCost = SsimCost()
    cluster_reg: float = 1e-3
    patch_reg: float = 1e-3
    mass: float = 1.0
    marginals: str = MARGINALS[0]
