"""One epoch of training: named losses, summed, stepped, averaged."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from crowd.distributed import align_statistics, bare, place_of, total
from crowd.errors import InputError
from crowd.not_finite import all_finite, finite_gradient, stop
from crowd.progress import progress


class Named(Protocol):
    """A batch that knows the names of its photos; without names it does not count."""

    names: list[str]


def to_device(images: Tensor, device: torch.device) -> Tensor:
    """Move a batch [B, 3, H, W] to `device`; on a GPU in the order that its convolutions prefer."""
    layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format
    return images.to(device, non_blocking=True).contiguous(memory_format=layout)


PRECISIONS = ("auto", "native", "float32", "bfloat16")


def mixed_precision(amp: bool, device: torch.device) -> contextlib.AbstractContextManager:
    """Context in which a model runs in bfloat16 where that is safe, or one that changes nothing."""
    return torch.autocast(device.type, torch.bfloat16) if amp else contextlib.nullcontext()


def choose_precision(device: torch.device, precision: str) -> str:
    """Return what a run's models are trained in, `float32` or `bfloat16`.

    `auto` is bfloat16 on a GPU that has it, and float32 on every CPU: figures shall not depend on
    the machine unless asked for. `native` is bfloat16 on a CPU with AMX as well, which trains up to
    2.4 times as fast with it; one without has to emulate it, which takes three times as long.
    """
    if precision not in ("auto", "native"):
        return precision
    if device.type == "cuda":
        # Cards before Ampere emulate it, which is slower than float32.
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        has_it = precision == "native" and torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bfloat16" if has_it else "float32"


def train_one_epoch(
    model: nn.Module,
    batches: Iterable[Named],
    losses_of: Callable[[Named], dict[str, Tensor]],
    optimizer: torch.optim.Optimizer,
    epoch: int,
    average: AveragedModel | None = None,
    *,
    summed: bool = False,
    folder: Path | None = None,
    check: str = "check the photo and its annotation",
    clip: float = 0.0,
) -> dict[str, float]:
    """Train on every batch once.

    Args:
        model: put into training mode.
        batches: each with the names of its photos.
        losses_of: runs the model on a batch; its losses by name, scalars whose sum is minimised.
        optimizer: of the model's parameters.
        epoch: for the progress bar and messages.
        average: moving average of the weights, updated after every step.
        summed: whether losses are sums over a batch's photos, not means; the step is on the sum
            or mean over the photos of all processes.
        folder: of the run, which keeps the batch whose loss or gradient is not finite.
        check: what to look at first then.
        clip: largest norm of the gradient, to which longer ones are shortened; 0: none.

    Returns:
        The losses by name, means over photos.

    Raises:
        InputError: a loss or gradient is not finite; names the photos, before any step.
    """
    model.train()
    sums: dict[str, float] = defaultdict(float)
    photos = 0.0
    _, processes = place_of()
    for batch in progress(batches, f"epoch {epoch}", unit="batch", leave=False):
        losses = losses_of(batch)
        loss = torch.stack(list(losses.values())).sum()
        values = {name: value.item() for name, value in losses.items()}
        # A batch that does not count costs nothing, however its losses are put together.
        weight = float(len(batch.names) > 0) if summed else len(batch.names)
        *costs, count = total([*(value * weight for value in values.values()), len(batch.names)])
        if not all_finite(values.values()):
            stop(batch, epoch, values, folder, check)
        if not all_finite(costs):
            raise InputError("another process stopped at a loss that is not finite: see there")
        optimizer.zero_grad(set_to_none=True)
        # Gradients become means over the processes, which are to be sums.
        (loss * (processes * weight / (1 if summed else count))).backward()
        if not finite_gradient(model.parameters()):
            stop(batch, epoch, values, folder, check)
        if clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        if average is not None:
            average.update_parameters(bare(model))
        for name, cost in zip(values, costs, strict=True):
            sums[name] += cost
        photos += count
    align_statistics(model, average)
    return {name: value / photos for name, value in sums.items()}
