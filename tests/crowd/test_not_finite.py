"""A loss or gradient that is not finite: the weights stay, and the batch is kept to look at."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from crowd.checkpoints import load_checkpoint
from crowd.engine import train_one_epoch
from crowd.errors import InputError
from crowd.images import read_image
from crowd.not_finite import BATCH, PICTURE


class Labels(NamedTuple):
    points: torch.Tensor
    share: float


class Batch(NamedTuple):
    images: torch.Tensor
    heads: list[Labels]
    names: list[str]


def make_batch():
    images = torch.arange(2 * 3 * 4 * 4.0).reshape(2, 3, 4, 4)
    heads = [Labels(torch.ones(2, 2), 0.5), Labels(torch.zeros(0, 2), 1.0)]
    return Batch(images, heads, ["a.jpg", "b.jpg"])


def train(batch, losses_of, folder):
    model = nn.Linear(4, 1)
    before = [value.clone() for value in model.parameters()]
    optimizer = torch.optim.Adam(model.parameters())
    with pytest.raises(InputError) as raised:
        train_one_epoch(model, [batch], lambda _: losses_of(model), optimizer, 7, folder=folder)
    for value, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(value, old)
    return str(raised.value)


def test_the_batch_of_a_loss_that_is_not_finite_is_kept_whole(tmp_path):
    batch = make_batch()
    message = train(batch, lambda model: {"l1": model.weight.sum() * torch.nan}, tmp_path / "run")
    for words in ("the loss of a.jpg, b.jpg", "epoch 7", "l1", str(tmp_path / "run" / BATCH)):
        assert words in message
    kept = load_checkpoint(tmp_path / "run" / BATCH)
    assert kept["epoch"] == 7
    assert np.isnan(kept["losses"]["l1"])
    assert kept["batch"]["names"] == batch.names
    assert torch.equal(kept["batch"]["images"], batch.images)
    assert torch.equal(kept["batch"]["heads"][0]["points"], torch.ones(2, 2))
    assert [heads["share"] for heads in kept["batch"]["heads"]] == [0.5, 1.0]
    assert read_image(tmp_path / "run" / PICTURE).shape == (4, 8, 3)


def test_a_gradient_that_is_not_finite_stops_although_its_loss_is_finite(tmp_path):
    # The square root's slope at 0 is infinite, its value 0.
    message = train(
        make_batch(), lambda model: {"root": (0 * model.weight.sum()).sqrt()}, tmp_path / "run"
    )
    assert "the gradient of a.jpg, b.jpg" in message
    assert load_checkpoint(tmp_path / "run" / BATCH)["losses"] == {"root": 0.0}


def test_a_crop_with_nan_is_drawn_all_the_same(tmp_path):
    batch = make_batch()
    batch.images[1, 0, 0, 0] = torch.nan
    train(batch, lambda model: {"l1": model.weight.sum() * torch.inf}, tmp_path)
    assert read_image(tmp_path / PICTURE).max() == 255
