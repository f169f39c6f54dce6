"""The cheap controls of an adaptation: AdaBN, and one factor for all counts."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from crowd.data.network_input import photo_tensor, read_photo
from crowd.io.errors import InputError
from crowd.train.checkpoints import save_checkpoint
from mgot import test as mgot_test
from mgot.evaluation import CountedSet, count_factor, reset_batch_norm
from mgot.fidt import Preprocessing
from mgot.models import build_model
from tests.conftest import rows


def photos_of(folder):
    """The photos as a network takes them, [3, H, W] each."""
    plain = Preprocessing()
    return [photo_tensor(read_photo(photo, plain), plain) for photo in sorted(folder.glob("*.png"))]


def assert_mean_over_photos(norm, outputs):
    """The layer's statistics are the mean of those of its input [C, H, W] for each photo."""
    mean = torch.stack([one.mean((1, 2)) for one in outputs]).mean(0)
    variance = torch.stack([one.var((1, 2)) for one in outputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.running_var, variance, rtol=1e-4, atol=1e-5)


def test_batch_normalisation_takes_the_mean_over_photos_of_each_one_s_statistics(write_fidt_set):
    data = write_fidt_set(train=(0, 3, 1))
    for annotation in (*data.rglob("*.npy"), *data.rglob("*.h5")):
        annotation.unlink()
    norm = nn.BatchNorm2d(3, momentum=0.01)
    model = nn.Sequential(nn.Dropout(0.9), norm, nn.Conv2d(3, 1, 1))  # which drops nothing here
    reset_batch_norm(model, data)
    assert_mean_over_photos(norm, photos_of(data / "train"))
    assert (norm.training, norm.momentum) == (False, 0.01)


def test_scaled_photos_have_the_statistics_of_what_the_model_sees(write_fidt_set):
    data, norm = write_fidt_set(train=(0, 3, 1), size=(96, 64)), nn.BatchNorm2d(3)
    reset_batch_norm(nn.Sequential(norm, nn.Conv2d(3, 1, 1)), data, scale=0.5)
    sizes = {"size": (32, 48), "mode": "bilinear", "antialias": True}
    seen = [functional.interpolate(one[None], **sizes)[0] for one in photos_of(data / "train")]
    assert_mean_over_photos(norm, seen)


def test_the_light_network_s_folded_normalisations_are_set_anew_too(write_fidt_set):
    data, model = write_fidt_set(train=(0, 3, 1), size=(96, 64)), build_model("light_fidt").eval()
    photo = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        nn.init.normal_(model.head[-1].weight)
        before = model(photo)
        reset_batch_norm(model, data)
        assert not torch.allclose(before, model(photo))
        stem = model.features.conv_stem.weight
        seen = [one * model.scale + model.shift for one in photos_of(data / "train")]
        padded = [functional.pad(one, (0, 1, 0, 1)) for one in seen]
        stems = [functional.conv2d(one[None], stem, stride=2)[0] for one in padded]
        assert_mean_over_photos(model.features.bn1, stems)


def test_a_photo_whose_deepest_map_is_a_pixel_is_named(write_fidt_set):
    data = write_fidt_set(train=(1,), size=(32, 32))
    with pytest.raises(InputError, match=r"photo0\.png is too small for statistics \(32 × 32"):
        reset_batch_norm(build_model("light_fidt"), data)


def test_a_network_without_batch_normalisation_is_named(write_fidt_set, write_counter, failure):
    data, checkpoint = write_fidt_set(), write_counter()
    arguments = ["--save_path", checkpoint, "--data_dir", data, "--device", "cpu"]
    assert "no batch norm" in failure(mgot_test.main, *arguments, "--batch_norm_from", data)


@pytest.mark.parametrize(("control", "split"), [("batch_norm", "train"), ("count_factor", "val")])
def test_a_control_is_of_the_set_that_it_names(control, split, write_fidt_set, tmp_path, failure):
    data, checkpoint = write_fidt_set(), tmp_path / "light.pth"
    save_checkpoint(checkpoint, model=build_model("light_fidt").state_dict())
    options = "--save_path", checkpoint, "--model_name", "light_fidt", "--data_dir", data
    message = failure(mgot_test.main, *options, f"--{control}_from", data / "other")
    assert f"other/{split} is not a folder" in message


def test_the_factor_makes_the_total_of_its_set_right(write_fidt_set, write_counter, tmp_path):
    data, checkpoint = write_fidt_set(val=(3, 9), size=(400, 48)), write_counter()
    options = ["--save_path", str(checkpoint), "--data_dir", str(data), "--device", "cpu"]
    options += ["--tile", "288"]  # which changes the counts of this network

    def predicted(name, *more):
        output = tmp_path / name
        mgot_test.main([*options, "--split", "val", "--output", str(output), *more])
        return np.array([float(row["predicted"]) for row in rows(output / "predictions.csv")])

    plain, scaled = predicted("plain"), predicted("scaled", "--count_factor_from", str(data))
    assert plain.sum() not in (0, 12)
    assert scaled.sum() == pytest.approx(12, abs=2e-4)
    # Counts are written with four decimals.
    np.testing.assert_allclose(scaled, plain * 12 / plain.sum(), atol=6e-5)
    metrics = json.loads((tmp_path / "scaled/metrics.json").read_text())
    assert metrics["count_factor"] == pytest.approx(12 / plain.sum())


@pytest.mark.parametrize("control", ["--batch_norm_from", "--count_factor_from"])
def test_a_control_of_a_single_photo_is_refused(control, write_counter, failure):
    options = "--save_path", write_counter(), "--image", "photo.jpg", control, "data"
    assert "name --data_dir" in failure(mgot_test.main, *options)


def test_statistics_of_an_unfinished_set_are_refused(write_fidt_set):
    data = write_fidt_set()
    (data / "preprocess.yml").write_text("unfinished: true\n")
    with pytest.raises(InputError, match="is unfinished"):
        reset_batch_norm(nn.Sequential(nn.BatchNorm2d(3)), data)


def test_without_a_head_found_there_is_no_factor(write_fidt_set, monkeypatch):
    monkeypatch.setattr(CountedSet, "find", lambda self, model: [[]] * len(self.photos))
    with pytest.raises(InputError, match="there is no factor"):
        count_factor(None, write_fidt_set())
