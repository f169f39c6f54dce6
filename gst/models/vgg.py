"""`vgg`, VGG-19 without its fifth pooling, ×2 bilinear, three convolutions; and `vgg_small`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and 3×3 convolutions of VGG-19's five stages, a pooling between each two."""
PIXELS = 64
"""Pixels of a cell. `vgg_small` and `light` say heads per pixel times this, so that outputs of
order one, which random weights give, mean a plausible crowd."""


class VGG(nn.Module):
    """The paper's plain counter (released code): stride 16, then ×2, so a cell is 8 pixels.

    The release enlarges by the factor 2, align_corners=True. Here the map is enlarged to
    (H // 8, W // 8), which is the same wherever H // 8 and W // 8 are even; for other sides the
    release's map lacks the last row or column of cells.
    """

    backbone = "VGG-19"
    has_attention = False

    def __init__(self):
        super().__init__()
        self.features = vgg19_features()
        self.reg_layer = regression_head()

    def forward(self, images: Tensor) -> Tensor:
        """Normalised RGB [B, 3, H, W], sides >= 16 -> density [B, 1, H // 8, W // 8], >= 0."""
        size = density_size(images)
        enlarged = enlarge(self.features(images), size)
        return self.reg_layer(enlarged).abs()


def density_size(images: Tensor) -> tuple[int, int]:
    """(H // 8, W // 8) of images [B, 3, H, W]; `ValueError` when a side is below 16 pixels."""
    height, width = images.shape[-2:]
    if min(height, width) < 16:
        raise ValueError(f"an image of {height} x {width} pixels is too small: 16 are needed")
    return height // 8, width // 8


def enlarge(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize features [B, C, h, w] to `size` as the release does: bilinear, corners aligned."""
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=True)


def vgg19_features() -> nn.Sequential:
    """Convolutions of VGG-19 up to the last ReLU, [B, 3, H, W] -> [B, 512, H // 16, W // 16].

    He initialisation, so that the sixteen layers train from scratch too.
    """
    layers: list[nn.Module] = []
    channels = 3
    for stage, (width, convolutions) in enumerate(STAGES):
        if stage > 0:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
            layers += [convolution, nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers)


def regression_head() -> nn.Sequential:
    """Features [B, 512, h, w] -> one signed value a cell, [B, 1, h, w]."""
    return nn.Sequential(
        nn.Conv2d(512, 256, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(256, 128, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(128, 1, 1),
    )


class VGGSmall(nn.Module):
    """A counter of 0.34 M parameters that trains from scratch on two CPU cores.

    3×3 convolutions with batch normalisation, stride 8, a cell sees 109 × 109 pixels.

    The first convolution has stride 2, since layers at full resolution take most of a step's time.
    Batch normalisation uses running statistics in evaluation, which hold for any size of photo;
    group normalisation would see other statistics in a whole photo than in a crop. Without any
    normalisation, and with abs in place of softplus at the end, it learns more slowly.
    """

    backbone = None
    has_attention = False

    def __init__(self, width: float = 1.0):
        """Build the network; `width` multiplies all channel counts (time grows with its square)."""
        super().__init__()
        stem, middle, deep, last = (max(1, round(width * c)) for c in (24, 48, 96, 128))
        self.features = nn.Sequential(
            *convolution(3, stem, stride=2),
            *convolution(stem, stem),
            nn.MaxPool2d(2),
            *convolution(stem, middle),
            *convolution(middle, middle),
            nn.MaxPool2d(2),
            *convolution(middle, deep),
            *convolution(deep, last, dilation=2),
            *convolution(last, last, dilation=2),
        )
        self.reg_layer = nn.Conv2d(last, 1, 1)
        nn.init.normal_(self.reg_layer.weight, std=last**-0.5)
        nn.init.constant_(self.reg_layer.bias, -1.0)
        # Saves a quarter of a step's time on a CPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised RGB [B, 3, H, W], sides >= 16 -> density [B, 1, H // 8, W // 8], >= 0."""
        height, width = density_size(images)
        # A side that is no multiple of 8 would round up at the strided convolution.
        features = self.features(images[..., : height * 8, : width * 8])
        return functional.softplus(self.reg_layer(features)) / PIXELS


def convolution(channels: int, width: int, stride: int = 1, dilation: int = 1) -> list[nn.Module]:
    """3×3 convolution (He initialisation), batch normalisation, ReLU."""
    layer = nn.Conv2d(channels, width, 3, stride, padding=dilation, dilation=dilation, bias=False)
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return [layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
