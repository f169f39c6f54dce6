"""Devices and precision: where a model runs, and in which numbers."""

import contextlib

import numpy as np
import torch
from torch import Tensor, nn

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


def to_device(images: Tensor, device: torch.device) -> Tensor:
    """Move a batch [B, 3, H, W] to `device`; on a GPU in the order that its convolutions prefer."""
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    return images.to(device, non_blocking=True).contiguous(memory_format=layout)


def flush_denormals() -> None:
    """Let this process take numbers below 1e-38 for 0, where its CPU can.

    With them a CPU computes up to a hundred times more slowly, and where a photo shows nobody the
    gradient of its density is made of them. On ShanghaiTech B they took a fifth of a step's time,
    and two thirds of it once a network had collapsed to a density of 0.
    """
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # numpy keeps what it finds, and would warn of numbers that are flushed
    torch.set_flush_denormal(True)


def mixed_precision(amp: bool, device: torch.device) -> contextlib.AbstractContextManager:
    """Context in which a model runs in bfloat16 where that is safe, or one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16) if amp else contextlib.nullcontext()


def choose_precision(device: torch.device, precision: str) -> str:
    """Return what a run's models are trained in, `float32` or `bfloat16`.

    `auto` is bfloat16 on a GPU that has it, and float32 on every CPU: results should not depend on
    the hardware by default. `native` is bfloat16 also on a CPU whose instructions have it: with
    AMX `vgg_small` trains 2.4 times as fast, with AVX-512 `vgg` 1.9 and `light` 1.4 times. Other
    CPUs have to emulate it, which takes three times as long.
    """
    if precision not in ("auto", "native"):
        return precision
    if device.type == "cuda":
        # Cards before Ampere emulate it, which is slower than float32.
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        known = torch.cpu.get_capabilities()
        has_it = precision == "native" and any(map(known.get, ("amx_bf16", "avx512_bf16")))
    return "bfloat16" if has_it else "float32"
