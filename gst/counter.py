"""A trained counter of GST from its checkpoint alone, and the density that it sees in a photo."""

from __future__ import annotations

import functools

import numpy as np

from crowd.count import counter
from crowd.count.counter import Counter, Method
from crowd.count.photos import Annotate, Seen
from crowd.data.network_input import photo_tensor
from crowd.pictures.overlays import density_overlay
from gst.evaluation import STRIDE, count_density, predict_density
from gst.localize import density_heads
from gst.models import BOXED, MODELS, build_model
from gst.photos import Preprocessing

__all__ = ["BOXED", "Counter", "annotator", "density_of", "load_counter"]

GST = Method(build_model, MODELS, Preprocessing, "train_gs.py")
load_counter = functools.partial(counter.load_counter, method=GST)


def density_of(counter: Counter, image: np.ndarray, name: str) -> tuple[float, np.ndarray]:
    """Count a photo, uint8 [H, W, 3]: the count, and the density map float32 [h, w].

    Raises `InputError` naming the photo when the count is not finite.
    """
    tensor = photo_tensor(image, counter.preprocessing)
    density = predict_density(counter.model, tensor, counter.preprocessing.tile)
    return count_density(density, name), density.numpy()


def annotator(counter: Counter) -> Annotate:
    """Return what counts a photo, and lays its density map and the heads in it over it."""

    def look(image: np.ndarray, name: str) -> Seen:
        count, density = density_of(counter, image, name)
        heads, confidence = density_heads(density, STRIDE)
        picture = density_overlay(image, density, STRIDE, heads)
        return Seen(count, picture, heads, confidence, density)

    return look
