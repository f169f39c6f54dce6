import contextlib
import dataclasses
import math
import os
import re
import shlex
import warnings
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from crowd.count.evaluation import PhotoCount, compare, errors_of, errors_table
from crowd.data.network_input import Preprocessing
from crowd.io.config import ArgumentParser, Namespace
from crowd.io.errors import InputError
from crowd.train.arguments import add_training, begin, cache_of, choose_workers, optimisation
from crowd.train.checkpoints import load_checkpoint, save_checkpoint
from crowd.train.devices import choose_precision
from crowd.train.loading import crop_loader
from crowd.train.loop import Steps, fit
from crowd.train.runs import read_log
from crowd.train.state import (
    Recipe,
    Training,
    TrainingPhotos,
    describe,
    fingerprint,
    learning_rate_factor,
    relative_error,
    validates,
)

VALUES = {"seed": 1, "epochs": 4, "lr": 0.1, "crop_size": 8, "batch_size": 2, "weight_decay": 0.5}
VALUES |= {"validate_from": 2, "validate_every": 2}


class Batch(NamedTuple):
    names: list


class Crops:
    """Nine crops, each of which is its epoch and index."""

    def __len__(self):
        return 9

    def __getitem__(self, key):
        return key


def read(*words):
    parser = ArgumentParser()
    add_training(parser, VALUES)
    return parser.read(words)


def begun(arguments):
    made = describe(arguments, ("", {}), Preprocessing(), TrainingPhotos(9, 3.0, "0"), [], ())
    return Training(nn.Linear(1, 1), made, **optimisation(arguments))


def recipe(**settings):
    return Recipe("tiny", {}, dataclasses.asdict(Preprocessing()), 3.0, settings)


def training(depth="auto", ema=0.0, **settings):
    made = recipe(**settings)
    made.preprocessing["depth"] = depth
    return Training(nn.Linear(1, 1), made, lr=1e-3, weight_decay=0, epochs=9, ema=ema)


def first_epoch(made, folder):
    made.optimizer.step()
    made.finish_epoch(folder)


def test_errors_beside_those_of_guessing():
    counts = [PhotoCount("a", 10, 12.0), PhotoCount("b", 20, 16.0)]
    rows, metrics = compare(counts, "vgg", "test", 15.0)
    assert metrics["guessing"]["mae"] == 5.0
    assert errors_of(counts) == pytest.approx({"mae": 3.0, "rmse": np.sqrt(10), "nae": 0.2})
    table = errors_table(rows)
    assert re.search(r"MAE +RMSE\* +NAE\n.+ 3\.00 +3\.16 +0\.200\n", table)
    assert "MSE in the papers" in table


def test_validation_falls_on_its_epochs_and_on_the_last():
    chosen = [epoch for epoch in range(12) if validates(epoch, epochs=12, first=3, every=4)]
    assert chosen == [2, 6, 10, 11]


def test_schedules():
    assert {learning_rate_factor("constant", epoch, 50) for epoch in range(50)} == {1.0}
    cosine = [learning_rate_factor("cosine", epoch, 200) for epoch in range(200)]
    assert cosine[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert np.all(np.diff(cosine[5:]) < 0)
    assert max(cosine) == 1.0
    assert 0 < cosine[-1] < 1e-3
    how = {"lr": 1.0, "weight_decay": 0, "epochs": 200, "lr_schedule": "cosine"}
    made = Training(nn.Linear(1, 1), recipe(), first_epoch=3, **how)
    assert made.scheduler.get_last_lr() == [cosine[3]]


def test_best_is_the_lowest_twice_rmse_plus_mae(tmp_path):
    made, kept = training(), []
    for mae, rmse in ((5, 6), (9, 4.5), (3, 5.5), (2, 6), (float("nan"), 1), (3, 5.5)):
        made.epoch += 1
        if made.keep_best(tmp_path, {"mae": mae, "rmse": rmse, "nae": 0.1}):
            kept.append(made.epoch)
    assert kept == [1, 3]
    assert made.best["epoch"] == 3


def test_the_relative_error_of_photos_without_heads_is_their_mae():
    assert relative_error({"mae": 3.0, "rmse": 4.0, "nae": 0.1}) == 0.1
    assert relative_error({"mae": 3.0, "rmse": 4.0, "nae": float("nan")}) == 3.0


def test_a_training_of_before_the_depth_was_chosen_is_continued(tmp_path):
    made = training()
    del made.recipe.preprocessing["depth"]
    first_epoch(made, tmp_path)
    training().resume(tmp_path)
    with pytest.raises(InputError, match="cannot be continued because preprocessing"):
        training("14").resume(tmp_path)


@pytest.mark.parametrize("instructions", ["amx_bf16", "avx512_bf16", "avx512_f"])
def test_bfloat16_on_a_cpu_is_asked_for_and_never_automatic(monkeypatch, instructions):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instructions: True})
    cpu = torch.device("cpu")
    assert choose_precision(cpu, "auto") == "float32"
    assert choose_precision(cpu, "float32") == "float32"
    assert choose_precision(cpu, "bfloat16") == "bfloat16"
    has_it = instructions.endswith("bf16")
    assert choose_precision(cpu, "native") == ("bfloat16" if has_it else "float32")


@pytest.mark.parametrize(("major", "expected"), [(7, "float32"), (8, "bfloat16")])
def test_bfloat16_is_automatic_on_gpus_that_do_not_emulate_it(monkeypatch, major, expected):
    card = SimpleNamespace(major=major, minor=5)
    answers = {"is_available": True, "current_device": 0, "get_device_properties": card}
    for name, value in (answers | {"_check_bf16_tensor_supported": True}).items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    assert choose_precision(torch.device("cuda"), "auto") == expected


