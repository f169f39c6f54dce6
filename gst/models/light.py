"""`light`: EfficientNet-Lite0 with a feature pyramid, 3.2 M parameters, ImageNet weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.train.efficientnet import CHANNELS, Lite0Counter
from gst.models.vgg import PIXELS, density_size

STRIDES = (8, 16, 32)


class Light(Lite0Counter):
    """Features at strides 8, 16 and 32, summed upwards, then three convolutions.

    None of them has a normalisation, for the reason why the backbone's statistics are kept.
    """

    has_attention = False

    def __init__(self, width: int = 96):
        """Build the network; `width` is the number of the pyramid's channels."""
        super().__init__(STRIDES)
        self.lateral = nn.ModuleList(nn.Conv2d(CHANNELS[stride], width, 1) for stride in STRIDES)
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 1, 1),
        )
        nn.init.constant_(self.head[-1].bias, 1.0)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised RGB [B, 3, H, W], sides >= 16 -> density [B, 1, H // 8, W // 8], >= 0."""
        height, width = density_size(images)
        total, pyramid = None, self.padded_features(images[..., : height * 8, : width * 8])
        for lateral, features in zip(reversed(self.lateral), reversed(pyramid), strict=True):
            finer = lateral(features)
            if total is not None:
                finer = finer + functional.interpolate(total, scale_factor=2.0, mode="bilinear")
            total = finer
        density = functional.softplus(self.head(total)) / PIXELS
        return density[..., :height, :width]
