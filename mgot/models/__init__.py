"""The counters of MGOT: photo in, FIDT map of the same size out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from crowd.io.errors import InputError
from crowd.io.lazy import LazyNames

if TYPE_CHECKING:
    from torch import nn

__all__ = ["MODELS", "build_model"]

MODELS = LazyNames(
    {
        "hrnet_w48": "mgot.models.hrnet:HRNet",
        "hrnet_small": "mgot.models.hrnet:SmallHRNet",
        "light_fidt": "mgot.models.light_fidt:LightFidt",
    }
)


def build_model(name: str, pretrained: str | os.PathLike = "none", **options) -> nn.Module:
    """Build a counter that maps photos `[B, 3, H, W]` to FIDT maps `[B, 1, H, W]`.

    Photos are RGB in [0, 1] normalised by ImageNet's mean and standard deviation, of any size.

    Args:
        name: `hrnet_w48`, the papers' counter (67 million weights); `light_fidt` (3.2 million)
            starts from ImageNet's weights, `hrnet_small` from random ones, both on a CPU.
        pretrained: `none`; `imagenet` (hrnet_w48: timm's weights, downloaded once; light_fidt:
            those of a package in requirements.txt); or a checkpoint: of a training of ours, or a
            file of weights, at its top (or under `state_dict`, as in the authors' files). Of
            another counter with its backbone, such as GST's `light`, or of timm's
            `tf_efficientnet_lite0`, light_fidt takes the backbone alone, which is printed.
        **options: keyword arguments of the model's class.

    Raises:
        InputError: an unknown name, weights that do not fit, a failed download.
    """
    if name not in MODELS:
        raise InputError(f"unknown model '{name}': choose one of {', '.join(MODELS)}")
    if pretrained == "imagenet" and name == "hrnet_small":
        raise InputError(f"{name} has no ImageNet weights: set pretrained to 'none' or a file")
    model = MODELS[name](**options)
    if pretrained == "imagenet":
        model.load_imagenet()
    elif pretrained != "none":
        _load_file(model, name, pretrained)
    return model


def _load_file(model: nn.Module, name: str, path: str | os.PathLike) -> None:
    from crowd.count.counter import weights_of
    from crowd.train.checkpoints import load_checkpoint, load_weights
    from crowd.train.efficientnet import backbone_weights

    state = load_checkpoint(path)
    weights = weights_of(state, path)
    backbone = backbone_weights(state, weights, name) if name == "light_fidt" else None
    if backbone is None:
        load_weights(model, weights, path)
    else:
        load_weights(model.features, backbone, path)
        print(f"{path}: its backbone ({len(backbone)} tensors); the rest starts at random")
