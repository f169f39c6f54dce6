import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from crowd.io.errors import InputError
from crowd.train.checkpoints import load_checkpoint, load_weights, save_checkpoint
from tests.mgot.test_index_lists import Runs


def test_numpy_figures_in_a_checkpoint_are_read(tmp_path):
    path = tmp_path / "released.pth"
    torch.save({"best_prec1": np.float64(57.0), "epoch": np.int64(3), "w": torch.ones(2)}, path)
    state = load_checkpoint(path)
    assert (state["best_prec1"], state["epoch"]) == (57.0, 3)
    assert torch.equal(state["w"], torch.ones(2))


def test_a_checkpoint_cannot_run_code(tmp_path):
    path, victim = tmp_path / "attack.pth", str(tmp_path / "made")
    torch.save({"w": Runs(os.mkdir, victim)}, path)
    with pytest.raises(InputError, match=r"attack\.pth is damaged or not a checkpoint"):
        load_checkpoint(path)
    path.write_bytes(pickle.dumps(Runs(os.mkdir, victim)))
    with pytest.raises(InputError, match=r"attack\.pth"):
        load_checkpoint(path)
    assert not os.path.exists(victim)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_checkpoint_cut_short_is_one_sentence(tmp_path, keep):
    path = tmp_path / "cut.pth"
    save_checkpoint(path, model=nn.Linear(50, 50).state_dict())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"cut\.pth") as raised:
        load_checkpoint(path)
    assert "\n" not in str(raised.value)


def test_weights_fit_strictly_with_or_without_module(tmp_path):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    load_weights(other, {f"module.{k}": v for k, v in model.state_dict().items()}, "some.pth")
    assert torch.equal(model.weight, other.weight)
    wrong = {"weight": torch.zeros(2, 4), "offset": torch.zeros(2)}
    with pytest.raises(InputError) as raised:
        load_weights(other, wrong, "some.pth")
    for word in ("some.pth", "missing: bias", "unexpected: offset", "of another shape: weight"):
        assert word in str(raised.value)
    assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize("kind", ["meta", "sparse", "number", "4 TiB in one number"])
def test_weights_that_are_no_ordinary_tensors_are_one_sentence(tmp_path, kind):
    model, path = nn.BatchNorm1d(2), tmp_path / "a.pth"
    name, value = {
        "meta": ("weight", torch.ones(2, device="meta")),
        "sparse": ("weight", torch.ones(2).to_sparse()),
        "4 TiB in one number": ("weight", torch.zeros(1).expand(2**20, 2**20)),
        "number": ("num_batches_tracked", np.int64(3)),
    }[kind]
    save_checkpoint(path, **model.state_dict() | {name: value})
    with pytest.raises(InputError, match=rf"a\.pth .*of another shape: {name}"):
        load_weights(model, load_checkpoint(path), path)
