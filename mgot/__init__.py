"""MGOT: multi-granularity distribution alignment for cross-domain crowd counting."""

from typing import TYPE_CHECKING

from crowd.io.lazy import lazy_package

if TYPE_CHECKING:
    from mgot.alignment import match_clusters, match_patches
    from mgot.maps import fidt_map, local_maxima
    from mgot.models import build_model
    from mgot.ssim import ssim_cost

__all__ = [
    "build_model",
    "fidt_map",
    "local_maxima",
    "match_clusters",
    "match_patches",
    "ssim_cost",
]
__getattr__, __dir__ = lazy_package(
    __name__,
    {
        "build_model": "mgot.models",
        "fidt_map": "mgot.maps",
        "local_maxima": "mgot.maps",
        "match_clusters": "mgot.alignment",
        "match_patches": "mgot.alignment",
        "ssim_cost": "mgot.ssim",
    },
)
