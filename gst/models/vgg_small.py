"""`vgg_small`: a counter that trains from scratch on two CPU cores."""

from __future__ import annotations

from torch import Tensor, nn

from gst.models.vgg import density_size


class VGGSmall(nn.Module):
    """Placeholder."""

    takes_imagenet_weights = False

    def __init__(self):
        super().__init__()
        layers = []
        channels = 3
        for width, convolutions in ((16, 1), (32, 2), (64, 2), (96, 3)):
            if channels > 3:
                layers.append(nn.MaxPool2d(2))
            for _ in range(convolutions):
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
        self.features = nn.Sequential(*layers)
        self.reg_layer = nn.Conv2d(channels, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised RGB [B, 3, H, W], sides >= 16 -> density [B, 1, H // 8, W // 8], >= 0."""
        density_size(images)
        return self.reg_layer(self.features(images)).abs()
