"""Weights to start from: none, ImageNet, or a file."""

from __future__ import annotations

from torch import Tensor, nn

from crowd.count.counter import weights_of
from crowd.io.errors import InputError
from crowd.train import efficientnet
from crowd.train.checkpoints import load_checkpoint, load_weights
from gst.models import vgg_weights

VGG, LITE0 = "VGG-19", "EfficientNet-Lite0"


def load_pretrained(model: nn.Module, pretrained: str) -> None:
    """Load `none`, `imagenet` or the file of that path into `model`; see `build_model`."""
    if pretrained == "none":
        return
    if pretrained == "imagenet":
        backbone, weights = model.backbone, {}
        if backbone == VGG:
            weights = vgg_weights.vgg_features(vgg_weights.download_vgg19(), pretrained)
        elif backbone == LITE0:
            weights = efficientnet.imagenet_weights()
    elif vgg_weights.is_h5(pretrained):
        backbone, weights = VGG, vgg_weights.read_hed(pretrained)
    else:
        backbone, weights = _read(pretrained)
        if backbone is None:
            load_weights(model, weights, pretrained)
            return
    if backbone is None or backbone != model.backbone:
        raise InputError(
            f"--pretrained {pretrained} holds {backbone or 'a backbone'}, which this model has "
            "not: use --pretrained none, or choose another --model-name"
        )
    load_weights(model.features, weights, pretrained)


def _read(path: str) -> tuple[str | None, dict[str, Tensor]]:
    """Return which backbone a file is of, and its features' weights; None: of a whole model."""
    weights = weights_of(load_checkpoint(path), path)
    names = [str(name) for name in weights]
    if "conv_stem.weight" in names:
        return LITE0, efficientnet.feature_weights(weights)
    if "features.0.weight" in names and all(n.startswith(("features.", "classif")) for n in names):
        return VGG, vgg_weights.vgg_features(weights, path)
    return None, weights
