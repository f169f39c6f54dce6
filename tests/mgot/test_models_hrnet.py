"""The counters: names and values of the authors' HRNet-W48, checkpoints, sizes, gradients."""

import copy
import json
import socket
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from crowd.io.errors import InputError
from crowd.train.checkpoints import load_weights, save_checkpoint
from mgot.models import build_model


def fill(shapes: dict, seed: int) -> dict:
    """Weights by the rule under which the released network made its golden output."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for name in sorted(shapes):
        shape = shapes[name]
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(0)
        elif name.endswith("running_var"):
            weights[name] = torch.rand(shape, generator=generator) * 0.5 + 0.75
        elif name.endswith("running_mean"):
            weights[name] = torch.randn(shape, generator=generator) * 0.05
        elif len(shape) > 1:
            fan_in = np.prod(shape[1:])
            weights[name] = torch.randn(shape, generator=generator) * (0.5 * fan_in**-0.5)
        elif name.endswith("weight") and ("bn" in name or name.endswith(".1.weight")):
            weights[name] = torch.rand(shape, generator=generator) * 0.5 + 0.75
        else:
            weights[name] = torch.randn(shape, generator=generator) * 0.02
    return weights


@pytest.fixture(scope="module")
def released_shapes(golden):
    return json.loads((golden / "mgot_hrnet_state_dict_shapes.json").read_text())


@pytest.fixture(scope="module")
def figures(golden):
    with np.load(golden / "mgot_hrnet.npz") as file:
        return {name: torch.from_numpy(file[name]) for name in file}


@pytest.fixture(scope="module")
def w48(released_shapes, figures):
    """HRNet-W48 in eval mode, built without network, loaded from an authors' kind of checkpoint."""

    def refuse(*_):
        raise AssertionError("building a model must not use the network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        model = build_model("hrnet_w48")
    weights = fill(released_shapes, int(figures["seed"]))
    weights = {f"module.{name}": value for name, value in weights.items()}
    load_weights(model, weights, "checkpoint")
    return model.eval()


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return build_model("hrnet_small")


def test_w48_computes_what_the_released_network_does(w48, figures):
    with torch.no_grad():
        output = w48(figures["input"])
    torch.testing.assert_close(output, figures["output"], rtol=1e-4, atol=1e-5)


def test_w48_moves_running_statistics_as_slowly_as_fidt(w48):
    norms = [m for m in w48.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert norms
    assert {norm.momentum for norm in norms} == {0.01}


@pytest.mark.parametrize("name", ["w48", "small"])
def test_every_parameter_gets_a_gradient(name, request):
    model = copy.deepcopy(request.getfixturevalue(name)).train()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    (model(images) - 1).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        idle = name == "last_layer.0.bias"  # BatchNorm takes any constant away
        assert parameter.grad.any() or idle, name


@pytest.mark.parametrize("name", ["w48", "small"])
def test_padding_is_appended_and_cut_off_again(name, request):
    model = request.getfixturevalue(name)
    images = torch.randn(1, 3, 70, 45, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = model(images)
        padded = model(F.pad(images, (0, 64 - 45, 0, 96 - 70) if name == "w48" else (0, 3, 0, 10)))
    assert output.shape == (1, 1, 70, 45)
    torch.testing.assert_close(output, padded[..., :70, :45])


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (100, 65)])
def test_the_small_counter_is_small_and_takes_any_size(small, size):
    assert sum(parameter.numel() for parameter in small.parameters()) <= 1_000_000
    with torch.no_grad():
        assert small(torch.zeros(1, 3, *size)).shape == (1, 1, *size)


def test_the_small_counter_puts_a_peak_on_the_right_pixel():
    torch.manual_seed(0)
    model = build_model("hrnet_small", widths=(16, 16, 16))
    images = torch.zeros(1, 3, 48, 64)
    target = torch.zeros(1, 1, 48, 64)
    for x, y in ((13, 9), (42, 30)):
        images[..., y - 4 : y + 5, x - 4 : x + 5] = 2.0
        target[..., y - 2 : y + 3, x - 2 : x + 3] = 0.3
        target[..., y, x] = 1.0
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        F.mse_loss(model(images), target, reduction="sum").backward()
        optimizer.step()
    with torch.no_grad():
        peaks = model(images)[0, 0].flatten().topk(2).indices
    assert {divmod(int(index), 64) for index in peaks} == {(9, 13), (30, 42)}


def test_a_checkpoint_is_gone_on_from_as_it_is_tested(small, tmp_path):
    weights = small.state_dict()
    zeros = {name: torch.zeros_like(value) for name, value in weights.items()}
    average = {"n_averaged": torch.tensor(3), **{f"module.{n}": v for n, v in weights.items()}}
    recipe = {"model_name": "hrnet_small"}
    save_checkpoint(tmp_path / "last.pth", recipe=recipe, model=zeros, average=average)
    model = build_model("hrnet_small", pretrained=tmp_path / "last.pth")
    torch.testing.assert_close(model.state_dict(), weights, rtol=0, atol=0)


def test_imagenet_weights_fill_the_backbone_and_leave_the_head(w48, monkeypatch):
    model, before, asked = copy.deepcopy(w48), w48.state_dict(), []
    head = {name: value for name, value in before.items() if name.startswith("last_layer.")}
    given = {name: torch.ones_like(before[name]) for name in before.keys() - head}
    classifier = given | {"classifier.weight": torch.zeros(1000, 2048)}

    def create_model(name, **options):
        asked.append((name, options))
        return SimpleNamespace(state_dict=lambda: classifier)

    monkeypatch.setattr("timm.create_model", create_model)
    model.load_imagenet()
    assert asked == [("hrnet_w48", {"pretrained": True})]
    torch.testing.assert_close(dict(model.state_dict()), given | head, rtol=0, atol=0)
    del classifier["conv1.weight"]
    with pytest.raises(InputError, match=r"missing: conv1.weight"):
        model.load_imagenet()


def test_a_failed_download_is_one_sentence(w48, monkeypatch):
    def create_model(name, **options):
        raise ConnectionError("name resolution\nfailed")

    monkeypatch.setattr("timm.create_model", create_model)
    with pytest.raises(InputError, match=r"could not be downloaded.*name resolution failed.*file"):
        w48.load_imagenet()


def test_unknown_names_and_weights_are_refused():
    with pytest.raises(InputError, match=r"hrnet_w18.*hrnet_w48, hrnet_small"):
        build_model("hrnet_w18")
    with pytest.raises(InputError, match="hrnet_small has no ImageNet weights"):
        build_model("hrnet_small", pretrained="imagenet")
    with pytest.raises(InputError, match=r"nowhere\.pt"):
        build_model("hrnet_small", pretrained="nowhere.pt")


@pytest.mark.parametrize("name", ["w48", "small"])
def test_samples_of_a_batch_do_not_influence_each_other(name, request):
    model = request.getfixturevalue(name)  # the small one in training mode, where it holds too
    images = torch.randn(3, 3, 32, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(model(images)[1:2], model(images[1:2]), rtol=1e-4, atol=1e-5)
