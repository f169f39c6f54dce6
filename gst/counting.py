"""Looking at photos and frames with a counter of GST."""

from __future__ import annotations

import math

import numpy as np
import torch

from crowd.count.photos import Annotate
from crowd.data.network_input import photo_tensor
from crowd.io.errors import InputError
from crowd.pictures.overlays import density_overlay
from gst.counter import Counter
from gst.evaluation import predict_density


def density_of(counter: Counter, image: np.ndarray, name: str) -> tuple[float, np.ndarray]:
    """Count a photo, uint8 [H, W, 3]: the count, and the density map float32 [h, w].

    Raises `InputError` naming the photo when the count is not finite.
    """
    tensor = photo_tensor(image, counter.preprocessing)
    density = predict_density(counter.model, tensor, counter.preprocessing.tile)
    count = density.sum(dtype=torch.float64).item()
    if not math.isfinite(count):
        raise InputError(f"the model counts {count} people in {name}: its weights are lost")
    return count, density.numpy()


def annotator(counter: Counter) -> Annotate:
    """Return what counts a photo and lays its density map over it."""

    def look(image: np.ndarray, name: str) -> tuple[float, np.ndarray]:
        count, density = density_of(counter, image, name)
        return count, density_overlay(image, density)

    return look
