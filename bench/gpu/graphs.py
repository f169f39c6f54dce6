"""CUDA graphs of a network's step: a thousand launches become two."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from crowd.train.devices import mixed_precision, to_device

TOLERANCE = 0.05  # of the gradient's norm: two steps in bfloat16 round differently


def graphed(model: nn.Module, images: Tensor, amp: bool, marker: Path) -> str:
    """Let `model` train by CUDA graphs on batches of this shape, if that gives its gradients.

    Evaluation stays as it is. Where graphs cannot be captured, or give something else, so does
    training. `marker` stands while it is tried: a process that died of it leaves it, and the next
    one does not try. Returns what was done.
    """
    device = next(model.parameters()).device
    if device.type != "cuda":
        return "none: no GPU"
    if marker.exists():
        return "none: an earlier process ended while it tried"
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.touch()
    model.train()
    images, before = to_device(images, device), model.forward
    expected = _gradients(model, images, amp)
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=amp, cache_enabled=False):
            torch.cuda.make_graphed_callables(model, (images.clone(),))
        apart = max(
            float((mine - theirs).norm() / theirs.norm().clamp(min=1e-12))
            for mine, theirs in zip(_gradients(model, images, amp), expected, strict=True)
        )
        done = f"graphs, gradients within {apart:.1e}"
    except RuntimeError as error:
        apart, done = float("inf"), f"none: {str(error)[-200:]}"
    if not apart < TOLERANCE:
        model.__dict__.pop("forward", None)
        assert model.forward == before
        done = done if done.startswith("none") else f"none: gradients differ by {apart:.1e}"
    marker.unlink()
    return done


def _gradients(model: nn.Module, images: Tensor, amp: bool) -> list[Tensor]:
    """Gradients of the sum of squares, in float32, all of them joined."""
    with mixed_precision(amp, images.device):
        predicted = model(images)
    gradients = torch.autograd.grad(predicted.float().square().sum(), list(model.parameters()))
    return [torch.cat([gradient.float().flatten() for gradient in gradients])]
