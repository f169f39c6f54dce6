"""The transport loss: what the density map says of each annotation, against what it should be."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from crowd.io.arrays import as_tensor


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
