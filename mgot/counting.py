"""Looking at photos and frames with a counter of MGOT."""

from __future__ import annotations

import numpy as np

from crowd.count.photos import Annotate
from crowd.data.network_input import photo_tensor
from crowd.pictures.overlays import heads_overlay
from mgot.counter import Counter
from mgot.evaluation import peak_centers, predict_map


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
