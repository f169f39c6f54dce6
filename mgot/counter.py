"""A trained counter of MGOT from its checkpoint alone, and the heads that it finds in a photo."""

from __future__ import annotations

import functools

import numpy as np

from crowd.count import counter
from crowd.count.counter import Counter, Method
from crowd.count.photos import Annotate
from crowd.data.network_input import photo_tensor
from crowd.pictures.overlays import heads_overlay
from mgot.evaluation import peak_centers, predict_map
from mgot.models import MODELS, build_model
from mgot.photos import Preprocessing

__all__ = ["Counter", "annotator", "heads_of", "load_counter"]

MGOT = Method(build_model, MODELS, Preprocessing, "mgot.train_baseline")
# Of mgot.train_baseline or train_baseline_weight.py, or released weights.
load_counter = functools.partial(counter.load_counter, method=MGOT)


def heads_of(counter: Counter, image: np.ndarray, name: str, tile: int = 0) -> np.ndarray:
    """Find the heads of a photo, uint8 [H, W, 3]: centres (x, y), float32 [M, 2], pixels.

    Raises `InputError` naming the photo when its map is not finite.
    """
    fidt_map = predict_map(counter.model, photo_tensor(image, counter.preprocessing), tile)
    return peak_centers(fidt_map, name, counter.preprocessing.smooth)


def annotator(counter: Counter, tile: int = 0) -> Annotate:
    """Return what counts a photo and marks the heads in it."""

    def look(image: np.ndarray, name: str) -> tuple[float, np.ndarray]:
        heads = heads_of(counter, image, name, tile)
        return len(heads), heads_overlay(image, heads)

    return look
