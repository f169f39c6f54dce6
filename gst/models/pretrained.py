"""Weights to start from: none, ImageNet, or a file."""

from __future__ import annotations

from torch import nn

from crowd.checkpoints import load_checkpoint, load_weights
from crowd.counter import weights_of
from crowd.errors import InputError


def load_pretrained(model: nn.Module, pretrained: str) -> None:
    """Load `none`, `imagenet` or the file of that path into `model`; see `build_model`."""
    if pretrained == "none":
        return
    if pretrained == "imagenet":
        _require_vgg19(model, pretrained)
        load_imagenet_features(model, _download_vgg19(), "torchvision's VGG-19")
        return
    weights = weights_of(load_checkpoint(pretrained), pretrained)
    if any(str(name).startswith("classifier.") for name in weights):
        _require_vgg19(model, pretrained)
        load_imagenet_features(model, weights, pretrained)
    else:
        load_weights(model, weights, pretrained)


def load_imagenet_features(model: nn.Module, weights: dict, source: str) -> None:
    """Load `features.*` of a VGG-19 strictly; its `classifier.*` has no place here.

    Args:
        model: a network whose `features` are VGG-19's.
        weights: state dict of a VGG-19 for ImageNet.
        source: its path or origin, for the message.

    Raises:
        InputError: the features do not fit.
    """
    prefix = "features."
    features = {
        name.removeprefix(prefix): value
        for name, value in weights.items()
        if name.startswith(prefix)
    }
    load_weights(model.features, features, source)


def _require_vgg19(model: nn.Module, pretrained: str) -> None:
    if not model.takes_imagenet_weights:
        raise InputError(
            f"--pretrained {pretrained} holds VGG-19, which this model is not: use --pretrained "
            "none, or --model-name vgg or vgg_trans"
        )


def _download_vgg19() -> dict:
    from crowd.vision import torchvision

    try:
        return torchvision.models.VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"VGG-19 could not be downloaded ({error}): use --pretrained none, or --pretrained "
            "PATH with a copy of vgg19-dcbb9e9d.pth"
        ) from error
