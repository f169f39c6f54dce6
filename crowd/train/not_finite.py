"""What is kept of a batch whose loss or gradient is not finite, so that its cause can be found."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from crowd.data.images import write_image
from crowd.io.errors import InputError
from crowd.train.checkpoints import save_checkpoint

BATCH, PICTURE = "not_finite.pth", "not_finite.png"


def all_finite(values: Iterable[float]) -> bool:
    """Whether no value is NaN or infinite."""
    return all(map(math.isfinite, values))


def largest_gradient(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Largest absolute value in the gradients, a scalar on their device; NaN where one is."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return torch.nn.utils.get_total_norm(gradients, math.inf)


def stop(batch, epoch: int, losses: dict[str, float], folder: Path | None, check: str) -> NoReturn:
    """Keep the batch in the run folder, if there is one, and raise `InputError` naming its photos.

    Args:
        batch: named tuple with `images` [B, 3, S, S] and `names`; all of it is kept.
        epoch: for the message.
        losses: by name; all finite when it is the gradient that is not.
        folder: of the run. It gets `not_finite.pth`, which `load_checkpoint` reads, and
            `not_finite.png`, the crops side by side.
        check: what to look at first.
    """
    kept = ""
    if folder is not None:
        path = folder / BATCH
        save_checkpoint(path, epoch=epoch, losses=losses, batch=_plain(batch))
        write_image(folder / PICTURE, _side_by_side(batch.images))
        kept = f" (the batch is kept in {path}, its crops in {PICTURE})"
    what = "gradient" if all_finite(losses.values()) else "loss"
    raise InputError(
        f"the {what} of {', '.join(batch.names)} is not finite in epoch {epoch}, with losses "
        f"{losses}{kept}: {check} or lower --lr, then add --resume"
    )


def _plain(value):
    """The value without types of ours, which a checkpoint may not hold."""
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _side_by_side(images: Tensor) -> np.ndarray:
    """Crops [B, 3, S, S] as one picture, each spread over the range of grey values."""
    images = images.detach().float().cpu().nan_to_num(0, 0, 0)
    low, high = (pick(images, dim=(1, 2, 3), keepdim=True) for pick in (torch.amin, torch.amax))
    images = (images - low) / (high - low).clamp(min=1e-12)
    return np.concatenate(list(images.permute(0, 2, 3, 1).numpy()), axis=1)
