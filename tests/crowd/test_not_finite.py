"""A loss or gradient that is not finite: the weights stay, and the batch is kept to look at."""

from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crowd.data.images import read_image
from crowd.io.errors import InputError
from crowd.train import loop
from crowd.train.checkpoints import load_checkpoint, save_checkpoint
from crowd.train.loop import READ_EVERY, follow, train_one_epoch

BATCH, PICTURE = "not_finite.pth", "not_finite.png"


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
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    with pytest.raises(InputError) as raised:
        train_one_epoch(model, [batch], lambda m, _: losses_of(m), optimizer, 7, folder=folder)
    for value, old in zip(model.parameters(), before, strict=True):
        assert torch.equal(value, old)
    return str(raised.value)


def test_the_batch_of_a_loss_that_is_not_finite_is_kept_whole(tmp_path):
    batch, last = make_batch(), tmp_path / "run" / "last.pth"
    save_checkpoint(last)
    message = train(batch, lambda model: {"l1": model.weight.sum() * torch.nan}, tmp_path / "run")
    for words in ("the loss of a.jpg, b.jpg", "epoch 7", "l1", str(tmp_path / "run" / BATCH)):
        assert words in message
    assert f"in another folder from {last} (--pretrained; MGOT: --pre)" in message
    assert "--resume" not in message
    kept = load_checkpoint(tmp_path / "run" / BATCH)
    assert kept["epoch"] == 7
    assert np.isnan(kept["losses"]["l1"])
    assert kept["batch"]["names"] == batch.names
    assert torch.equal(kept["batch"]["images"], batch.images)
    assert torch.equal(kept["batch"]["heads"][0]["points"], torch.ones(2, 2))
    assert [heads["share"] for heads in kept["batch"]["heads"]] == [0.5, 1.0]
    assert read_image(tmp_path / "run" / PICTURE).shape == (4, 8, 3)


@pytest.mark.parametrize(
    ("rank", "processes", "whose", "kept"),
    [
        (0, 1, "a.jpg, b.jpg is", BATCH),
        (0, 2, "a.jpg, b.jpg, or of a photo of another process is", BATCH),
        (1, 2, "a.jpg, b.jpg, or of a photo of another process is", "not_finite_1.pth"),
    ],
)
def test_a_gradient_that_is_not_finite_stops_although_its_loss_is_finite(
    tmp_path, monkeypatch, rank, processes, whose, kept
):
    # The square root's slope at 0 is infinite, its value 0.
    monkeypatch.setattr(loop, "rank_and_world_size", lambda: (rank, processes))
    message = train(
        make_batch(), lambda model: {"root": (0 * model.weight.sum()).sqrt()}, tmp_path / "run"
    )
    assert f"the gradient of {whose} not finite" in message
    assert load_checkpoint(tmp_path / "run" / kept)["losses"] == {"root": 0.0}
    assert len(list((tmp_path / "run").iterdir())) == 2


@pytest.mark.parametrize("bad", [1, READ_EVERY - 1, READ_EVERY + 1])
def test_the_weights_are_those_before_the_bad_step_however_many_follow(tmp_path, bad):
    """Losses are read a few steps later, when other batches have been seen."""
    names = [f"{number}.jpg" for number in range(2 * READ_EVERY)]
    batches = [make_batch()._replace(names=[name]) for name in names]

    def epoch(part):
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=True)

        def losses_of(model, batch):
            factor = torch.nan if batch.names == [names[bad]] else 1.0
            return {"l1": factor * model.weight.sum()}

        try:
            train_one_epoch(model, part, losses_of, optimizer, 0, folder=tmp_path)
        except InputError as error:
            return model.weight, optimizer.state[model.weight], str(error)
        return model.weight, optimizer.state[model.weight], ""

    *expected, _ = epoch(batches[:bad])
    *stopped, message = epoch(batches)
    assert f"the loss of {names[bad]} is not finite" in message
    torch.testing.assert_close(stopped, expected, rtol=0, atol=0)


def test_the_average_follows_as_torch_s_does():
    models = [nn.BatchNorm1d(3) for _ in range(4)]
    for model in models:
        for value in model.state_dict().values():
            value.copy_(7 * torch.rand(value.shape))
    average = get_ema_multi_avg_fn(0.75)
    ours, theirs = (AveragedModel(models[0], multi_avg_fn=average) for _ in range(2))
    for model in models[1:]:
        follow(ours, model)
        theirs.update_parameters(model)
        torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
