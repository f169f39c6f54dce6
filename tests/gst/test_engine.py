import dataclasses
import functools

import pytest
import torch
from torch import nn

from crowd.io.errors import InputError
from crowd.train.loading import seed_epoch
from crowd.train.loop import Steps, train_one_epoch
from crowd.train.state import Recipe, Training
from gst.counter import Counter, density_of, evaluate, load_counter, predict_density, tile_edges
from gst.dataset import CrowdCrops, collate
from gst.losses import batch_losses, bayesian_losses
from gst.models import build_model
from gst.photos import SMALLEST, Preprocessing, read_preprocessing

CPU = torch.device("cpu")


class Local(nn.Module):
    """A counter in which each cell sees its own 8 × 8 pixels only."""

    has_attention = False

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 8, stride=8), nn.ReLU(), nn.Conv2d(4, 1, 1))

    def forward(self, images):
        return self.layers(images).abs()


class PixelSum(nn.Module):
    """Counts what it is shown, whatever the size."""

    has_attention = False

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images):
        return (self.weight * images[:, :1]).sum(dim=(2, 3), keepdim=True)


class AveragePool(PixelSum):
    """The photo's brightness in cells of 8 × 8 pixels."""

    def forward(self, images):
        return nn.functional.avg_pool2d(self.weight * images[:, :1], 8)


def open_crops(root):
    return CrowdCrops([root], 64, 1, read_preprocessing(root))


def one_batch(root, indices=(0, 3)):
    crops = open_crops(root)
    return collate([crops[0, index] for index in indices])


def train_epoch(model, batches, optimizer, epoch=0, average=None, steps=None, **options):
    losses_of = functools.partial(batch_losses, device=CPU, **options)
    return train_one_epoch(model, batches, losses_of, optimizer, epoch, average, steps or Steps())


def test_the_epoch_reports_the_mean_over_photos(write_set):
    crops = open_crops(write_set())
    items = [crops[0, index] for index in range(3)]
    model = Local()
    still = torch.optim.SGD(model.parameters(), lr=0.0, fused=True)
    uneven = [collate(items[:2]), collate(items[2:])]
    figures = train_epoch(model, uneven, still)
    whole = batch_losses(model, collate(items), CPU, amp=False)
    assert figures["transport"] == pytest.approx(whole["transport"].item(), rel=1e-5)


def test_the_bayesian_loss_is_told_the_photos_short_sides(write_set):
    batch, model = one_batch(write_set()), Local()
    # So little that every head lacks some: a density of which all have too much costs the same
    # wherever the background begins.
    nn.init.zeros_(model.layers[-1].weight)
    nn.init.constant_(model.layers[-1].bias, 1e-3)
    losses = [
        batch_losses(model, one, CPU, loss="bayesian")["bayesian"]
        for one in (batch, batch._replace(short_sides=[640.0, 640.0]))
    ]
    assert 64 < min(batch.short_sides) <= max(batch.short_sides) < 640  # of crops of 64 pixels
    expected = bayesian_losses(batch.heads, model(batch.images), batch.short_sides)
    assert losses[0] == expected["bayesian"] > losses[1]


def test_attention_variance_is_a_loss_of_its_own_and_epochs_repeat_with_dropout(write_set):
    batch = one_batch(write_set(), indices=(0,))
    model = build_model("vgg_trans").train()

    def losses(epoch):
        seed_epoch(7, epoch)
        return {name: v.item() for name, v in batch_losses(model, batch, CPU, amp=False).items()}

    first = losses(0)
    assert set(first) == {"transport", "attention_variance"}
    assert first["attention_variance"] > 0
    assert first == losses(0)
    assert first != losses(1)


