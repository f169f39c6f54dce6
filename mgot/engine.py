"""One epoch of training on FIDT maps."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from crowd import engine
from crowd.engine import mixed_precision, to_device
from mgot.dataset import Batch
from mgot.losses import fidt_loss


def batch_losses(
    model: nn.Module, batch: Batch, device: torch.device, amp: bool, ssim_weight: float
) -> dict[str, Tensor]:
    """Run the model on a batch and return its losses, weighted and summed over the crops.

    `mse` is always there, `issim` (times `ssim_weight`) where `ssim_weight` is not 0; without it
    the gathering of windows is saved. With `amp` the model runs in bfloat16, the losses are always
    float32.
    """
    images = to_device(batch.images, device)
    with mixed_precision(amp, device):
        prediction = model(images)
    heads = batch.heads if ssim_weight else [torch.zeros(0, 2) for _ in batch.heads]
    losses = fidt_loss(
        prediction.float(),
        batch.maps.to(device, non_blocking=True),
        heads,
        ssim_weight,
        batch.weights.to(device, non_blocking=True),
    )
    named = {"mse": losses["mse"]}
    if ssim_weight:
        named["issim"] = ssim_weight * losses["issim"]
    return named


def train_one_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    epoch: int,
    average: AveragedModel | None = None,
    amp: bool = False,
    ssim_weight: float = 0.0,
    folder: Path | None = None,
) -> dict[str, float]:
    """Train on every batch once and return the losses by name, means over crops.

    Args:
        model: on `device`.
        batches: of `mgot.dataset.crop_batches`.
        optimizer: of the model's parameters; steps on sums over a batch (released code).
        device: where to compute.
        epoch: for the progress bar and messages.
        average: moving average of the weights, updated after every step.
        amp: run the model in bfloat16.
        ssim_weight: of I-SSIM in the loss (`mgot.losses.fidt_loss`).
        folder: of the run, which keeps the batch whose loss or gradient is not finite.

    Raises:
        InputError: a loss or gradient is not finite; names the photos, and the weights are not
            stepped.
    """
    losses_of = functools.partial(
        batch_losses, model, device=device, amp=amp, ssim_weight=ssim_weight
    )
    check = "check the photo and its map"
    return engine.train_one_epoch(
        model,
        batches,
        losses_of,
        optimizer,
        epoch,
        average,
        summed=True,
        folder=folder,
        check=check,
    )
