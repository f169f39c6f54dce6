"""`light`: EfficientNet-Lite0 with a feature pyramid, 3.2 M parameters, ImageNet weights."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.data.network_input import Preprocessing
from crowd.train.efficientnet import CHANNELS, COARSEST, MEAN, STD, EfficientNetLite0
from gst.models.vgg import PIXELS, density_size

STRIDES = (8, 16, 32)


class Light(nn.Module):
    """Features at strides 8, 16 and 32, summed upwards, then three convolutions.

    The backbone keeps ImageNet's statistics of batch normalisation and the head has none: a batch
    of a few crops would give poor ones, and a whole photo is counted with those of the training.
    """

    backbone = "EfficientNet-Lite0"
    has_attention = False

    def __init__(self, width: int = 96):
        """Build the network; `width` is the number of the pyramid's channels."""
        super().__init__()
        self.features = EfficientNetLite0(STRIDES)
        self.lateral = nn.ModuleList(nn.Conv2d(CHANNELS[stride], width, 1) for stride in STRIDES)
        self.head = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 1, 1),
        )
        nn.init.constant_(self.head[-1].bias, 1.0)
        # Other networks take images normalised with ImageNet's mean and deviation; this one undoes
        # that, so that all models are given the same.
        scale, shift = (
            torch.tensor(Preprocessing.std) / STD,
            (torch.tensor(Preprocessing.mean) - MEAN) / STD,
        )
        self.register_buffer("scale", scale.view(3, 1, 1), persistent=False)
        self.register_buffer("shift", shift.view(3, 1, 1), persistent=False)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised RGB [B, 3, H, W], sides >= 16 -> density [B, 1, H // 8, W // 8], >= 0."""
        height, width = density_size(images)
        images = images[..., : height * 8, : width * 8] * self.scale + self.shift
        images = functional.pad(
            images, (0, -images.shape[3] % COARSEST, 0, -images.shape[2] % COARSEST)
        )
        total = None
        for lateral, features in zip(
            reversed(self.lateral), reversed(self.features(images)), strict=True
        ):
            finer = lateral(features)
            if total is not None:
                finer = finer + functional.interpolate(total, scale_factor=2.0, mode="bilinear")
            total = finer
        density = functional.softplus(self.head(total)) / PIXELS
        return density[..., :height, :width]
