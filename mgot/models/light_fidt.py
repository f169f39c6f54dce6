"""`light_fidt`: EfficientNet-Lite0 with a decoder to full size, 3.2 M parameters."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.train.checkpoints import load_weights
from crowd.train.efficientnet import CHANNELS, PACKAGE, Lite0Counter, imagenet_weights

STRIDES = (2, 4, 8, 16, 32)


class LightFidt(Lite0Counter):
    """Features at strides 2 to 32, joined from coarse to fine, then bilinear to full size.

    No layer of this decoder has a normalisation, for the reason why the backbone's statistics are
    kept.
    """

    def __init__(self, widths: Sequence[int] = (32, 64, 96, 96)):
        """Build the network; `widths` are the decoder's channels at strides 2, 4, 8 and 16."""
        super().__init__(STRIDES)
        if len(widths) != len(STRIDES) - 1:
            raise ValueError(f"widths {widths!r} cannot be: name four, such as [32, 64, 96, 96]")
        coarse = [*widths[1:], CHANNELS[STRIDES[-1]]]
        self.joins = nn.ModuleList(
            Join(*channels, CHANNELS[stride])
            for *channels, stride in zip(widths, coarse, STRIDES[:-1], strict=True)
        )
        self.head = nn.Sequential(
            nn.Conv2d(widths[0], widths[0], 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(widths[0], 1, 1),
        )
        # A FIDT map is almost everywhere near 0: start there, not at noise that must be unlearned.
        nn.init.normal_(self.head[-1].weight, std=0.01)
        nn.init.zeros_(self.head[-1].bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, images: Tensor) -> Tensor:
        """Predict the FIDT map of normalised RGB images: `[B, 3, H, W]` -> `[B, 1, H, W]`."""
        height, width = images.shape[-2:]
        *finer, joined = self.padded_features(images)
        for join, features in zip(reversed(self.joins), reversed(finer), strict=True):
            joined = join(joined, features)
        return doubled(self.head(joined))[..., :height, :width]

    def load_imagenet(self) -> None:
        """Fill the backbone with ImageNet's weights; raise `InputError` without their package."""
        load_weights(self.features, imagenet_weights(), PACKAGE)


class Join(nn.Module):
    """Coarse features, and those of twice their resolution: 1x1 each, their sum, then 3x3."""

    def __init__(self, width: int, coarse: int, fine: int):
        """Build it: channels that come out, and those of the features that go in."""
        super().__init__()
        self.coarse = nn.Conv2d(coarse, width, 1, bias=False)
        self.fine = nn.Conv2d(fine, width, 1)
        self.mix = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        """`[B, coarse, h, w]` and `[B, fine, 2 h, 2 w]` -> `[B, width, 2 h, 2 w]`."""
        total = doubled(self.coarse(coarse)) + self.fine(fine)
        return functional.relu(self.mix(functional.relu(total)))


def doubled(features: Tensor) -> Tensor:
    """Enlarge both sides of `[B, C, h, w]` twofold (bilinear)."""
    return functional.interpolate(features, scale_factor=2.0, mode="bilinear")