def test_a_training_flushes_denormals(tmp_path):
    if not torch.set_flush_denormal(True):
        pytest.skip("a CPU that cannot")
    torch.set_flush_denormal(False)
    small = torch.tensor(2e-38)
    assert (small / 4).item() > 0
    begin(Namespace(save_dir=str(tmp_path), device="cpu", precision="auto", resume=False, seed=0))
    assert (small / 4).item() == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.finfo(np.float32)


@pytest.mark.parametrize("part", ["model", "average", "optimizer", "scheduler", "epoch", "best"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_damaged_state_cannot_be_continued(tmp_path, part, missing):
    first_epoch(training(ema=0.5), tmp_path)
    state = load_checkpoint(tmp_path / "last.pth")
    state[part] = "damaged"
    if missing:
        del state[part]
    save_checkpoint(tmp_path / "last.pth", **state)
    with pytest.raises(InputError, match=r"last\.pth"):
        training(ema=0.5).resume(tmp_path)


def test_the_backbone_learns_at_a_rate_of_its_own():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.head = nn.Linear(3, 2), nn.Linear(2, 1)

    model, how = Model(), {"optimizer": "adamw", "lr": 0.1, "backbone_lr": 0.5}
    made = Training(model, recipe(), weight_decay=0, epochs=9, **how)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    sum(value.sum() for value in model.parameters()).backward()
    made.optimizer.step()
    for name, value in model.state_dict().items():
        rate = 0.05 if name.startswith("features.") else 0.1
        # Adam's first step is the rate times the gradient's sign.
        torch.testing.assert_close(value, before[name] - rate)


def test_the_best_so_far_is_remembered_when_resumed(tmp_path):
    first, second = training(), training()
    first.keep_best(tmp_path, {"mae": 2, "rmse": 3})
    first_epoch(first, tmp_path)
    second.resume(tmp_path)
    assert second.epoch == 1
    assert not second.keep_best(tmp_path, {"mae": 2, "rmse": 3.5})
    assert second.keep_best(tmp_path, {"mae": 2, "rmse": 2.5})


@pytest.mark.parametrize(("device", "expected"), [("cuda", 4), ("cpu", 0)])
def test_processes_read_photos_where_a_gpu_would_wait_for_them(device, expected, monkeypatch):
    monkeypatch.setattr("crowd.train.devices.pick_device", lambda name: torch.device(device))
    for given, chosen in ((None, expected), (0, 0), (3, 3)):
        arguments = Namespace(device="auto", workers=given)
        choose_workers(arguments)
        assert arguments.workers == chosen
    # Each process keeps photos of its own; without any, this one does.
    assert cache_of(Namespace(cache_gib=6.0, workers=expected)) == (1.5 if expected else 6.0)


def test_epochs_differ_and_are_validated_saved_and_logged_as_asked_for(tmp_path):
    words = shlex.split("--lr-schedule cosine --ema 0.5 --save-every 3 --save-dir")
    arguments, seen = read(*words, str(tmp_path)), []

    def losses_of(model, batch):
        seen.extend(batch.names)
        return {"l1": model.weight.abs().sum()}

    batches = crop_loader(Crops(), 1, 2, 0, False, Batch)
    validate = lambda _: {"mae": 1.0, "nae": math.nan}  # noqa: E731
    fit(begun(arguments), batches, losses_of, validate, arguments, Steps())
    assert sorted(seen) == list(np.ndindex(4, 9))
    assert len({tuple(index for _, index in seen[i : i + 9]) for i in range(0, 36, 9)}) == 4
    log, last = read_log(tmp_path / "log.jsonl"), load_checkpoint(tmp_path / "last.pth")
    factors = [learning_rate_factor("cosine", epoch, 4) for epoch in range(4)]
    assert [line["lr"] for line in log] == pytest.approx([0.1 * factor for factor in factors])
    assert ["val_mae" in line for line in log] == [False, True, False, True]
    assert not any("val_nae" in line for line in log)
    assert (last["epoch"], int(last["average"]["n_averaged"])) == (4, 20)
    for line in read_log(tmp_path / "times.jsonl"):
        assert line["seconds"] * line["photos_per_second"] == pytest.approx(9)
    one, two = (list(crop_loader(Crops(), seed, 2, 0, False, Batch)) for seed in (1, 2))
    assert one != two


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        ("--lr-schedule cosine", "--epochs 5", "epochs 4 became 5"),
        ("", "--lr 1", "lr 0.1 became 1"),
        ("", "--seed 2", "seed 1 became 2"),
        ("", "--batch-size 3", "batch_size 2 became 3"),
        ("", "--epochs 5 --workers 2 --cache-gib 0 --save-every 2 --validate-from 1", None),
    ],
)
def test_what_a_training_rests_on_may_not_change(tmp_path, words, more, said):
    first_epoch(begun(read(*words.split())), tmp_path)
    changed = begun(read(*words.split(), *more.split()))
    with pytest.raises(InputError, match=said) if said else contextlib.nullcontext():
        changed.resume(tmp_path)


def test_nothing_is_done_that_the_released_trainings_do_not_unless_asked_for():
    names = ("optimizer", "lr_schedule", "backbone_lr", "clip_gradient", "ema")
    assert [read()[name] for name in names] == ["adam", "constant", 1, 0, 0]


def test_photos_whose_names_are_no_text_are_told_apart(tmp_path):
    paths = [tmp_path / os.fsdecode(name) for name in (b"caf\xe9.jpg", b"caf\xe8.jpg")]
    for path in paths:
        path.write_bytes(b"a photo")
    assert fingerprint(paths[:1], []) != fingerprint(paths[1:], [])
