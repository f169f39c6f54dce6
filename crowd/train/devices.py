"""Choosing where tensors live."""

from __future__ import annotations

import torch
from torch import nn

from crowd.io.errors import InputError


def pick_device(name: str) -> torch.device:
    """Return the device of `--device`: a GPU's number, `cpu`, or `auto` (first GPU, else CPU).

    Raises `InputError` when this machine or this build of torch has no such GPU.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    name = str(name).strip().lower().removeprefix("cuda:")
    if name == "cpu" or (name == "auto" and gpus == 0):
        return torch.device("cpu")
    if name == "auto":
        name = "0"
    if not name.isdigit():
        raise InputError(f"--device {name} is no device: name a GPU's number, cpu or auto")
    if int(name) >= gpus:
        raise InputError(f"--device {name}: torch sees {gpus} GPUs here, use --device cpu")
    return torch.device("cuda", int(name))


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to `device`; on a GPU in channels-last order, which its convolutions prefer."""
    if device.type == "cuda":
        return model.to(device, memory_format=torch.channels_last)
    return model.to(device)
