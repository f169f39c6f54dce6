"""The counters of GST, by name."""

from __future__ import annotations

from torch import nn

from crowd.errors import InputError
from gst.models.pretrained import load_pretrained
from gst.models.vgg import VGG
from gst.models.vgg_small import VGGSmall
from gst.models.vgg_trans import VGGTrans, attention_variance

__all__ = ["MODELS", "attention_variance", "build_model"]

MODELS = {"vgg": VGG, "vgg_trans": VGGTrans, "vgg_small": VGGSmall}


def build_model(name: str, pretrained: str = "none", **options) -> nn.Module:
    """Build a counter: normalised RGB [B, 3, H, W] -> density [B, 1, H // 8, W // 8], summing to
    the count.

    Args:
        name: `vgg` and `vgg_trans` are the paper's networks on VGG-19; `vgg_small` trains from
            scratch on a CPU.
        pretrained: `none` (random weights), `imagenet` (VGG-19 of torchvision, downloaded the
            first time), or the path of a file: weights of the whole model, or VGG-19 for ImageNet.
        options: passed to the network's class.

    Raises:
        InputError: unknown name; weights that do not fit, cannot be read or be downloaded.
    """
    if name not in MODELS:
        raise InputError(f"unknown model '{name}': choose one of {', '.join(MODELS)}")
    model = MODELS[name](**options)
    load_pretrained(model, pretrained)
    return model
