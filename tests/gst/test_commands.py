import hashlib
import json
import shlex

import h5py
import numpy as np
import pytest
import torch
import yaml
from torch.nn import functional

import test as gst_test
from crowd.io.errors import InputError
from crowd.train.checkpoints import load_checkpoint, save_checkpoint
from crowd.train.runs import read_log
from gst import export
from gst.arguments import DATASETS, build_parser, loss_options, loss_weights, read_arguments
from gst.counter import load_counter
from gst.models import build_model
from tests.conftest import assert_same_run, rows, turn_over
from tests.gst.test_engine import Local


class Dropping(Local):
    """A counter of a few weights whose training is random beyond its crops."""

    def forward(self, images):
        return super().forward(functional.dropout(images, 0.3, self.training))


class Blind(Local):
    """A counter whose density is 0 everywhere."""

    def forward(self, images):
        return 0 * super().forward(images)


def test_a_density_that_has_collapsed_is_said(write_set, train, capsys):
    data = write_set()
    train(data, "blind", model=Blind)
    assert "density has collapsed to 0" in capsys.readouterr().err
    train(data, "seeing", model=Dropping)
    assert "collapsed" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "stop", "epoch", "save_every"),
    [(None, "training", 2, 1), (Dropping, "logging", 2, 1), (Dropping, "logging", 3, 2)],
)
def test_a_killed_training_continues_to_the_same_figures(
    write_set, train, model, stop, epoch, save_every
):
    options = shlex.split("--lr-schedule cosine --ema 0.5 --validate-from 1 --validate-every 2")
    data = write_set()
    whole = train(data, "whole", *options, model=model)
    options += ["--save-every", str(save_every)]
    with pytest.raises(SystemExit):
        train(data, "parts", *options, model=model, stop=stop, epoch=epoch)
    assert load_checkpoint(whole.parent / "parts/last.pth")["epoch"] == 2
    parts = train(data, "parts", "--resume", *options, model=model)
    assert_same_run(whole, parts)
    assert len(read_log(parts / "log.jsonl")) == 4


def test_a_training_is_continued_without_the_file_it_started_from(write_set, train, tmp_path):
    data, weights = write_set(), tmp_path / "weights.pth"
    save_checkpoint(weights, **build_model("vgg_small", width=0.25).state_dict())
    options = "--validate-from", "1", "--validate-every", "1"
    whole = train(data, "whole", "--pretrained", str(weights), *options)
    train(data, "parts", "--pretrained", str(weights), "--epochs", "2", *options)
    weights.unlink()
    parts = train(data, "parts", "--resume", *options)
    assert_same_run(whole, parts)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_training_is_not_continued_on_other_photos(write_set, train, train_failure, split):
    data, said = write_set(), {"train": "training_data", "val": "validation_data"}[split]
    train(data, "run", "--epochs", "1")
    turn_over(data / split / "photo0.png")
    assert f"because {said} " in train_failure(data, "run", "--resume")


def test_a_training_of_an_earlier_version_goes_on_as_it_was(write_set, train, train_failure):
    data = write_set()
    folder = train(data, "run", "--epochs", "1")
    state = load_checkpoint(folder / "last.pth")
    for name in ("validation_data", "start", "smallest_share", "clip_boxes"):
        del state["recipe"]["settings"][name]
    save_checkpoint(folder / "last.pth", **state)
    other = train_failure(data, "run", "--resume", "--smallest-share", "0")
    assert "smallest_share 0.3 became 0.0" in other
    train(data, "run", "--epochs", "2", "--resume")
    assert len(read_log(folder / "log.jsonl")) == 2


def test_every_start_of_a_run_is_recorded_and_its_precision_stays(write_set, train, train_failure):
    data = write_set()
    train(data, "run", "--epochs", "1", "--precision", "float32")
    folder = train(data, "run", "--epochs", "3", "--resume", "--workers", "1")
    starts = read_log(folder / "starts.jsonl")
    assert [(one["epoch"], one["config"]["workers"]) for one in starts] == [(0, 0), (1, 1)]
    assert all(one["machine"] and one["commit"] for one in starts)
    other = ("--resume", "--precision", "bfloat16")
    assert "precision 'float32' became 'bfloat16'" in train_failure(data, "run", *other)


