"""A narrow high-resolution counter that trains on two CPU cores."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from mgot.models.layers import fidt_head, join_branches, pad_to_multiple

GROUP = 8  # channels that GroupNorm normalises together


class SmallHRNet(nn.Module):
    """HRNet's plan (arXiv 1908.07919) in small: branches at strides 4, 8, 16 ... that exchange.

    Stage after stage a coarser branch is added; each stage ends with an exchange; FIDT's head
    brings the joined branches back to full resolution. GroupNorm keeps no statistics of the source
    domain, does the same in training and evaluation, and does not mind small batches. It takes its
    statistics over all that it sees, so that the map of a tile is not that part of its photo's map.

    Args:
        widths: channels of the branches, finest first, multiples of 8 (the first of 16).
        blocks: residual blocks of each branch in each stage.
        hidden: channels between the transposed convolutions of the head.

    Raises:
        ValueError: options that are not of this kind.
    """

    def __init__(self, widths: Sequence[int] = (32, 48, 64), blocks: int = 1, hidden: int = 16):
        super().__init__()
        _check_options(widths, blocks, hidden)
        self.stride = 2 ** (len(widths) + 1)  # of the coarsest branch
        self.stem = nn.Sequential(
            *conv_norm_relu(3, widths[0] // 2, stride=2),
            *conv_norm_relu(widths[0] // 2, widths[0], stride=2),
        )
        self.transitions = nn.ModuleList(
            nn.Sequential(*conv_norm_relu(fine, coarse, stride=2))
            for fine, coarse in pairwise(widths)
        )
        self.stages = nn.ModuleList(
            Stage(widths[: number + 1], blocks) for number in range(len(widths))
        )
        self.last_layer = fidt_head(sum(widths), hidden, norm=group_norm, bias=False)
        # A FIDT map is almost everywhere near 0: start there, not at noise that must be unlearned.
        nn.init.normal_(self.last_layer[-1].weight, std=0.01)
        nn.init.zeros_(self.last_layer[-1].bias)
        # Convolutions on CPU and on tensor cores are up to twice as fast in this layout, which
        # spreads from the weights to everything computed with them.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Predict the FIDT map of normalised RGB images: `[B, 3, H, W]` -> `[B, 1, H, W]`."""
        height, width = images.shape[-2:]
        branches = self.stages[0]([self.stem(pad_to_multiple(images, self.stride))])
        for transition, stage in zip(self.transitions, self.stages[1:], strict=True):
            branches = stage([*branches, transition(branches[-1])])
        return self.last_layer(join_branches(branches))[..., :height, :width]


def _check_options(widths: Sequence[int], blocks: int, hidden: int) -> None:
    fit = isinstance(widths, list | tuple) and len(widths) and all(map(_is_width, widths))
    if not fit or widths[0] % (2 * GROUP):
        raise ValueError(
            f"widths {widths!r} cannot be: name a list of multiples of {GROUP}, the first of "
            f"{2 * GROUP}, such as [32, 48, 64]"
        )
    for name, value in (("blocks", blocks), ("hidden", hidden)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} {value!r} cannot be: name a whole number above 0")


def _is_width(value: object) -> bool:
    return type(value) is int and value > 0 and value % GROUP == 0


class Stage(nn.Module):
    """Residual blocks on each branch, then each branch receives the sum of all, resampled.

    Args:
        widths: channels of the branches, each at half the resolution of the one before.
        blocks: residual blocks of each branch.
    """

    def __init__(self, widths: Sequence[int], blocks: int):
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(*(ResidualBlock(width) for _ in range(blocks))) for width in widths
        )
        self.exchange = nn.ModuleList(
            nn.ModuleList(_resample(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map one tensor a branch, finest first, to tensors of the same shapes."""
        features = [branch(x) for branch, x in zip(self.branches, features, strict=True)]
        if len(features) == 1:
            return features
        return [
            F.relu(sum(resample(x) for resample, x in zip(row, features, strict=True)))
            for row in self.exchange
        ]


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al., arXiv 1512.03385)."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(*conv_norm_relu(width, width), *conv_norm(width, width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[B, C, H, W]` -> `[B, C, H, W]`."""
        return F.relu(x + self.body(x))


def _resample(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """Layers that bring one branch to the width and the resolution of another."""
    if source == target:
        return nn.Identity()
    if source > target:
        upsample = nn.Upsample(scale_factor=2 ** (source - target), mode="bilinear")
        return nn.Sequential(*conv_norm(widths[source], widths[target], kernel=1), upsample)
    layers = []
    for _ in range(source, target - 1):
        layers += conv_norm_relu(widths[source], widths[source], stride=2)
    return nn.Sequential(*layers, *conv_norm(widths[source], widths[target], stride=2))


def conv_norm(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """Convolution, without the bias that a normalisation makes idle, and GroupNorm."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return [convolution, group_norm(outputs)]


def conv_norm_relu(inputs: int, outputs: int, stride: int = 1) -> list[nn.Module]:
    """3x3 convolution, GroupNorm, ReLU."""
    return [*conv_norm(inputs, outputs, stride=stride), nn.ReLU(inplace=True)]


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm over groups of 8 channels."""
    return nn.GroupNorm(channels // GROUP, channels)
