"""The transport loss: L1 distance between the mass transported to each annotation and its target.

`TransportLoss` is what other code trains with, from points or Gaussians to the loss.
`gaussian_transport_loss` does its work, without keeping a kernel where it can; `transport_loss`
takes kernels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.io.arrays import as_tensor
from gst.heads import Heads, round_heads
from gst.kernel import PAPER, KernelOptions, as_gaussians, transport_kernel
from gst.padded import padded_transport_loss


class TransportLoss(nn.Module):
    """GST's loss for any density counter, as a module; it has no weights and no inner loop.

    Args:
        stride: side of a cell of the density map, pixels.
        **options: of the kernel (`gst.kernel.KernelOptions`).

    Called with density maps `[B, 1, h, w]` and what stands in each image, in pixels of the image:
    points `[n, 2]`, which become round Gaussians of their neighbours' distance; or Gaussians, as
    `(points, scales [n, 2], rotations [n])` of `GS2D.fit_gaussians`; or `gst.heads.Heads`, with
    targets, where heads lie partly outside. `[0, 2]` where nobody is. Arrays are numpy or torch.

    Returns the mean over the images of Σ_n |1 − Σ_x K(n | x) D(x)|, background included: a scalar,
    differentiable in the density. Raises `ValueError` for shapes that do not fit.

    Examples:
        >>> density = torch.full((1, 1, 32, 32), 0.002, requires_grad=True)
        >>> loss = TransportLoss(stride=8)(density, [[[40.0, 56.0], [128.0, 200.0]]])
        >>> loss.backward()
    """

    def __init__(self, stride: int = 8, **options):
        super().__init__()
        self.stride, self.options = stride, KernelOptions(**options)

    def forward(self, density: Tensor, heads: Sequence) -> Tensor:
        """See the class."""
        heads = [_as_heads(one) for one in heads]
        return gaussian_transport_loss(heads, density, self.options, self.stride)


def _as_heads(given) -> Heads:
    if isinstance(given, Heads):
        return given
    if not isinstance(given, tuple):
        return round_heads(given)
    gaussians = as_gaussians(*given)
    return Heads(*gaussians, torch.ones(len(gaussians[0])))


def transport_loss(kernels: Sequence, targets: Sequence, density) -> Tensor:
    """Mean over the batch of the L1 discrepancy after transport (paper; released code).

    Per image, Σ_n |t_n − Σ_x K(n | x) D(x)|, where the background, if the kernel has it, is meant
    to receive nothing: t_bg = 0. An image without heads, kernel None (or one without rows), costs
    |Σ_x D(x)|, which is also what a kernel of background alone gives. Arrays are numpy or torch.

    Args:
        kernels: one per image: None, or K [N, cells] or [N + 1, cells] with the background last,
            from `transport_kernel`.
        targets: one per image: t [N], the share of each head that lies inside the crop (None or
            empty where the kernel is None).
        density: predicted density maps D, [B, 1, h, w], cells = h · w.

    Returns:
        Scalar; its gradient in D is Σ_n K(n | x) sign(Σ_x K D − t_n) / B, within ± 1 / B.

    Raises:
        ValueError: the shapes do not fit each other; the message names the image of the batch.
    """
    density = as_tensor(density)
    if density.dim() != 4 or density.shape[1] != 1:
        raise ValueError(f"density maps are [B, 1, h, w], not {list(density.shape)}")
    if not len(kernels) == len(targets) == len(density) > 0:
        raise ValueError(
            f"{len(density)} density maps came with {len(kernels)} kernels and "
            f"{len(targets)} targets: each image needs one of each"
        )
    losses = []
    for index, (kernel, target) in enumerate(zip(kernels, targets, strict=True)):
        try:
            losses.append(image_transport_loss(kernel, target, density[index]))
        except ValueError as error:
            raise ValueError(f"image {index} of the batch: {error}") from None
    return torch.stack(losses).mean()


def image_transport_loss(kernel, target, density) -> Tensor:
    """Loss of one image: kernel and target as in `transport_loss`, density of any shape.

    A product of K with D reads K once, which is the least that can be done; images of a batch
    share no cell, so joining their kernels would only multiply zeros.
    """
    density = as_tensor(density).flatten()
    if kernel is None or len(kernel) == 0:
        if target is not None and len(target) > 0:
            raise ValueError(f"{len(target)} targets came without a kernel")
        return density.sum().abs()
    kernel, heads = as_tensor(kernel), 0 if target is None else len(target)
    if kernel.shape not in ((heads, len(density)), (heads + 1, len(density))):
        raise ValueError(
            f"{heads} targets and {len(density)} cells do not fit a kernel {list(kernel.shape)}"
        )
    transported = kernel.to(density) @ density
    target = density.new_zeros(0) if target is None else as_tensor(target).to(density)
    expected = functional.pad(target, (0, len(kernel) - heads))
    return (expected - transported).abs().sum()


def gaussian_transport_loss(
    heads: Sequence[Heads] | Heads,
    density: Tensor,
    options: KernelOptions = PAPER,
    stride: int = 8,
) -> Tensor:
    """`transport_loss` with the kernels of `transport_kernel`, differentiable in the density.

    On a CPU by compiled code that evaluates each Gaussian only near its centre and keeps no
    kernel; elsewhere, and of heads that are padded, by `padded_transport_loss`.

    Args:
        heads: Gaussians and targets of each crop, on any device; one without heads costs |Σ D|.
            Only on a CPU, where they are read, is looked whether they are finite.
        density: predicted density maps D, `[B, 1, h, w]`, of crops of h · stride rows.
        options: of the kernel.
        stride: side of a cell, pixels.

    Returns:
        Scalar.

    Raises:
        ValueError: arrays that do not fit each other or hold a NaN or infinite value.
    """
    if density.device.type == "cpu" and not isinstance(heads, Heads):
        _check(heads, density)
        return _FusedLoss.apply(density, heads, options, stride)
    return padded_transport_loss(heads, density, options, stride)


def gaussian_transport_loss_reference(
    heads: Sequence[Heads],
    density: Tensor,
    options: KernelOptions = PAPER,
    stride: int = 8,
) -> Tensor:
    """The readable twin of `gaussian_transport_loss`, by whole kernels `[N + 1, cells]`."""
    _check(heads, density)
    height, width = density.shape[-2:]
    crop_size = height * stride, width * stride
    kernels = crop_kernels(heads, crop_size, density.device, options, stride)
    targets = [one.targets.to(density.device, non_blocking=True) for one in heads]
    return transport_loss(kernels, targets, density)


def crop_kernels(
    heads: Sequence[Heads],
    crop_size: int | tuple[int, int],
    device: torch.device,
    options: KernelOptions = PAPER,
    stride: int = 8,
) -> list[Tensor | None]:
    """Transport kernels `[N + 1, cells]` of several crops on `device`; None without heads.

    Arguments as for `transport_kernel`. Kernels are made where they are used: they are thousands
    of times larger than the Gaussians that they come from. Whether these are finite is not asked,
    since a GPU would have to be waited for.
    """
    with torch.no_grad():
        return [
            transport_kernel(
                *(array.to(device, non_blocking=True) for array in one[:3]),
                crop_size,
                stride,
                **dataclasses.asdict(options),
                check_finite=False,
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
    def forward(context, density: Tensor, heads: Sequence[Heads], options, stride: int):
        maps = density.detach().float().contiguous().numpy()[:, 0]
        gradient = np.empty_like(maps)

        def one(index: int) -> float:
            return _image_loss(heads[index], maps[index], gradient[index], options, stride)

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
    options: KernelOptions,
    stride: int,
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
    scales = np.clip(scales * options.scale_ratio, stride / options.post_min, options.post_max)
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
    background = -math.inf
    if options.use_background:
        background = math.log(options.background_ratio) - options.cut_off**2 / 2
    return image_loss(
        np.stack(gaussians).astype(np.float32),
        heads.targets.float().cpu().numpy(),
        density,
        float(stride),
        background,
        gradient,
    )
