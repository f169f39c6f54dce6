"""`vgg`: VGG-19 without its fifth pooling, ×2 bilinear, three convolutions."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and 3×3 convolutions of VGG-19's five stages, a pooling between each two."""


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
