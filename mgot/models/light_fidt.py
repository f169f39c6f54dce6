"""`light_fidt`: EfficientNet-Lite0 with a feature pyramid, 3.1 M parameters, ImageNet weights."""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.count.counter import weights_of
from crowd.train.checkpoints import load_checkpoint, load_weights
from crowd.train.efficientnet import PACKAGE, FeaturePyramid, backbone_weights, imagenet_weights

STRIDES = (2, 4, 8, 16, 32)


class LightFidt(FeaturePyramid):
    """Features at strides 2 to 32, summed upwards, three convolutions, bilinear to full size."""

    def __init__(self, width: int = 48):
        """Build the network; `width` is the number of the pyramid's channels."""
        super().__init__(STRIDES, width)
        self.head = nn.Sequential(
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, 1, 1),
        )
        # A FIDT map is almost everywhere near 0: start there, not at noise that must be unlearned.
        nn.init.normal_(self.head[-1].weight, std=0.01)
        nn.init.zeros_(self.head[-1].bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Predict the FIDT map of normalised RGB images: `[B, 3, H, W]` -> `[B, 1, H, W]`."""
        height, width = images.shape[-2:]
        coarse = self.head(self.pyramid(images))
        fidt_map = functional.interpolate(coarse, scale_factor=2.0, mode="bilinear")
        return fidt_map[..., :height, :width]

    def load_pretrained(self, pretrained: str | os.PathLike) -> None:
        """Load ImageNet's backbone (`imagenet`) or a file: the whole model, or its backbone.

        A backbone is that of timm's `tf_efficientnet_lite0` or of another counter's checkpoint,
        such as GST's `light`; then the rest stays at random, which is printed.

        Raises:
            InputError: the package of ImageNet's weights is missing, or weights do not fit.
        """
        if pretrained == "imagenet":
            load_weights(self.features, imagenet_weights(), PACKAGE)
            return
        state = load_checkpoint(pretrained)
        weights = weights_of(state, pretrained)
        backbone = backbone_weights(state, weights, "light_fidt")
        if backbone is None:
            load_weights(self, weights, pretrained)
            return
        load_weights(self.features, backbone, pretrained)
        print(f"{pretrained}: its backbone ({len(backbone)} tensors); the rest starts at random")
