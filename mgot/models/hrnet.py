"""HRNet-W48 with FIDT's head, as FIDT, DAOT and MGOT use it, and a narrow one for two CPU cores.

Photos are padded below and to the right to multiples of the coarsest stride, with zeros, the mean
colour, and their maps are cut there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from crowd.io.errors import InputError, extra
from crowd.train.checkpoints import load_weights

ARCHITECTURE = "hrnet_w48"
STRIDE = 32  # of its coarsest branch
BATCH_NORM_MOMENTUM = 0.01  # FIDT's; timm's is 0.1
GROUP = 8  # channels that GroupNorm of the narrow one normalises together


class HRNet(nn.Module):
    """High-resolution network (Wang et al., arXiv 1908.07919) that regresses a FIDT map.

    timm builds the layers; this class holds them under the names of the authors' checkpoints and
    differs from timm where FIDT does: fusion upsamples bilinearly instead of to the nearest
    neighbour, and the running statistics of BatchNorm move more slowly.
    """

    def __init__(self):
        super().__init__()
        backbone = _timm().create_model(
            ARCHITECTURE, features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
        )
        for module in backbone.modules():
            if isinstance(module, nn.Upsample):
                module.mode, module.align_corners = "bilinear", False
            elif isinstance(module, nn.BatchNorm2d):
                module.momentum = BATCH_NORM_MOMENTUM
        for name, child in backbone.named_children():
            if not isinstance(child, nn.Identity):  # what timm leaves of its classifier
                self.add_module(name, child)
        channels = sum(backbone.feature_info.channels())
        norm = partial(nn.BatchNorm2d, momentum=BATCH_NORM_MOMENTUM)
        self.last_layer = fidt_head(channels, hidden=64, norm=norm)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Predict the FIDT map of normalised RGB images: `[B, 3, H, W]` -> `[B, 1, H, W]`."""
        height, width = images.shape[-2:]
        x = F.pad(images, (0, -width % STRIDE, 0, -height % STRIDE))
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        branches = self.stage2([transition(x) for transition in self.transition1])
        for transition, stage in ((self.transition2, self.stage3), (self.transition3, self.stage4)):
            branches = stage([*branches, transition[-1](branches[-1])])
        return self.last_layer(join_branches(branches))[..., :height, :width]

    def load_imagenet(self) -> None:
        """Fill the backbone with timm's ImageNet weights, downloaded when they are not cached.

        The whole classifier is loaded, strictly, and the backbone's part of it copied, strictly:
        timm's own loader of backbones leaves out in silence what does not fit. Raises `InputError`
        where the weights could not be fetched.
        """
        try:
            classifier = _timm().create_model(ARCHITECTURE, pretrained=True)
        except Exception as error:  # the kinds depend on timm's, the hub's and their HTTP libraries
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"the ImageNet weights of {ARCHITECTURE} could not be downloaded ({reason[:200]}): "
                "connect this machine to the network for the first run, or name a checkpoint file"
            ) from error
        given, wanted = classifier.state_dict(), self.state_dict()
        head = {name: value for name, value in wanted.items() if name.startswith("last_layer.")}
        backbone = {name: given[name] for name in wanted if name in given}
        load_weights(self, backbone | head, f"timm's {ARCHITECTURE}")


def _timm():
    with extra("commands", "HRNet-W48"):
        from crowd.train.vision import torchvision  # noqa: F401 - timm imports it, with a guard

        import timm  # isort: skip
    return timm


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
        padded = F.pad(images, (0, -width % self.stride, 0, -height % self.stride))
        branches = self.stages[0]([self.stem(padded)])
        for transition, stage in zip(self.transitions, self.stages[1:], strict=True):
            branches = stage([*branches, transition(branches[-1])])
        return self.last_layer(join_branches(branches))[..., :height, :width]


def _check_options(widths: Sequence[int], blocks: int, hidden: int) -> None:
    def is_width(one: object, unit: int = GROUP) -> bool:
        return type(one) is int and one > 0 and one % unit == 0

    listed = isinstance(widths, list | tuple) and all(map(is_width, widths))
    if not listed or not is_width(next(iter(widths), 0), 2 * GROUP):
        raise ValueError(
            f"widths {widths!r} cannot be: name a list of multiples of {GROUP}, the first of "
            f"{2 * GROUP}, such as [32, 48, 64]"
        )
    for name, value in (("blocks", blocks), ("hidden", hidden)):
        if type(value) is not int or value < 1:
            raise ValueError(f"{name} {value!r} cannot be: name a whole number above 0")


class Stage(nn.Module):
    """Residual blocks on each branch, then each branch receives the sum of all, resampled."""

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


def join_branches(features: Sequence[torch.Tensor]) -> torch.Tensor:
    """Upsample all branches `[B, C_i, H_i, W_i]` to the first, finest one (bilinear); join them."""
    size = features[0].shape[-2:]
    coarser = [F.interpolate(x, size, mode="bilinear", align_corners=False) for x in features[1:]]
    return torch.cat([features[0], *coarser], dim=1)


def fidt_head(
    channels: int, hidden: int, norm: Callable[[int], nn.Module], bias: bool = True
) -> nn.Sequential:
    """Head of FIDT (arXiv 2102.07925, released code): from stride 4 back to every pixel.

    A 1x1 convolution mixes the joined branches; two transposed convolutions (kernel 4, stride 2,
    padding 1), with `hidden` channels between them, double the sides twice. The last layer is
    linear: a FIDT map is regressed as it is. The 1x1 convolution's `bias`, which FIDT's checkpoints
    hold, is cancelled by the normalisation after it.
    """
    return nn.Sequential(
        nn.Conv2d(channels, channels, kernel_size=1, bias=bias),
        norm(channels),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(channels, hidden, kernel_size=4, stride=2, padding=1),
        nn.ReLU(inplace=True),
        nn.ConvTranspose2d(hidden, 1, kernel_size=4, stride=2, padding=1),
    )
