"""Options of the SSIM cost and of the alignment: commands read them without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import torch

VARIANTS = ("official", "global")
# The last two match nothing: as many source patches as the paper's method uses, drawn at random,
# and all of them. The selection is measured against them.
ALIGNMENTS = ("mgot", "daot", "no-clusters", "random", "all")
MARGINALS = ("uniform", "sizes")


@dataclass(frozen=True)
class SsimCost:
    """How the cost 1 − mean SSIM is computed; called with both sides, it computes it.

    Attributes:
        variant: "official" or "global".
        device: where to compute, "cpu" or a GPU such as "cuda:0"; None: where the target is.
    """

    variant: str = VARIANTS[0]
    device: str | torch.device | None = None

    def __call__(self, target, source) -> np.ndarray:
        """Cost of every pair, float32 `[n, m]` (see `mgot.ssim_cost`)."""
        from mgot.ssim import ssim_cost

        return ssim_cost(target, source, self.variant, self.device)


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
