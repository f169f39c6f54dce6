"""Counters for a CPU: `light` with ImageNet weights, and `vgg_small`, which needs none."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.train.efficientnet import CHANNELS, Lite0Counter
from gst.models.vgg import density_size, regression_head

STRIDES = (8, 16, 32)
PIXELS = 64
"""Pixels of a cell. Both say heads per pixel times this, so that outputs of order one, which random
weights give, mean a plausible crowd."""


class Light(Lite0Counter):
    """EfficientNet-Lite0 with a feature pyramid, 3.2 M parameters, ImageNet weights.

    Features at strides 8, 16 and 32, summed upwards, then three convolutions. None of them has a
    normalisation, for the reason why the backbone's statistics are kept.
    """

    has_attention = False

    def __init__(self, width: int = 96, bias: float = 1.0):
        """Build the network.

        Args:
            width: channels of the pyramid.
            bias: of the last convolution at the start. 1 means a head in 7 × 7 cells; where heads
                are farther apart every cell then learns to see less, and the density may collapse
                to 0: -3, a head in 36 × 36 cells, keeps such trainings alive.
        """
        super().__init__(STRIDES)
        self.lateral = nn.ModuleList(nn.Conv2d(CHANNELS[stride], width, 1) for stride in STRIDES)
        self.head = regression_head(width, width, width)
        nn.init.constant_(self.head[-1].bias, bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised RGB [B, 3, H, W], sides >= 16 -> density [B, 1, H // 8, W // 8], >= 0."""
        height, width = density_size(images)
        pyramid = self.padded_features(images[..., : height * 8, : width * 8])
        *finer, total = [layer(one) for layer, one in zip(self.lateral, pyramid, strict=True)]
        for features in reversed(finer):
            total = features + functional.interpolate(total, scale_factor=2.0, mode="bilinear")
        density = functional.softplus(self.head(total)) / PIXELS
        return density[..., :height, :width]


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
