"""The light counter of FIDT maps: what it computes, where its weights come from, its training."""

import shlex

import pytest
import torch
from torch.nn import functional

import gst
from crowd.data.network_input import Preprocessing
from crowd.train import efficientnet
from crowd.train.checkpoints import load_checkpoint, save_checkpoint
from crowd.train.efficientnet import MEAN, STD, EfficientNetLite0
from mgot import train_baseline
from mgot.models import build_model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("light_fidt", "imagenet").eval()


def photos(*size, seed=0):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("size", [(32, 32), (33, 47), (1, 65), (100, 64)])
def test_the_map_has_the_size_of_the_photo(model, size):
    assert sum(parameter.numel() for parameter in model.parameters()) <= 5_000_000
    with torch.no_grad():
        assert model(photos(*size)).shape == (2, 1, *size)


def test_the_map_is_that_of_its_parts_put_together_by_hand(model):
    backbone = EfficientNetLite0((2, 4, 8, 16, 32))
    backbone.load_state_dict(efficientnet.imagenet_weights())
    weights, images = model.state_dict(), photos(45, 70)
    mean, std = (torch.tensor(getattr(Preprocessing, n))[:, None, None] for n in ("mean", "std"))
    seen = torch.zeros(2, 3, 64, 96)
    seen[..., :45, :70] = (images * std + mean - MEAN) / STD

    def convolution(x, name):
        kernel, bias = weights[f"{name}.weight"], weights.get(f"{name}.bias")
        return functional.conv2d(x, kernel, bias, padding=kernel.shape[-1] // 2)

    with torch.no_grad():
        finer, joined = backbone(seen)[:-1], backbone(seen)[-1]
        for index in (3, 2, 1, 0):
            coarse = convolution(joined, f"joins.{index}.coarse")
            coarse = functional.interpolate(coarse, finer[index].shape[-2:], mode="bilinear")
            total = coarse + convolution(finer[index], f"joins.{index}.fine")
            joined = convolution(total.relu(), f"joins.{index}.mix").relu()
        values = convolution(convolution(joined, "head.0").relu(), "head.2")
        expected = functional.interpolate(values, (64, 96), mode="bilinear")[..., :45, :70]
        torch.testing.assert_close(model(images), expected, rtol=1e-4, atol=1e-5)
        assert expected.std() > 1e-4


def test_every_parameter_gets_a_gradient():
    model = build_model("light_fidt")
    (model(photos(64, 96)) - 1).square().sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]


def other_checkpoint(path):
    """A checkpoint of GST's light counter, as its training writes it."""
    weights = {f"module.{n}": v + 1 for n, v in gst.build_model("light").state_dict().items()}
    average = {"n_averaged": torch.tensor(3), **weights}
    save_checkpoint(path, recipe={"model_name": "light"}, model={}, average=average)
    return {n.removeprefix("module.features."): v for n, v in weights.items() if "features" in n}


def test_the_backbone_of_a_counter_is_taken_and_no_more(tmp_path, capsys):
    expected = other_checkpoint(tmp_path / "light.pth")
    torch.manual_seed(0)
    taken = build_model("light_fidt", str(tmp_path / "light.pth"))
    torch.testing.assert_close(dict(taken.features.state_dict()), expected, rtol=0, atol=0)
    assert f"its backbone ({len(expected)} tensors)" in capsys.readouterr().out
    torch.manual_seed(0)
    fresh = build_model("light_fidt").head.state_dict()
    torch.testing.assert_close(taken.head.state_dict(), fresh, rtol=0, atol=0)


def test_the_backbone_of_the_package_is_imagenet_s():
    taken = build_model("light_fidt", str(efficientnet.package_file())).features.state_dict()
    torch.testing.assert_close(dict(taken), efficientnet.imagenet_weights(), rtol=0, atol=0)


def test_a_whole_counter_is_loaded_whole(model, tmp_path):
    for name, recipe in (("ours.pth", {"recipe": {"model_name": "light_fidt"}}), ("bare.pth", {})):
        save_checkpoint(tmp_path / name, model=model.state_dict(), **recipe)
        loaded = build_model("light_fidt", tmp_path / name)
        torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)


def test_the_backbone_is_fine_tuned_at_its_rate_on_scaled_crops(write_fidt_set, tmp_path):
    root = write_fidt_set(train=(3, 5), size=(96, 80))
    given = other_checkpoint(tmp_path / "light.pth")
    words = f"--model_name light_fidt --data_dir {root} --save_dir {tmp_path} --device cpu "
    words += "--crop_size 32 --batch_size 2 --epochs 1 --seed 3 --optimizer adamw --lr 1e-3 "
    words += f"--pretrained {tmp_path / 'light.pth'} --backbone_lr 0.5 "
    words += "--scale_range 0.6 1.3 --clip_gradient 1e-9"
    train_baseline.main(shlex.split(words))
    (tmp_path / "light.pth").unlink()  # of which a training that has begun needs no more
    train_baseline.main(shlex.split(f"{words} --resume"))
    state = load_checkpoint(tmp_path / "last.pth")
    kinds = [(one["initial_lr"], one["weight_decay"]) for one in state["optimizer"]["param_groups"]]
    assert kinds == [(1e-3, 5e-4), (5e-4, 5e-4)]
    for name, value in given.items():
        if name.endswith("running_mean"):
            torch.testing.assert_close(state["model"][f"features.{name}"], value, rtol=0, atol=0)
    # The clipped gradient is far below Adam's epsilon, so that hardly anything is learned.
    moved = (state["model"]["features.conv_stem.weight"] - given["conv_stem.weight"]).abs().max()
    assert 0 < moved < 1e-4