def test_best_is_chosen_on_val_and_rebuilds_from_the_checkpoint_alone(write_set, train):
    folder = train(write_set(test=()), "run", "--validate-from", "1", "--validate-every", "1")
    log = read_log(folder / "log.jsonl")
    scores = [2 * line["val_rmse"] + line["val_mae"] for line in log]
    best = load_checkpoint(folder / "best.pth")
    assert best["best"]["epoch"] == log[scores.index(min(scores))]["epoch"]
    assert best["best"]["score"] == min(scores)
    assert best["recipe"]["model_name"] == "vgg_small"
    assert best["recipe"]["train_median"] == 2
    assert best["recipe"]["preprocessing"]["min_size"] == 96
    config = yaml.safe_load((folder / "config.yml").read_text())
    assert config["crop_size"] == 64
    assert config["precision"] in ("float32", "bfloat16"), "as used, not as asked for"


def test_the_set_and_the_single_photo_are_counted_alike(write_set, train, capsys):
    data = write_set()
    folder = train(data, "run", "--epochs", "1", "--model-options", '{"width": 0.5}')
    capsys.readouterr()
    checkpoint = str(folder / "best.pth")
    gst_test.main(["--save-path", checkpoint, "--data-dir", str(data), "--device", "cpu"])
    printed = capsys.readouterr().out
    counts = rows(folder / "test/predictions.csv")
    assert [row["actual"] for row in counts] == ["3", "0", "6"]
    mae = sum(abs(float(row["predicted"]) - float(row["actual"])) for row in counts) / 3
    metrics = json.loads((folder / "test/metrics.json").read_text())
    assert metrics["mae"] == pytest.approx(mae, abs=1e-3)
    assert metrics["photos"] == 3
    assert metrics["guessing"]["mae"] == pytest.approx((1 + 2 + 4) / 3)
    assert f"{mae:.2f}" in printed
    assert "training median" in printed
    shares = metrics["density_near_heads"]
    assert list(shares) == ["8 px", "24 px"]
    assert 0 < shares["8 px"] < shares["24 px"] < 1
    assert f"{shares['24 px']:.0%} within 24 px" in printed
    scores = metrics["localization"]["8 px"]
    assert len(rows(folder / "test/points.csv")) == scores["tp"] + scores["fp"]
    assert scores["tp"] + scores["fn"] == 9

    photo = data / "test/photo2.png"
    gst_test.main(["--save-path", checkpoint, "--image", str(photo), "--device", "cpu"])
    assert capsys.readouterr().out.startswith(f"{float(counts[2]['predicted']):.1f} people in")
    assert (folder / "counted/photo2_counted.jpg").stat().st_size < 300_000

    before = (folder / "test/metrics.json").read_bytes()
    gst_test.main(["--save-path", checkpoint, "--data-dir", str(data), "--split", "val"])
    assert (folder / "test/metrics.json").read_bytes() == before
    assert json.loads((folder / "val/metrics.json").read_text())["split"] == "val"


def test_plain_weights_are_tested(write_set, tmp_path, capsys, failure, monkeypatch):
    """Under the name of their model, which has to be given."""
    data, path = write_set(), tmp_path / "weights.pth"
    weights = build_model("vgg_small").state_dict()
    save_checkpoint(path, **{f"module.{name}": value for name, value in weights.items()})
    arguments = ["--save-path", str(path), "--data-dir", str(data), "--device", "cpu"]
    assert "--model-name" in failure(gst_test.main, *arguments)
    assert "missing: " in failure(gst_test.main, *arguments, "--model-name", "vgg")
    gst_test.main([*arguments, "--model-name", "vgg_small"])
    assert "guessing 2, the training median" in capsys.readouterr().out
    (data / "train/photo0.npy").unlink()
    monkeypatch.setattr("gst.counter.evaluate", None)  # said before anything is counted
    assert "photo0.png" in failure(gst_test.main, *arguments, "--model-name", "vgg_small")


