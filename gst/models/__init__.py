"""The counters of GST, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crowd.io.errors import InputError
from crowd.io.lazy import LazyNames
from crowd.train.runs import ROOT

if TYPE_CHECKING:
    from torch import nn

__all__ = ["BOXED", "MODELS", "build_model"]

MODELS = LazyNames(
    {
        "vgg": "gst.models.vgg:VGG",
        "vgg_trans": "gst.models.vgg:VGGTrans",
        "vgg_small": "gst.models.small:VGGSmall",
        "light": "gst.models.small:Light",
    }
)
BOXED = ROOT / "weights" / "light.pth"
"""The trained counter that comes with the project (weights/README.md)."""


def build_model(name: str, pretrained: str = "none", **options) -> nn.Module:
    """Build a counter: normalised RGB [B, 3, H, W] -> density [B, 1, H // 8, W // 8], summing to
    the count.

    Args:
        name: `vgg` and `vgg_trans` are the paper's networks on VGG-19; `light` has 3.2 M
            parameters and ImageNet weights, `vgg_small` trains from scratch; both on a CPU.
        pretrained: `none` (random weights), `imagenet` (VGG-19 of torchvision, downloaded the
            first time; EfficientNet-Lite0 of a package in requirements.txt), or the path of a file:
            weights of the whole model, or of its backbone for ImageNet.
        options: passed to the network's class.

    Raises:
        InputError: unknown name; weights that do not fit, cannot be read or be downloaded.
    """
    if name not in MODELS:
        raise InputError(f"unknown model '{name}': choose one of {', '.join(MODELS)}")
    from gst.models.pretrained import load_pretrained

    model = MODELS[name](**options)
    load_pretrained(model, pretrained)
    return model
