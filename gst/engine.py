"""The losses of a batch of GST's crops, by name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from crowd.train.devices import mixed_precision, to_device
from crowd.train.distributed import unwrap_model
from gst.dataset import Batch
from gst.loss import gaussian_transport_loss
from gst.losses import block_count_loss
from gst.models.vgg_trans import attention_variance
from gst.options import COMPARED, PAPER, TRANSPORT, KernelOptions


def batch_losses(
    model: nn.Module,
    batch: Batch,
    device: torch.device,
    amp: bool = False,
    loss: str = TRANSPORT,
    block_counts: bool = False,
    kernel: KernelOptions = PAPER,
) -> dict[str, Tensor]:
    """Run the model on a batch and return its losses by name, scalars without their weights.

    Args:
        model: [B, 3, S, S] -> density [B, 1, S/8, S/8], on `device`.
        batch: of `gst.dataset.crop_batches`.
        device: where to compute.
        amp: run the model in bfloat16; the losses are always float32.
        loss: GST's `transport`, or one of `gst.options.COMPARED`, which say what their terms are.
        block_counts: whether that loss stands beside it; `attention_variance` does for models with
            attention.
        kernel: options of `transport`'s kernel.
    """
    images = to_device(batch.images, device)
    with mixed_precision(amp, device):
        if unwrap_model(model).has_attention:
            density, attention = model(images, with_attention=True)
        else:
            density, attention = model(images), []
    density = density.float()
    if loss == TRANSPORT:
        losses = {"transport": gaussian_transport_loss(batch.heads, density, kernel)}
    else:
        losses = COMPARED[loss](batch.heads, density)
    if block_counts:
        losses["block_counts"] = block_count_loss(batch.heads, density)
    if attention:
        losses["attention_variance"] = attention_variance(attention)
    return losses
