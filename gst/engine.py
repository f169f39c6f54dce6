"""One epoch of training: named losses, summed, stepped, averaged."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from crowd import engine
from crowd.distributed import bare
from crowd.engine import mixed_precision, to_device
from gst.dataset import Batch, Heads
from gst.fused_loss import gaussian_transport_loss
from gst.losses import COMPARED, TRANSPORT, block_count_loss
from gst.models.vgg_trans import attention_variance

ATTENTION_WEIGHT = 0.1


def batch_losses(
    model: nn.Module,
    batch: Batch,
    device: torch.device,
    amp: bool,
    loss: str = TRANSPORT,
    block_counts: float = 0.0,
    **options,
) -> dict[str, Tensor]:
    """Run the model on a batch and return its named, weighted losses, scalars.

    `loss` is GST's `transport` or one of `gst.losses.COMPARED`, which say what their terms are;
    `block_counts`, with that weight, is added to any of them; `attention_variance` for models with
    attention.
    `options` are those of the loss (`gst.kernel.transport_kernel`'s for `transport`); with `amp`
    the model runs in bfloat16, the losses are always float32.
    """
    images = to_device(batch.images, device)
    with mixed_precision(amp, device):
        if bare(model).has_attention:
            density, attention = model(images, with_attention=True)
        else:
            density, attention = model(images), []
    density = density.float()
    if loss == TRANSPORT:
        losses = {"transport": gaussian_transport_loss(batch.heads, density, **options)}
    else:
        heads = [
            Heads(*(array.to(device, non_blocking=True) for array in one)) for one in batch.heads
        ]
        losses = COMPARED[loss](heads, density, **options)
    if block_counts:
        losses["block_counts"] = block_counts * block_count_loss(batch.heads, density)
    if attention:
        losses["attention_variance"] = ATTENTION_WEIGHT * attention_variance(attention)
    return losses


def train_one_epoch(
    model: nn.Module,
    batches: Iterable[Batch],
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    epoch: int,
    average: AveragedModel | None = None,
    amp: bool = False,
    folder: Path | None = None,
    clip: float = 0.0,
    **options,
) -> dict[str, float]:
    """Train on every batch once and return the mean of each loss over the photos.

    Args:
        model: [B, 3, S, S] -> density [B, 1, S/8, S/8], on `device`.
        batches: of `gst.dataset.crop_batches`.
        optimizer: of the model's parameters.
        device: where to compute.
        epoch: for the progress bar and messages.
        average: moving average of the weights, updated after every step.
        amp: run the model in bfloat16.
        folder: of the run, which keeps the batch whose loss or gradient is not finite.
        clip: largest norm of the gradient; 0: any.
        **options: of `batch_losses`: the loss, and its options.

    Raises:
        InputError: a loss or gradient is not finite; names the photos, and the weights are not
            stepped.
    """
    losses_of = functools.partial(batch_losses, model, device=device, amp=amp, **options)
    check = "check the annotation and Gaussians of the photo"
    return engine.train_one_epoch(
        *(model, batches, losses_of, optimizer, epoch, average),
        **{"folder": folder, "check": check, "clip": clip},
    )
