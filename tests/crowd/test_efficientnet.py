"""The light backbone computes what timm's does, values and gradients."""

import numpy as np
import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from crowd.train import efficientnet
from crowd.train.efficientnet import CHANNELS, EfficientNetLite0
from crowd.train.vision import torchvision


def timm_network(**options):
    assert torchvision
    import timm

    return timm.create_model("tf_efficientnet_lite0", **options)


@pytest.fixture(scope="module")
def networks():
    """Ours and timm's with the same ImageNet weights, timm's with its statistics frozen."""
    ours = EfficientNetLite0(tuple(CHANNELS))
    ours.load_state_dict(efficientnet.imagenet_weights())
    theirs = timm_network(features_only=True).eval()
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def test_features_and_gradients_are_those_of_timm(networks):
    images = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    ours, theirs = networks
    values, gradients = [], []
    for network in (ours.double(), theirs.double()):
        features = network(images.double())
        network.zero_grad()
        sum(feature.square().mean() for feature in features).backward()
        values.append(features)
        gradients.append({name: value.grad for name, value in network.named_parameters()})
    for ours, theirs, (stride, channels) in zip(*values, CHANNELS.items(), strict=True):
        assert ours.shape == (2, channels, 64 // stride, 96 // stride)
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(*gradients, rtol=1e-7, atol=1e-9)


def test_under_autocast_a_cpu_computes_all_but_depthwise_convolutions_in_bfloat16():
    class Seen(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.overloadpacket.__name__
            if name in ("convolution", "mm", "addmm", "linear"):
                seen.add((name == "convolution", args[-1 if name == "addmm" else 0].dtype))
            return function(*args, **(kwargs or {}))

    seen = set()
    torch.manual_seed(0)
    network = EfficientNetLite0()
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.autocast("cpu", torch.bfloat16), Seen():
        features = network(images)
    assert seen == {(True, torch.float32), (False, torch.bfloat16)}
    for mine, exact in zip(features, network(images), strict=True):
        apart = (mine.float() - exact).norm() / exact.norm()
        # Each of fifty layers rounds its weights, and its inputs, to 8 bits.
        assert 0 < apart < 50**0.5 * 2**-8 * 2


def test_the_weights_have_learnt_imagenet():
    """A palace and a daisy, or the order of the file's tensors were not timm's."""
    datasets = pytest.importorskip("sklearn.datasets")
    path = efficientnet.package_file()
    network = timm_network().eval()
    stored = torch.load(path, weights_only=True).values()
    network.load_state_dict(dict(zip(network.state_dict(), stored, strict=True)))
    photos = [datasets.load_sample_image(name) for name in ("china.jpg", "flower.jpg")]
    photos = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float()
    photos = functional.interpolate(photos, size=(224, 336), mode="area")
    photos, black = ((x / 255 - efficientnet.MEAN) / efficientnet.STD for x in (photos, 0))
    assert black == pytest.approx(-127 / 128)  # as it was trained
    with torch.no_grad():
        palace, daisy = network(photos).topk(5).indices.tolist()
    assert 698 in palace
    assert 985 in daisy


@pytest.mark.cuda
def test_counting_leaves_depthwise_convolutions_to_torch():
    """cuDNN would compile a kernel of each for every size of photo."""
    network = EfficientNetLite0(tuple(CHANNELS)).cuda()
    depthwise = sum(module.groups > 1 for module in network.modules() if hasattr(module, "groups"))
    with torch.no_grad(), torch.profiler.profile() as profiled:
        network(torch.rand(1, 3, 64, 96, device="cuda"))
    counts = {event.key: event.count for event in profiled.key_averages()}
    assert depthwise > 0
    assert counts["aten::_conv_depthwise2d"] == depthwise
