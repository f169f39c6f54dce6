"""Random patches that look like predicted FIDT maps, for the benchmarks of the alignment."""

from __future__ import annotations

import numpy as np

from mgot.maps import fidt_map
from mgot.options import PATCH_SIDE

# Median number of heads in a patch of each kind; a kind becomes a cluster.
HEADS = (2, 12, 40, 120)
SPREAD = 0.4


def random_map(kind: int, random: np.random.Generator) -> np.ndarray:
    """The FIDT map of a patch of some kind, float32 `[224, 224]`."""
    heads = max(int(random.lognormal(np.log(HEADS[kind]), SPREAD)), 1)
    return fidt_map(random.uniform(0, PATCH_SIDE, (heads, 2)), PATCH_SIDE, PATCH_SIDE)


def random_maps(kinds, seed: int) -> np.ndarray:
    """Maps of the given kinds, float32 `[n, 224, 224]`."""
    random = np.random.default_rng(seed)
    return np.stack([random_map(kind, random) for kind in kinds])
