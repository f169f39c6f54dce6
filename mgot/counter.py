"""A trained counter of MGOT from its checkpoint alone."""

from __future__ import annotations

import os

import torch

from crowd.count import counter
from crowd.count.counter import Counter, Method
from mgot.models import MODELS, build_model
from mgot.photos import Preprocessing

__all__ = ["Counter", "load_counter"]

MGOT = Method(build_model, MODELS, Preprocessing, "mgot.train_baseline", "--model_name")


def load_counter(
    path: str | os.PathLike, device: torch.device, model_name: str | None = None
) -> Counter:
    """Rebuild a counter of mgot.train_baseline or train_baseline_weight.py, or released weights.

    See `crowd.count.counter.load_counter`.
    """
    return counter.load_counter(path, device, MGOT, model_name)
