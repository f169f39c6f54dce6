"""2D Gaussians: rasterise, fit to a photo, store."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from crowd.io.lazy import lazy_package

if TYPE_CHECKING:
    from GS2D.fitting import Gaussians, fit_gaussians
    from GS2D.rasterizer import rasterize

__all__ = ["Convergence", "Gaussians", "fit_gaussians", "rasterize"]
__getattr__, __dir__ = lazy_package(
    __name__,
    {
        "Gaussians": "GS2D.fitting",
        "fit_gaussians": "GS2D.fitting",
        "rasterize": "GS2D.rasterizer",
    },
)


@dataclass(frozen=True)
class Convergence:
    """Stop when the loss is flat: the means of two windows in a row differ too little.

    Adam's steps do not shrink, so that the loss of single iterations never comes to rest; the mean
    over a window does. Render loss and whole loss must both be flat: where thin Gaussians fight the
    shape loss of one at a time, it falls long after the render has settled; and while both move,
    their sum may stand still.

    Attributes:
        threshold: Difference of the means relative to the earlier one, below which it is flat.
        window: Iterations of a window.
    """

    threshold: float = 0.002
    window: int = 200
