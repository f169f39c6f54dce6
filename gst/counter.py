"""A trained counter of GST from its checkpoint alone."""

from __future__ import annotations

import os

import torch

from crowd.count import counter
from crowd.count.counter import Counter, Method
from gst.models import MODELS, build_model
from gst.photos import Preprocessing

__all__ = ["Counter", "load_counter"]

GST = Method(build_model, MODELS, Preprocessing, "train_gs.py", "--model-name")


def load_counter(
    path: str | os.PathLike, device: torch.device, model_name: str | None = None
) -> Counter:
    """Rebuild a counter of train_gs.py (see `crowd.count.counter.load_counter`)."""
    return counter.load_counter(path, device, GST, model_name)
