"""One epoch on FIDT maps, and finding heads in whole photos and in tiles."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from crowd.io.errors import InputError
from crowd.train.loop import Steps, train_one_epoch
from mgot import test as mgot_test
from mgot.evaluation import CountedSet, peak_centers, predict_map, tile_windows
from mgot.losses import detail_error, instance_ssim
from mgot.maps import fidt_map
from mgot.models import build_model
from mgot.pseudo_label import build_parser as label_parser
from mgot.train_baseline import build_parser as baseline_parser
from mgot.training import batch_losses
from tests.test_synchronisation import mgot_batch
from train_baseline_weight import build_parser as weight_parser

CPU = torch.device("cpu")


class Blue(nn.Module):
    """Predicts the blue channel, in which the sets of these tests hold their FIDT map."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return self.scale * (images[:, 2:] * 0.225 + 0.406)


class Blurred(Blue):
    """Sees 127 pixels far, less than the margin of a tile, and answers on a grid of 32 pixels."""

    def forward(self, images):
        height, width = images.shape[-2:]
        grey = self.scale * images.mean(1, keepdim=True)
        padded = functional.pad(grey, (0, -width % 32, 0, -height % 32))
        coarse = functional.avg_pool2d(padded, 32)
        near = functional.avg_pool2d(coarse, 3, stride=1, padding=1)
        spread = functional.interpolate(near, scale_factor=32, mode="nearest")
        return (spread[..., :height, :width] + grey) / 2


@pytest.mark.parametrize("factors", [{}, {"issim": 30.0}, {"detail": 15.0}])
def test_losses_are_weighted_sums_and_the_epoch_steps_on_them(factors):
    batch, model = mgot_batch(0)._replace(weights=torch.tensor([2.0, 1.0, 0.5])), Blue()
    ssim, detail = factors.get("issim", 0.0), factors.get("detail", 0.0)
    losses_of = functools.partial(batch_losses, device=CPU, ssim_weight=ssim, detail_weight=detail)
    losses, prediction = losses_of(model, batch), model(batch.images)
    each = {
        "mse": (prediction - batch.maps).square().sum(dim=(1, 2, 3)),
        "issim": instance_ssim(prediction, batch.maps, batch.heads),
        "detail": detail_error(prediction, batch.maps),
    }
    expected = {name: (batch.weights * each[name]).sum() for name in ("mse", *factors)}
    torch.testing.assert_close(losses, expected)
    total = sum(factors.get(name, 1) * loss for name, loss in losses.items())
    before, gradient = model.scale.item(), torch.autograd.grad(total, model.scale)[0].item()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, fused=True)
    steps = Steps(factors, summed=True)
    figures = train_one_epoch(model, [batch], losses_of, optimizer, 0, steps=steps)
    assert model.scale.item() == pytest.approx(before - 1e-6 * gradient, rel=1e-6)
    means = {name: loss.item() / 3 for name, loss in losses.items()}
    assert {name: figures[name] for name in losses} == pytest.approx(means, rel=1e-5)


@pytest.mark.parametrize("tile", [100, 256, 300, 32])
def test_a_tile_that_leaves_no_core_is_refused(tile):
    with pytest.raises(InputError, match=f"--tile {tile} is no tile"):
        tile_windows(2000, tile)


def test_tiles_of_a_counter_that_sees_less_than_the_margin_join_to_the_whole_map():
    torch.manual_seed(0)
    model, image = Blurred(), torch.rand(3, 333, 610)
    whole = predict_map(model, image)
    assert whole.shape == (333, 610)
    torch.testing.assert_close(predict_map(model, image, tile=288), whole)
    torch.testing.assert_close(predict_map(model, image, tile=352), whole)


def test_tiles_change_what_group_norm_sees_and_every_help_says_so():
    model = build_model("hrnet_small", widths=[16, 8], hidden=4).eval()
    torch.manual_seed(0)
    image = torch.rand(3, 32, 400)
    nn.init.normal_(model.last_layer[-1].weight)
    whole, tiled = predict_map(model, image), predict_map(model, image, tile=288)
    assert (whole - tiled).abs().max() > 1e-3 * whole.abs().max()
    for parser in (baseline_parser(), weight_parser(), mgot_test.build_parser(), label_parser()):
        assert "tiles change counts a little" in " ".join(parser.format_help().split())


def test_heads_on_seams_are_found_once():
    points = np.array([[32.5, 40.5], [64.5, 63.5], [63.5, 10.5], [96.5, 96.5], [200.5, 128.5]])
    image = torch.zeros(3, 200, 300)
    image[2] = (torch.from_numpy(fidt_map(points, 200, 300)) - 0.406) / 0.225
    for tile in (0, 288):
        heads = peak_centers(predict_map(Blue(), image, tile), "seams")
        assert sorted(map(tuple, heads)) == sorted(map(tuple, points))
    assert len(tile_windows(300, 288)) > 1


def test_a_set_is_counted_and_localised_as_it_is_stored(write_fidt_set, tmp_path):
    root = write_fidt_set(test=(3, 0, 1, 9), size=(120, 90), test_min_size=512)
    counted = CountedSet(root, "test")
    model = Blue().train()
    found = counted.find(model)
    assert model.training
    nn.init.constant_(model.scale, torch.nan)
    with pytest.raises(InputError, match=r"photo0\.png is not finite"):
        counted.find(model)
    counts = counted.counts(found)
    assert [count.actual for count in counts] == [3, 0, 1, 9]
    assert [count.predicted for count in counts] == [3, 0, 1, 9]
    # A head lies less than a pixel's diagonal from the centre of its pixel, and not on it.
    assert counted.localization(found, 0.72)["f1"] == 1
    assert counted.localization(found, 0.01)["f1"] == 0
    moved = [heads + np.array([3, 0]) for heads in found]
    assert counted.localization(moved, 4)["f1"] > counted.localization(moved, 1)["f1"]
    counted.draw(found, tmp_path / "visual")
    counted.draw(found, tmp_path / "visual", limit=2)  # and no other picture stays
    names = sorted(path.name for path in (tmp_path / "visual").iterdir())
    assert names == ["photo0_peaks.jpg", "photo1_peaks.jpg"]
