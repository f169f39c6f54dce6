"""A trained counter of MGOT from its checkpoint alone, and the heads that it finds in a photo."""

from __future__ import annotations

import functools

import numpy as np

from crowd.count import counter
from crowd.count.counter import Counter, Method
from crowd.count.photos import Annotate, Seen
from crowd.data.network_input import photo_tensor
from crowd.pictures.overlays import heads_overlay
from mgot.evaluation import peak_centers, predict_map
from mgot.models import MODELS, build_model
from mgot.photos import Preprocessing

__all__ = ["Counter", "annotator", "load_counter"]

MGOT = Method(build_model, MODELS, Preprocessing, "mgot.train_baseline")
# Of mgot.train_baseline or train_baseline_weight.py, or released weights.
load_counter = functools.partial(counter.load_counter, method=MGOT)


def annotator(counter: Counter, tile: int = 0) -> Annotate:
    """Return what finds the heads of a photo and marks them in it; raises as `peak_centers`."""

    def look(image: np.ndarray, name: str) -> Seen:
        fidt_map = predict_map(counter.model, photo_tensor(image, counter.preprocessing), tile)
        heads = peak_centers(fidt_map, name, counter.preprocessing.smooth)
        columns, rows = heads.astype(int).T
        confidence = fidt_map.numpy()[rows, columns].clip(0, 1)
        return Seen(len(heads), heads_overlay(image, heads), heads, confidence)

    return look
