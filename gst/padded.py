"""The losses of a batch by one array of padded heads: as few operations as one crop takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from gst.heads import Heads
from gst.kernel import (
    PAPER,
    KernelOptions,
    cell_centers,
    gaussian_exponents,
    gaussian_responsibilities,
)

# Where a padded head stands, pixels: so far off that no cell is its own in any kernel, and near
# enough that the square of the distance is a float32.
FAR = 1e15


def pad_heads(heads: Sequence[Heads] | Heads, device: torch.device) -> Heads:
    """Join the heads of several crops to one padded array, copied to `device` at once.

    What is added stands at `FAR`, has the target 0, and so costs nothing; there is at least one a
    crop, so that one without heads is nothing special. `Heads` that are padded already stay.

    Raises:
        ValueError: arrays of a crop do not fit each other, or hold a NaN or infinite value.
    """
    if isinstance(heads, Heads):
        return heads
    rows = [_as_rows(one, index) for index, one in enumerate(heads)]
    padding = np.array([FAR] * 5 + [0], np.result_type(*rows))
    padded = np.tile(padding, (len(rows), 1 + max(map(len, rows)), 1))
    for mine, row in zip(padded, rows, strict=True):
        mine[: len(row)] = row
    moved = torch.from_numpy(padded).to(device, non_blocking=True)
    points, scales, rotations, targets = moved.split((2, 2, 1, 1), 2)
    return Heads(points, scales, rotations[..., 0], targets[..., 0])


def _as_rows(heads: Heads, index: int) -> np.ndarray:
    """The heads of a crop as rows [n, 6]; raises `ValueError` naming its index."""
    points, scales, rotations, targets = (array.detach().cpu().numpy() for array in heads)
    count = len(targets)
    if not points.shape == scales.shape == (count, 2) or rotations.size != count:
        raise ValueError(
            f"crop {index}: {len(points)} Gaussians with {count} targets, or arrays that are not "
            "[n, 2], [n, 2], [n] and [n]"
        )
    columns = points, scales, rotations.reshape(-1, 1), targets.reshape(-1, 1)
    rows = np.concatenate(columns, axis=1)
    if not np.isfinite(rows).all():
        raise ValueError(f"crop {index}: points, scales, rotations and targets must be finite")
    return rows


def padded_transport_loss(
    heads: Sequence[Heads] | Heads,
    density: Tensor,
    options: KernelOptions = PAPER,
    stride: int = 8,
) -> Tensor:
    """`gst.loss.gaussian_transport_loss` for GPUs: all kernels at once, as whole matrices.

    As many operations for a batch as for a crop, and none that waits for the device. It takes room
    for about five arrays [B, N + 1, cells], N being the most heads that a crop has.
    """
    with torch.no_grad():
        points, scales, rotations, targets = pad_heads(heads, density.device)
        if density.dim() != 4 or density.shape[1] != 1 or len(points) != len(density):
            raise ValueError(
                f"density maps are [B, 1, h, w], not {list(density.shape)}, for {len(points)} crops"
            )
        scales = (scales.float() * options.scale_ratio).clamp(
            stride / options.post_min, options.post_max
        )
        height, width = density.shape[-2:]
        cells = cell_centers((height * stride, width * stride), stride, density.device)
        exponents = gaussian_exponents(points.float(), scales, rotations.float(), *cells)
        kernels = gaussian_responsibilities(exponents, scales, options)
    return batch_transport_loss(kernels, targets, density)


def batch_transport_loss(kernels: Tensor, targets: Tensor, density: Tensor) -> Tensor:
    """`gst.loss.transport_loss` of kernels of one size, in one operation for all crops.

    Args:
        kernels: [B, N, cells], or [B, N + 1, cells] with the background last; rows of zeros cost
            nothing where their target is 0.
        targets: [B, N].
        density: [B, 1, h, w].
    """
    transported = (kernels.to(density) @ density.flatten(1)[..., None])[..., 0]
    expected = functional.pad(targets.to(density), (0, kernels.shape[1] - targets.shape[1]))
    return (expected - transported).abs().sum() / len(density)
