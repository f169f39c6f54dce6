"""2D Gaussians: rasterise, fit to a photo, store.

`rasterize`, `fit_gaussians` and `Gaussians` are imported at first use, so that reading stored
Gaussians does not cost the import of the compiler.
"""

import importlib

_HOMES = {
    "rasterize": "GS2D.rasterizer",
    "fit_gaussians": "GS2D.fitting",
    "Gaussians": "GS2D.fitting",
    "Convergence": "GS2D.problem",
}

__all__ = ["Convergence", "Gaussians", "fit_gaussians", "rasterize"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'GS2D' has no attribute '{name}'")
    return getattr(importlib.import_module(_HOMES[name]), name)