@pytest.mark.parametrize("side", [1, 511, 512, 513, 1024, 1025, 5000])
def test_tiles_are_as_released(side):
    edges = tile_edges(side)
    assert [start for start, _ in edges] == [0, *(end for _, end in edges[:-1])]
    assert edges[-1][1] == side
    assert len(edges) == -(-side // 512)
    assert all(end - start == side // len(edges) for start, end in edges[:-1])


def test_no_tile_is_too_small_for_a_network(write_set):
    sides = range(SMALLEST, 2000)
    assert min(end - start for side in sides for start, end in tile_edges(side, 32)) == SMALLEST
    with pytest.raises(InputError, match="--tile 31 is too small: 32 pixels"):
        read_preprocessing(write_set(), tile=31)


@pytest.mark.parametrize("size", [(96, 64), (200, 130), (131, 67), (64, 257)])
def test_a_photo_in_tiles_counts_each_pixel_once(size):
    image = torch.rand(3, *size)
    density = predict_density(PixelSum(), image, tile=64)
    assert density.shape == tuple(-(-side // 8) for side in size)
    assert density.sum().item() == pytest.approx(image[0].sum().item(), rel=1e-5)


def test_tiles_of_a_local_counter_join_to_the_map_of_the_whole_photo():
    model, image = Local().eval(), torch.rand(3, 192, 128)
    whole = predict_density(model, image, tile=1000)
    torch.testing.assert_close(predict_density(model, image, tile=64), whole)
    assert whole.shape == (24, 16)


def test_a_single_photo_is_cut_into_the_tiles_of_its_counter():
    counter = Counter(PixelSum(), "", Preprocessing(tile=64), None, {})
    white = torch.full((128, 192, 3), 255, dtype=torch.uint8).numpy()
    assert (density_of(counter, white, "white")[1] > 0).sum() == 2 * 3


@pytest.mark.parametrize("start", [0, 45, 64])
def test_the_map_stays_in_place_where_tiles_begin_between_cells(start):
    """A bright spot is found at its place, on the photo's grid, in tiles of 53 and 54 pixels."""
    photo = torch.zeros(3, 214, 159)
    photo[:, start + 40 : start + 48, 120:128] = 1
    density = predict_density(AveragePool(), photo, tile=64)
    assert density.shape == (27, 20)
    y, x = (torch.arange(side) * 8.0 + 4 for side in density.shape)
    total = density.sum()
    assert (density.sum(1) @ y / total).item() == pytest.approx(start + 44, abs=4)
    assert (density.sum(0) @ x / total).item() == pytest.approx(124, abs=4)


def test_evaluation_uses_running_statistics_and_leaves_the_model_as_it_was():
    model = build_model("vgg_small").train()
    photos = [(torch.rand(3, 64, 64), 3, "a"), (torch.rand(3, 64, 80), 5, "b")]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = evaluate(model, photos)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert first == evaluate(model, photos)
    assert [(count.name, count.actual) for count in first] == [("a", 3), ("b", 5)]


def test_a_count_that_is_not_finite_names_the_photo():
    with pytest.raises(InputError, match="beach"):
        evaluate(PixelSum(), [(torch.full((3, 64, 64), torch.nan), 3, "beach")])


def test_the_moving_average_follows_slowly_and_is_what_is_evaluated_and_kept(write_set, tmp_path):
    batch = one_batch(write_set())
    model = build_model("vgg_small")
    recipe = Recipe("vgg_small", {}, dataclasses.asdict(Preprocessing()), 3.0, {})
    training = Training(model, recipe, lr=1e-2, weight_decay=0, epochs=9, ema=0.75)
    expected = None
    for _ in range(4):
        train_epoch(model, [batch], training.optimizer, 0, training.average)
        weight = model.features[0].weight.detach().clone()
        expected = weight if expected is None else 0.75 * expected + 0.25 * weight
    torch.testing.assert_close(training.evaluated.features[0].weight, expected)
    assert not torch.allclose(expected, model.features[0].weight)
    training.keep_best(tmp_path, {"mae": 1, "rmse": 1})
    training.finish_epoch(tmp_path)
    for name in ("best.pth", "last.pth"):
        counter = load_counter(tmp_path / name, CPU)
        torch.testing.assert_close(counter.model.features[0].weight, expected)


@pytest.mark.parametrize("loss", ["transport", "gaussian", "bayesian", "dm_count"])
def test_every_loss_trains_and_only_gst_needs_gaussians(write_set, loss):
    root = write_set()
    if loss != "transport":
        for path in (root / "train" / "gs_params").glob("*.h5"):
            path.unlink()
    fitted = loss == "transport"
    crops = CrowdCrops([root], 64, 1, read_preprocessing(root), fitted=fitted)
    batch = collate([crops[0, index] for index in range(len(crops))])
    torch.manual_seed(0)
    model = Local()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    figures = [train_epoch(model, [batch], optimizer, e, loss=loss) for e in range(40)]
    assert sum(figures[-1].values()) < sum(figures[0].values())


def test_the_gradient_is_clipped_and_block_counts_are_a_loss_of_their_own(write_set):
    batch = one_batch(write_set())
    batch = batch._replace(images=batch.images.abs())  # a density is nowhere negative
    counter, steps = AveragePool(), Steps({"block_counts": 2.0}, clip=1e-3)
    optimizer = torch.optim.SGD(counter.parameters(), lr=1.0, fused=True)
    figures = train_epoch(counter, [batch], optimizer, steps=steps, block_counts=True)
    assert set(figures) == {"transport", "block_counts"}
    assert abs(float(counter.weight.detach()) - 1) == pytest.approx(1e-3, rel=1e-3)


def test_an_epoch_trains_in_training_mode_whatever_came_before(write_set):
    model = build_model("vgg_small", width=0.25).eval()
    before = model.features[1].running_mean.clone()
    train_epoch(model, [one_batch(write_set())], torch.optim.Adam(model.parameters(), fused=True))
    assert not torch.equal(model.features[1].running_mean, before)
