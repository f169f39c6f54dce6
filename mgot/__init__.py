"""MGOT: multi-granularity distribution alignment for cross-domain crowd counting."""

from mgot.alignment import match_clusters, match_patches
from mgot.maps import fidt_map, local_maxima
from mgot.ssim import ssim_cost

__all__ = [
    "build_model",
    "fidt_map",
    "local_maxima",
    "match_clusters",
    "match_patches",
    "ssim_cost",
]


def __getattr__(name: str):
    """Import the models, and with them timm, only when one is built."""
    if name == "build_model":
        from mgot.models import build_model

        return build_model
    raise AttributeError(f"module 'mgot' has no attribute '{name}'")
