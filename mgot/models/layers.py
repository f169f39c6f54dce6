"""What both counters share: padding to the coarsest grid, joining the branches, and the head."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn


def pad_to_multiple(images: torch.Tensor, multiple: int) -> torch.Tensor:
    """Append zeros below and to the right until both sides are multiples of `multiple`.

    The image's corner stays at the corner, so pixels keep their place in the network's grid and
    `output[..., :H, :W]` undoes the padding. Zero is the mean colour of a normalised photo, and
    what the convolutions themselves pad with.

    Args:
        images: `[B, C, H, W]`.
        multiple: stride of the network's coarsest branch, in pixels.
    """
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple))


def join_branches(features: Sequence[torch.Tensor]) -> torch.Tensor:
    """Upsample all branches to the first, finest one (bilinear) and concatenate the channels.

    Args:
        features: `[B, C_i, H_i, W_i]`, finest first.

    Returns:
        `[B, sum of C_i, H_0, W_0]`.
    """
    size = features[0].shape[-2:]
    coarser = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in features[1:]]
    return torch.cat([features[0], *coarser], dim=1)


def fidt_head(
    channels: int, hidden: int, norm: Callable[[int], nn.Module], bias: bool = True
) -> nn.Sequential:
    """Head of FIDT (arXiv 2102.07925, released code): from stride 4 back to every pixel.

    A 1x1 convolution mixes the joined branches; two transposed convolutions (kernel 4, stride 2,
    padding 1) double the sides twice. The last layer is linear: a FIDT map is regressed as it is.

    Args:
        channels: channels of the joined branches, kept by the 1x1 convolution.
        hidden: channels between the two transposed convolutions.
        norm: makes a normalisation layer from a number of channels.
        bias: whether the 1x1 convolution has one, which a normalisation after it cancels; FIDT's
            checkpoints hold one.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size=1, bias=bias),
        norm(channels),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(channels, hidden, kernel_size=4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(hidden, 1, kernel_size=4, stride=2, padding=1),
    )
