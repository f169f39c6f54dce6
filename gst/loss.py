"""The transport loss: L1 distance between the mass transported to each annotation and its target.

`TransportLoss` is what other code trains with, from points or Gaussians to the loss.
`gaussian_transport_loss` does its work, without keeping a kernel where it can; `transport_loss`
takes kernels.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.io.arrays import as_tensor
from gst.heads import Heads, head_rows, pad_heads, round_heads
from gst.kernel import as_gaussians, gaussian_kernel, transport_kernel
from gst.options import PAPER, KernelOptions


class TransportLoss(nn.Module):
    """GST's loss for any density counter, as a module; it has no weights and no inner loop.

    Args:
        stride: side of a cell of the density map, pixels.
        **options: of the kernel (`gst.options.KernelOptions`).

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
        return gaussian_transport_loss(heads, as_tensor(density), self.options, self.stride)


def _as_heads(given) -> Heads:
    if isinstance(given, Heads):
        return given
    if not (isinstance(given, tuple) and len(given) == 3):
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
        Scalar, in float32 or better, under autocast too; its gradient in D is
        Σ_n K(n | x) sign(Σ_x K D − t_n) / B, within ± 1 / B.

    Raises:
        ValueError: the shapes do not fit each other; the message names the image of the batch.
    """
    density = _wide(as_tensor(density))
    if density.dim() != 4 or density.shape[1] != 1:
        raise ValueError(f"density maps are [B, 1, h, w], not {list(density.shape)}")
    if not len(kernels) == len(targets) == len(density) > 0:
        raise ValueError(
            f"{len(density)} density maps came with {len(kernels)} kernels and "
            f"{len(targets)} targets: each image needs one of each"
        )
    losses = []
    for index, (kernel, target) in enumerate(zip(kernels, targets, strict=True)):
        cells = density[index].flatten()
        kernel = cells.new_zeros(0, len(cells)) if kernel is None else as_tensor(kernel)
        target = cells.new_zeros(0) if target is None else as_tensor(target)
        heads = target.numel()
        if target.dim() != 1 or kernel.shape not in ((heads, len(cells)), (heads + 1, len(cells))):
            raise ValueError(
                f"image {index} of the batch: {heads} targets {list(target.shape)} and "
                f"{len(cells)} cells do not fit a kernel {list(kernel.shape)}"
            )
        # Images share no cell: joining their kernels would only multiply zeros.
        losses.append(_discrepancy(kernel, target, cells) if len(kernel) else cells.sum().abs())
    return torch.stack(losses).mean()


def gaussian_transport_loss(
    heads: Sequence[Heads],
    density: Tensor,
    options: KernelOptions = PAPER,
    stride: int = 8,
) -> Tensor:
    """`transport_loss` with the kernels of `transport_kernel`, differentiable in the density.

    A scalar, of the Gaussians and targets of each crop, on any device, and the predicted density
    maps D, `[B, 1, h, w]`, of crops of h · stride rows; a crop without heads costs |Σ D|. Raises
    `ValueError` for arrays that do not fit each other or hold a NaN or infinite value.

    On a CPU by compiled code that evaluates each Gaussian only near its centre and keeps no
    kernel; elsewhere by `padded_transport_loss`.
    """
    if density.device.type == "cpu":
        _check(density, len(heads))
        return _FusedLoss.apply(density, head_rows(heads), options, stride)
    return padded_transport_loss(heads, density, options, stride)


def gaussian_transport_loss_reference(
    heads: Sequence[Heads],
    density: Tensor,
    options: KernelOptions = PAPER,
    stride: int = 8,
) -> Tensor:
    """The readable twin of `gaussian_transport_loss`, by whole kernels `[N + 1, cells]`."""
    _check(density, len(heads))
    crop_size = density.shape[2] * stride, density.shape[3] * stride
    kernels, targets = [], []
    for rows in map(torch.from_numpy, head_rows(heads)):
        gaussians = rows[:, :2], rows[:, 2:4], rows[:, 4]
        kernels.append(transport_kernel(*gaussians, crop_size, stride, **asdict(options)))
        targets.append(rows[:, 5])
    return transport_loss(kernels, targets, density)


def padded_transport_loss(
    heads: Sequence[Heads],
    density: Tensor,
    options: KernelOptions = PAPER,
    stride: int = 8,
) -> Tensor:
    """`gaussian_transport_loss` for GPUs: all kernels at once, as whole matrices.

    As many operations for a batch as for a crop, and none that waits for the device. It takes room
    for about five arrays [B, N + 1, cells], N being the most heads that a crop has.
    """
    with torch.no_grad():
        points, scales, rotations, targets = pad_heads(heads, density.device)
        _check(density, len(points))
        gaussians = points.float(), scales.float(), rotations.float()
        crop_size = density.shape[2] * stride, density.shape[3] * stride
        kernels = gaussian_kernel(*gaussians, crop_size, stride, options)
    return batch_transport_loss(kernels, targets, density)


def batch_transport_loss(kernels: Tensor, targets: Tensor, density: Tensor) -> Tensor:
    """`transport_loss` of kernels of one size, in one operation for all crops.

    Kernels [B, N, cells], or [B, N + 1, cells] with the background last, targets [B, N], density
    [B, 1, h, w].
    """
    return _discrepancy(kernels, targets, _wide(density).flatten(1)) / len(density)


def _wide(density: Tensor) -> Tensor:
    return density.to(torch.promote_types(density.dtype, torch.float32))


def _discrepancy(kernels: Tensor, targets: Tensor, cells: Tensor) -> Tensor:
    """Σ |t − K D| of kernels [..., N (+ 1), cells], targets [..., N] and cells [..., cells].

    Autocast would take K D in bfloat16, whose error turns signs, of which the gradient is made.
    """
    with torch.autocast(cells.device.type, enabled=False):
        transported = (kernels.to(cells) @ cells[..., None])[..., 0]
    background = kernels.shape[-2] - targets.shape[-1]
    return (functional.pad(targets.to(cells), (0, background)) - transported).abs().sum()


def _check(density: Tensor, crops: int) -> None:
    if density.dim() != 4 or density.shape[1] != 1 or not len(density) == crops > 0:
        raise ValueError(
            f"density maps are [B, 1, h, w], not {list(density.shape)}, for {crops} crops"
        )


class _FusedLoss(torch.autograd.Function):
    """Loss and gradient in one go: the gradient is made of signs, which the loss knows."""

    @staticmethod
    def forward(context, density: Tensor, rows: list[np.ndarray], options, stride: int):
        maps = density.detach().float().contiguous().numpy()[:, 0]
        gradient = np.empty_like(maps)
        losses = [
            _fused_loss(*one, options, stride) for one in zip(rows, maps, gradient, strict=True)
        ]
        context.save_for_backward(torch.from_numpy(gradient / len(maps))[:, None].to(density))
        return torch.tensor(sum(losses) / len(maps), dtype=_wide(density).dtype)

    @staticmethod
    def backward(context, slope: Tensor):
        (gradient,) = context.saved_tensors
        return (slope * gradient).to(gradient), None, None, None


def _fused_loss(
    rows: np.ndarray, density: np.ndarray, gradient: np.ndarray, options: KernelOptions, stride: int
) -> float:
    """Loss of one crop, heads as `head_rows`, density `[h, w]`; writes its gradient `[h, w]`."""
    # Imported here: numba takes a second, and GPUs need none of it.
    from gst.loss_kernels import image_loss

    if not len(rows):
        total = density.sum(dtype=np.float64)
        gradient[:] = np.sign(total)
        return abs(float(total))
    columns = np.ascontiguousarray(rows.T, np.float32)
    x, y, _, _, rotations, targets = columns
    scales = np.clip(columns[2:4] * options.scale_ratio, *options.limits(stride))
    cosine, sine = np.cos(rotations), np.sin(rotations)
    first, second = scales**-2.0
    gaussians = [
        x,
        y,
        -0.5 * (cosine**2 * first + sine**2 * second),
        cosine * sine * (second - first),
        -0.5 * (sine**2 * first + cosine**2 * second),
        2 * np.log(scales).sum(axis=0),
        1 / scales.min(axis=0),
    ]
    background = -math.inf
    if options.use_background:
        background = math.log(options.background_ratio) - options.cut_off**2 / 2
    gaussians = np.stack(gaussians).astype(np.float32)
    return image_loss(gaussians, targets, density, float(stride), background, gradient)
