"""2D Gaussians: rasterise, fit to a photo, store."""

from typing import TYPE_CHECKING

from crowd.io.lazy import lazy_package

if TYPE_CHECKING:
    from GS2D.fitting import Gaussians, fit_gaussians
    from GS2D.rasterizer import rasterize
    from GS2D.schedule import Convergence

__all__ = ["Convergence", "Gaussians", "fit_gaussians", "rasterize"]
__getattr__, __dir__ = lazy_package(
    __name__,
    {
        "Convergence": "GS2D.schedule",
        "Gaussians": "GS2D.fitting",
        "fit_gaussians": "GS2D.fitting",
        "rasterize": "GS2D.rasterizer",
    },
)
