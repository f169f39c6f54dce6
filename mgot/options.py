"""Options of the alignment, apart from it: commands offer them without torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mgot.ssim import SsimCost

PATCH_SIDE = 224
VARIANTS = ("official", "global")
ALIGNMENTS = ("mgot", "daot", "no-clusters")
MARGINALS = ("uniform", "sizes")


def _official() -> SsimCost:
    from mgot.ssim import OFFICIAL

    return OFFICIAL


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

    ssim: SsimCost = field(default_factory=_official)
    cluster_reg: float = 1e-3
    patch_reg: float = 1e-3
    mass: float = 1.0
    marginals: str = MARGINALS[0]