def test_a_set_made_for_another_counter_is_refused(write_set, train, failure):
    data = write_set()
    folder = train(data, "run", "--epochs", "1")
    settings = data / "preprocess.yml"
    made = yaml.safe_load(settings.read_text())
    options = ["--save-path", str(folder / "best.pth"), "--data-dir", str(data), "--device", "cpu"]
    for other, words in (
        ({"depth": "12"}, "depth 12, but the counter was trained with depth auto"),
        ({"min_size": 64}, "min_size 64, but the counter was trained with min_size 96"),
        ({"max_size": 128}, "max_size 128, but the counter was trained with max_size 96"),
        ({"interpolation": "bicubic"}, "--min-size=96 --max-size=96 --interpolation=bilinear"),
    ):
        settings.write_text(yaml.safe_dump({**made, **other}))
        message = failure(gst_test.main, *options, "--depth", "12")
        assert str(settings) in message
        assert words in message
    assert not (folder / "test").exists()
    settings.unlink()
    gst_test.main(options)


def test_bad_input_is_one_sentence(write_set, train, tmp_path, failure, train_failure):
    data = write_set()
    folder = train(data, "run", "--epochs", "1")
    other = tmp_path / "other.pth"
    save_checkpoint(other, recipe={"model_name": "hrnet_w48"}, model={})
    (tmp_path / "empty/test").mkdir(parents=True)
    good = ["--save-path", str(folder / "best.pth")]
    for options, words in (
        ([*good, "--data-dir", str(tmp_path / "nowhere")], "nowhere"),
        ([*good, "--data-dir", str(tmp_path / "empty")], "no photos"),
        ([*good, "--data-dir", str(data), "--device", "99"], "--device 99"),
        ([*good, "--data-dir", str(data), "--device", "tpu"], "--device tpu"),
        ([*good, "--data-dir", str(data), "--model-name", "vgg"], "vgg_small, not vgg"),
        ([*good, "--image", str(tmp_path / "no.jpg")], "no.jpg"),
        (good, "--image"),
        (["--save-path", str(other), "--data-dir", str(data)], "hrnet_w48"),
        (["--save-path", str(data / "preprocess.yml"), "--data-dir", str(data)], "preprocess.yml"),
    ):
        assert words in failure(gst_test.main, *options)
    for lost in ("best.pth", "last.pth"):  # either alone is a training's
        assert "add --resume" in train_failure(data, "run")
        (folder / lost).rename(tmp_path / lost)
        assert "add --resume" in train_failure(data, "run")
        (tmp_path / lost).rename(folder / lost)
    options = ("--resume", "--crop-size", "32")
    assert "crop_size 64 became 32" in train_failure(data, "run", *options)
    for given, said in (
        ('{"widht": 2}', "no option 'widht'; known: ['width']"),
        ('{"width": "a"}', "width 'a' is no finite number"),
        ('{"width": .inf}', "width inf is no finite number"),
    ):
        assert said in train_failure(data, "new", "--model-options", given)
    fitted = data / "train/gs_params/photo0_gs_params.h5"
    with h5py.File(fitted, "r+") as file:
        file["params"][0, 2] += 1
    assert "training_data" in train_failure(data, "run", "--resume")
    (data / "train/gs_params/photo0_gs_params.h5").unlink()
    assert "photo0" in train_failure(data, "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("dataset", DATASETS)
def test_presets_set_the_crop_of_the_data_and_the_command_line_wins(dataset, tmp_path):
    crops = {"qnrf": 512, "jhu": 512, "nwpu": 384, "sha": 256, "shb": 512}
    (tmp_path / "mine.yml").write_text(f"dataset: {dataset}\n")
    for options in (["--dataset", dataset], ["--config", str(tmp_path / "mine.yml")]):
        arguments = read_arguments(build_parser(), options)
        assert arguments.crop_size == crops.get(dataset, 256)
        assert arguments.data_dir == f"data/{dataset}_processed"
        assert arguments.save_dir == f"runs/gst_{dataset}_vgg"
        assert arguments.validate_every == (50 if dataset == "nwpu" else 5)
    arguments = read_arguments(build_parser(), ["--dataset", dataset, "--crop-size", "128"])
    assert arguments.crop_size == 128


def test_options_of_one_loss_with_another_and_blocks_that_no_crop_holds_are_refused():
    def read(loss, *options):
        return read_arguments(build_parser(), ["--data-dir", "d", "--loss", loss, *options])

    assert read("bayesian").save_dir == "runs/bayesian_d_vgg"
    chosen = read("dm_count", "--ot-weight", "0.5")
    assert (loss_options(chosen)["loss"], loss_weights(chosen)["ot"]) == ("dm_count", 0.5)
    for loss, *options in (
        ("bayesian", "--cut-off", "2"),
        ("bayesian", "--no-use-background"),
        ("transport", "--ot-weight", "0.5"),
        ("gaussian", "--ot-weight", "0.5"),
    ):
        flag = options[0].replace("--no", "-")
        with pytest.raises(InputError, match=rf"{flag} .*--loss {loss}"):
            read(loss, *options)
    for name in ("--cut-off", "--background-ratio"):
        with pytest.raises(InputError, match=f"{name} has no effect with --no-use-background"):
            read("transport", "--no-use-background", name, "2")
    assert read("transport", "--post-max", "8").post_max == 8
    for option in ("--cut-off", "--lr", "--weight-decay"):
        with pytest.raises(InputError, match=f"{option[2:].replace('-', '_')}'.* inf does not"):
            read("transport", option, "inf")
    with pytest.raises(InputError, match="8 / --post-min, 8, is above --post-max 7"):
        read("transport", "--post-max", "7")
    blocks = "--block-counts", "4", "--crop-size"
    assert read("transport", *blocks, "64").block_counts == 4
    with pytest.raises(InputError, match="crops of 64 pixels"):
        read("transport", *blocks, "63")


def test_two_sets_are_trained_on_together(write_set, train, train_failure):
    first, second = write_set(), write_set(train=(2, 7), val=(5,), name="more")
    options = "--also-data-dir", str(second), "--epochs", "1", "--best-by", "nae"
    run = train(first, "run", *options)
    recipe = load_checkpoint(run / "last.pth")["recipe"]
    assert recipe["settings"]["photos"] == 6
    assert recipe["train_median"] == np.median([5, 1, 0, 3, 2, 7])
    best = load_checkpoint(run / "best.pth")["best"]
    assert best["score"] == best["nae"] > 0
    # One named twice, however it is spelled, is drawn twice as often, but validated once.
    run = train(first, "twice", *options[:2], f"{second}/", *options[2:])
    twice = load_checkpoint(run / "last.pth")["recipe"]["settings"]
    assert twice["photos"] == 8
    assert twice["validation_data"] == recipe["settings"]["validation_data"]
    (second / "preprocess.yml").write_text("min_size: 64\nmax_size: 96\ninterpolation: bilinear\n")
    message = train_failure(first, "other", "--also-data-dir", str(second))
    assert "more was not preprocessed as" in message
    assert "--min-size=96" in message


def test_a_release_counts_as_its_training_s_counter(write_set, train, tmp_path, capsys, failure):
    run = train(write_set(), "run", "--epochs", "1", "--ema", "0.5")
    small, best = tmp_path / "small.pth", run / "best.pth"
    export.main(["--save-path", str(best), "--output", str(small)])
    assert hashlib.md5(small.read_bytes()).hexdigest() in capsys.readouterr().out
    assert small.stat().st_size < best.stat().st_size / 1.5
    # The figures of the best epoch would be wrong beside the weights of the last.
    assert set(load_checkpoint(small)) == {"model", "recipe"}
    photo = torch.rand(1, 3, 64, 64)
    counters = [load_counter(path, torch.device("cpu")).model for path in (best, small)]
    with torch.no_grad():
        counts = [counter(photo).sum() for counter in counters]
    # Half precision keeps 11 bits of each weight.
    torch.testing.assert_close(*counts, rtol=1e-2, atol=1e-4)
    plain = tmp_path / "plain.pth"
    save_checkpoint(plain, **load_checkpoint(small)["model"])
    for source, name, words in (
        (plain, "vgg_small", "holds weights alone: name the best.pth"),
        (best, "vgg", "holds vgg_small, not vgg"),
    ):
        options = "--save-path", source, "--model-name", name, "--output", tmp_path / "x.pth"
        assert words in failure(export.main, *options)
    assert not (tmp_path / "x.pth").exists()
    for output, words in (
        (run / "last.pth", "is of a training, which would be lost"),
        (best, "is of a training, which would be lost"),
        (tmp_path / "x.pt", "ends in neither .onnx nor .pth"),
    ):
        assert words in failure(export.main, "--save-path", best, "--output", output)
