"""The transport loss straight from the Gaussians: what a training step needs, and no more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from gst.dataset import Heads
from gst.kernel import as_gaussians, transport_kernel
from gst.loss import transport_loss


def gaussian_transport_loss(
    heads: Sequence[Heads], density: Tensor, stride: int = 8, **options
) -> Tensor:
    """`transport_loss` with the kernels of `transport_kernel`, differentiable in the density.

    On a CPU by compiled code that evaluates each Gaussian only near its centre and keeps no
    kernel; elsewhere by those two functions.

    Args:
        heads: Gaussians and targets of each crop, on any device; one without heads costs |Σ D|.
            Only on a CPU, where they are read, is looked whether they are finite.
        density: predicted density maps D, `[B, 1, h, w]`, of crops of h · stride rows.
        stride: side of a cell, pixels.
        **options: background_ratio, cut_off, post_min, post_max, scale_ratio and use_background,
            as for `transport_kernel`.

    Returns:
        Scalar.

    Raises:
        ValueError: arrays that do not fit each other or hold a NaN or infinite value.
    """
    if density.device.type == "cpu":
        _check(heads, density)
        return _FusedLoss.apply(density, heads, stride, options)
    return dense_transport_loss(heads, density, stride, **options)


def dense_transport_loss(
    heads: Sequence[Heads], density: Tensor, stride: int = 8, **options
) -> Tensor:
    """The readable twin of `gaussian_transport_loss`, by whole kernels `[N + 1, cells]`."""
    _check(heads, density)
    height, width = density.shape[-2:]
    crop_size = height * stride, width * stride
    kernels = crop_kernels(heads, crop_size, density.device, stride=stride, **options)
    targets = [one.targets.to(density.device, non_blocking=True) for one in heads]
    return transport_loss(kernels, targets, density)


def crop_kernels(
    heads: Sequence[Heads], crop_size: int | tuple[int, int], device: torch.device, **options
) -> list[Tensor | None]:
    """Transport kernels `[N + 1, cells]` of several crops on `device`; None without heads.

    `crop_size` and `options` are those of `transport_kernel`. Kernels are made where they are used:
    they are thousands of times larger than the Gaussians that they come from. Whether these are
    finite is not asked, since a GPU would have to be waited for.
    """
    with torch.no_grad():
        return [
            transport_kernel(
                *(array.to(device, non_blocking=True) for array in one[:3]),
                crop_size,
                check_finite=False,
                **options,
            )
            if len(one.points)
            else None
            for one in heads
        ]


def _check(heads: Sequence[Heads], density: Tensor) -> None:
    if density.dim() != 4 or density.shape[1] != 1 or len(heads) != len(density) or not len(heads):
        raise ValueError(
            f"density maps are [B, 1, h, w], not {list(density.shape)}, for {len(heads)} crops"
        )
    for index, one in enumerate(heads):
        if len(one.points) != len(one.targets):
            raise ValueError(
                f"crop {index}: {len(one.points)} Gaussians with {len(one.targets)} targets"
            )
        on_cpu = [array.numpy() for array in one[:3] if array.device.type == "cpu"]
        if not all(np.isfinite(array).all() for array in on_cpu):
            raise ValueError(f"crop {index}: points, scales and rotations must be finite")


class _FusedLoss(torch.autograd.Function):
    """Loss and gradient in one go: the gradient is made of signs, which the loss knows."""

    @staticmethod
    def forward(context, density: Tensor, heads: Sequence[Heads], stride: int, options: dict):
        maps = density.detach().float().contiguous().numpy()[:, 0]
        gradient = np.empty_like(maps)

        def one(index: int) -> float:
            return _image_loss(heads[index], maps[index], gradient[index], stride, **options)

        if len(maps) == 1 or torch.get_num_threads() == 1:
            losses = [one(index) for index in range(len(maps))]
        else:
            with ThreadPoolExecutor(torch.get_num_threads()) as pool:
                losses = list(pool.map(one, range(len(maps))))
        context.save_for_backward(torch.from_numpy(gradient / len(maps))[:, None].to(density))
        return density.new_tensor(sum(losses) / len(maps))

    @staticmethod
    def backward(context, slope: Tensor):
        (gradient,) = context.saved_tensors
        return slope * gradient, None, None, None


def _image_loss(
    heads: Heads,
    density: np.ndarray,
    gradient: np.ndarray,
    stride: int,
    background_ratio: float = 0.015,
    cut_off: float = 3.0,
    post_min: float = 1.0,
    post_max: float = 20.0,
    scale_ratio: float = 1.0,
    use_background: bool = True,
) -> float:
    """Loss of one crop, density `[h, w]`; writes its gradient `[h, w]`."""
    # Imported here: numba takes a second, and GPUs need none of it.
    from gst.loss_kernels import image_loss

    points, scales, rotations = (
        array.numpy() for array in as_gaussians(*(array.cpu() for array in heads[:3]), False)
    )
    if not len(points):
        total = density.sum(dtype=np.float64)
        gradient[:] = np.sign(total)
        return abs(float(total))
    scales = np.clip(scales * scale_ratio, stride / post_min, post_max)
    cosine, sine = np.cos(rotations), np.sin(rotations)
    first, second = (scales**-2.0).T
    gaussians = [
        *points.T,
        -0.5 * (cosine**2 * first + sine**2 * second),
        cosine * sine * (second - first),
        -0.5 * (sine**2 * first + cosine**2 * second),
        2 * np.log(scales).sum(axis=1),
        1 / scales.min(axis=1),
    ]
    background = math.log(background_ratio) - cut_off**2 / 2 if use_background else -math.inf
    return image_loss(
        np.stack(gaussians).astype(np.float32),
        heads.targets.float().cpu().numpy(),
        density,
        float(stride),
        background,
        gradient,
    )
