"""HRNet-W48 with FIDT's head: the counter that FIDT, DAOT and MGOT report their figures with."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from crowd.io.errors import InputError, extra
from crowd.train.checkpoints import load_weights
from crowd.train.vision import torchvision  # noqa: F401 - timm imports it, which needs its guard
from mgot.models.layers import fidt_head, join_branches, pad_to_multiple

with extra("commands", "HRNet-W48"):
    import timm

ARCHITECTURE = "hrnet_w48"
BATCH_NORM_MOMENTUM = 0.01  # FIDT's; timm's is 0.1


class HRNet(nn.Module):
    """High-resolution network (Wang et al., arXiv 1908.07919) that regresses a FIDT map.

    timm builds the layers; this class holds them under the names of the authors' checkpoints and
    differs from timm where FIDT does: fusion upsamples bilinearly instead of to the nearest
    neighbour, and the running statistics of BatchNorm move more slowly.
    """

    stride = 32  # of the coarsest branch

    def __init__(self):
        super().__init__()
        backbone = _backbone()
        for name, child in backbone.named_children():
            if not isinstance(child, nn.Identity):  # what timm leaves of its classifier
                self.add_module(name, child)
        channels = sum(backbone.feature_info.channels())
        norm = partial(nn.BatchNorm2d, momentum=BATCH_NORM_MOMENTUM)
        self.last_layer = fidt_head(channels, hidden=64, norm=norm)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Predict the FIDT map of normalised RGB images: `[B, 3, H, W]` -> `[B, 1, H, W]`."""
        height, width = images.shape[-2:]
        x = pad_to_multiple(images, self.stride)
        x = self.act1(self.bn1(self.conv1(x)))
        x = self.act2(self.bn2(self.conv2(x)))
        x = self.layer1(x)
        branches = self.stage2([transition(x) for transition in self.transition1])
        branches = self.stage3(_add_branch(self.transition2, branches))
        branches = self.stage4(_add_branch(self.transition3, branches))
        return self.last_layer(join_branches(branches))[..., :height, :width]


def _add_branch(transition: nn.ModuleList, branches: list[torch.Tensor]) -> list[torch.Tensor]:
    """Keep the branches there are; the last entry makes a coarser one of the coarsest."""
    return [*branches, transition[-1](branches[-1])]


def _backbone() -> nn.Module:
    """Build timm's HRNet without its classifier, changed to what FIDT's does."""
    backbone = timm.create_model(
        ARCHITECTURE, features_only=True, feature_location="", out_indices=(1, 2, 3, 4)
    )
    for module in backbone.modules():
        if isinstance(module, nn.Upsample):
            module.mode, module.align_corners = "bilinear", False
        elif isinstance(module, nn.BatchNorm2d):
            module.momentum = BATCH_NORM_MOMENTUM
    return backbone


def load_imagenet(model: HRNet) -> None:
    """Fill the backbone with timm's ImageNet weights, downloading them when they are not cached.

    The whole classifier is loaded, strictly, and the backbone's part of it copied, strictly: timm's
    own loader of backbones leaves out in silence what does not fit.

    Raises:
        InputError: the weights could not be fetched.
    """
    try:
        classifier = timm.create_model(ARCHITECTURE, pretrained=True)
    except Exception as error:  # the kinds depend on timm's, the hub's and their HTTP libraries
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"the ImageNet weights of {ARCHITECTURE} could not be downloaded ({reason[:200]}): "
            "connect this machine to the network for the first run, or name a checkpoint file"
        ) from error
    given, wanted = classifier.state_dict(), model.state_dict()
    head = {name: value for name, value in wanted.items() if name.startswith("last_layer.")}
    backbone = {name: given[name] for name in wanted if name in given}
    load_weights(model, backbone | head, f"timm's {ARCHITECTURE}")
