"""The losses of a batch of FIDT crops, by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crowd.train.loop import mixed_precision, to_device
from mgot.dataset import Batch
from mgot.losses import fidt_loss


def batch_losses(
    model: nn.Module,
    batch: Batch,
    device: torch.device,
    amp: bool = False,
    ssim_weight: float = 0.0,
) -> dict[str, Tensor]:
    """Run the model on a batch and return its losses by name, summed over the crops.

    `mse` is always there, `issim`, before its weight, where `ssim_weight` is not 0; without it the
    gathering of windows is saved. With `amp` the model runs in bfloat16, the losses are always
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
    return {name: losses[name] for name in (("mse", "issim") if ssim_weight else ("mse",))}
