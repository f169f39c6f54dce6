"""How long to fit: iterations, learning rate, convergence."""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True)
class Schedule:
    """How long to fit, and with which steps; without `convergence` all iterations are done."""

    iterations: int = 4000
    lr: float = 0.01
    convergence: Convergence | None = None
