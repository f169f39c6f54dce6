"""The trainings and the test of MGOT: resumed, best chosen, few heads, bad input."""

import importlib
import json
import shlex

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

from crowd.data.images import read_image
from crowd.data.network_input import photo_tensor
from crowd.io.files import short_hash
from crowd.io.h5 import read_h5, write_h5
from crowd.train.checkpoints import load_checkpoint, save_checkpoint
from crowd.train.runs import read_log
from mgot import test as mgot_test
from mgot import train_baseline
from mgot.evaluation import load_counter, predict_map
from mgot.features import hash_of
from mgot.fidt import Preprocessing
from mgot.maps import local_maxima
from mgot.models import build_model
from mgot.patches import list_patches, write_selection
from mgot.transfer import CONFIGS
from tests.conftest import assert_same_run, interrupt, rows, turn_over
from tests.mgot.conftest import SETTINGS, TINY

weight = importlib.import_module("train_baseline_weight")


class Dropping(nn.Conv2d):
    """A counter of a few weights whose training is random beyond its crops."""

    def __init__(self):
        super().__init__(3, 1, 5, padding=2)

    def forward(self, images):
        return super().forward(nn.functional.dropout(images, 0.3, self.training))


@pytest.fixture
def select(write_fidt_set, tmp_path):
    """Write patches with 0 to 3 heads and a selection of them; return the options that name it."""

    def run(weights=(2.0, 1.0, 1.0, 0.5, 1.0), names=(3, 1, 0, 2, 3)):
        patches = write_fidt_set(val=(), test=(), size=(48, 48), name="patches") / "train"
        paths = tmp_path / "selected.npy", tmp_path / "weights.npy"
        write_selection(*paths, [f"/elsewhere/photo{index}.png" for index in names], weights)
        return f"--selected_result {paths[0]} --corresponding_weight {paths[1]} --patches {patches}"

    return run


@pytest.fixture
def finetune(write_fidt_set, write_counter, select, tmp_path, monkeypatch):
    """Run train_baseline_weight.py with small settings on patches, selected as by `select`."""

    pre = write_counter()

    def run(folder="tuned", options="", stop=None, val=(2, 0), **selected):
        arguments = f"{SETTINGS} {select(**selected)} --pre {pre} {options} "
        arguments += f"--val_dir {write_fidt_set(name='target', val=val)} "
        arguments += f"--save_path {tmp_path / folder}"
        with monkeypatch.context() as patch:
            interrupt(patch, stop)
            weight.main(shlex.split(arguments))
        return tmp_path / folder

    return run


@pytest.mark.parametrize(("model", "stop"), [(None, "training"), (Dropping, "logging")])
def test_a_killed_training_continues_to_the_same_figures(write_fidt_set, baseline, model, stop):
    data, options = write_fidt_set(), "--lr_schedule cosine --ema 0.5 --ssim_weight 10"
    whole = baseline(data, "whole", options, model=model)
    with pytest.raises(SystemExit):
        baseline(data, "parts", options, stop=stop, model=model)
    assert load_checkpoint(whole.parent / "parts/last.pth")["epoch"] == 2
    parts = baseline(data, "parts", f"{options} --resume", model=model)
    assert_same_run(whole, parts)
    log = read_log(whole / "log.jsonl")
    assert [line["epoch"] for line in log] == [0, 1, 2, 3]
    assert ["val_mae" in line for line in log] == [True, False, True, True]
    assert all("issim" in line for line in log)


def test_a_killed_fine_tuning_continues_to_the_same_figures(finetune):
    whole = finetune("whole")
    with pytest.raises(SystemExit):
        finetune("parts", stop="training")
    assert_same_run(whole, finetune("parts", "--resume"))


@pytest.mark.parametrize(
    "other", [{"weights": (2.0, 1.0, 1.0, 0.5, 1.5)}, {"names": (3, 1, 2, 0, 3)}]
)
def test_a_fine_tuning_is_not_continued_on_another_selection(finetune, failure, other):
    folder = finetune()
    before = (folder / "log.jsonl").read_bytes()
    message = failure(lambda _: finetune(options="--epochs 5 --resume", **other))
    assert "cannot be continued because training_data" in message
    assert (folder / "log.jsonl").read_bytes() == before


def turn_labels(photo):
    """The photo's map and head pixels upside down: as many heads, elsewhere."""
    labels = {name: read_h5(photo.with_suffix(".h5"), name, "") for name in ("fidt_map", "kpoint")}
    write_h5(photo.with_suffix(".h5"), **{name: array[::-1] for name, array in labels.items()})


def lose_a_head(photo):
    np.save(photo.with_suffix(".npy"), np.load(photo.with_suffix(".npy"))[1:])


@pytest.mark.parametrize(
    ("change", "photo", "what"),
    [
        (turn_labels, "train/photo2.png", "training_data"),
        (turn_over, "train/photo2.png", "training_data"),
        (turn_over, "val/photo0.png", "validation_data"),
        (lose_a_head, "val/photo0.png", "validation_data"),
    ],
)
def test_a_training_is_not_continued_on_other_labels_or_photos(
    write_fidt_set, baseline, failure, change, photo, what
):
    data = write_fidt_set()
    folder = baseline(data, options="--epochs 1")
    before = (folder / "log.jsonl").read_bytes()
    change(data / photo)
    message = failure(lambda _: baseline(data, options="--epochs 2 --resume"))
    assert f"cannot be continued because {what}" in message
    assert (folder / "log.jsonl").read_bytes() == before


def test_a_run_is_continued_without_its_start_and_tested_as_it_was_validated(
    write_fidt_set, write_counter, baseline
):
    data, pre, options = write_fidt_set(), write_counter(), "--validate_every 1 --ema 0.5"
    whole = baseline(data, "whole", options, pre=pre)
    baseline(data, "parts", f"{options} --epochs 2", pre=pre)
    pre.unlink()
    assert_same_run(whole, baseline(data, "parts", f"{options} --resume", pre=pre))
    best = load_checkpoint(whole / "best.pth")
    # Of the photos that it was retrained on, not of those before.
    assert best["recipe"]["train_median"] == 1.5
    mgot_test.main(shlex.split(f"--save_path {whole}/best.pth --data_dir {data} --split val"))
    tested = json.loads((whole / "val/metrics.json").read_text())
    assert tested["mae"] == pytest.approx(best["best"]["mae"])


def test_a_run_is_not_continued_from_another_start_nor_to_fewer_epochs(
    write_fidt_set, write_counter, baseline, failure
):
    data, pre = write_fidt_set(), write_counter()
    folder = baseline(data, options="--epochs 2", pre=pre)
    config = (folder / "config.yml").read_bytes()
    again = failure(lambda _: baseline(data, options="--epochs 1 --resume", pre=pre))
    assert "has 2 epochs done" in again
    other = failure(lambda _: baseline(data, options="--resume --tile 288", pre=pre))
    assert "tile 0 became 288" in other
    state = load_checkpoint(pre)
    state["model"] = {name: 1.5 * value for name, value in state["model"].items()}
    save_checkpoint(pre, **state)
    other = failure(lambda _: baseline(data, options="--epochs 3 --resume", pre=pre))
    assert "cannot be continued because start" in other
    assert (folder / "config.yml").read_bytes() == config


def test_the_best_epoch_has_the_lowest_mae_on_val(write_fidt_set, baseline, capsys):
    data, other = write_fidt_set(), write_fidt_set(val=(2, 5, 9), name="other")
    options = f"--validate_every 1 --epochs 5 --lr 0.02 --val_dir {other} --visual"
    folder = baseline(data, options=f"{options} --print_freq 3")
    log = read_log(folder / "log.jsonl")
    errors = [line["val_mae"] for line in log]
    best = load_checkpoint(folder / "best.pth")
    assert best["best"]["score"] == best["best"]["mae"] == min(errors)
    assert best["best"]["epoch"] == errors.index(min(errors))
    printed = capsys.readouterr().out
    lines = [line.split()[1] for line in printed.splitlines() if line.startswith("epoch ")]
    assert lines == ["0", "3", "4"]
    assert f"{errors[-1]:.2f}" in printed.split("last, epoch 4")[1]
    assert f"{min(errors):.2f}" in printed.split(f"best, epoch {errors.index(min(errors))}")[1]
    assert len(list((folder / "visual").glob("*_peaks.jpg"))) == 3
    recipe = best["recipe"]
    assert (recipe["model_name"], recipe["train_median"]) == ("hrnet_small", 1.5)
    config = yaml.safe_load((folder / "config.yml").read_text())
    assert config["weight_decay"] == 5e-4
    assert config["precision"] in ("float32", "bfloat16"), "as used, not as asked for"


@pytest.mark.parametrize("option", ["ssim_weight", "detail_weight", "scale_range 0.5"])
def test_the_weight_of_a_loss_and_the_scale_decide_what_is_learned(
    write_fidt_set, baseline, option
):
    data, learned = write_fidt_set(), set()
    for value in ("0.6", "1", "1e3" if "weight" in option else "2"):
        folder = baseline(data, value, f"--{option} {value} --epochs 1")
        learned.add(read_log(folder / "log.jsonl")[0]["mse"])
    assert len(learned) == 3


def test_without_photos_to_validate_on_the_last_epoch_is_the_best(write_fidt_set, baseline, capsys):
    folder = baseline(write_fidt_set(val=()), options="--epochs 2")
    assert "best.pth is the last epoch" in capsys.readouterr().out
    last, best = (load_checkpoint(folder / name) for name in ("last.pth", "best.pth"))
    assert best["best"] == {"epoch": 1}
    torch.testing.assert_close(best["model"], last["model"])


def test_pictures_of_validation_photos_are_refused_where_there_are_none(
    write_fidt_set, baseline, failure
):
    data = write_fidt_set(val=())
    message = failure(lambda _: baseline(data, options="--visual"))
    assert "--visual draws photos of val: name --val_dir" in message


def test_fine_tuning_starts_from_the_given_weights_and_weighs(finetune, tmp_path):
    tuned = finetune(options="--epochs 1 --lr 1e-12 --preload_data") / "best.pth"
    before, after = (load_checkpoint(path) for path in (tmp_path / "counter.pth", tuned))
    # Heads of patches say nothing about those of whole photos.
    assert after["recipe"]["train_median"] == 2.0
    torch.testing.assert_close(after["model"], before["model"], rtol=1e-4, atol=1e-6)
    once = "--epochs 1 --lr 1e-12"
    folders = [finetune(str(w), once, weights=(w,) * 5) for w in (1.0, 3.0)]
    one, three = (read_log(folder / "log.jsonl")[0]["mse"] for folder in folders)
    assert three == pytest.approx(3 * one, rel=1e-4)


def test_fine_tuning_takes_pseudo_labels_of_the_target_along(write_fidt_set, finetune):
    labels = write_fidt_set(train=(2, 3), name="labels")
    once = "--epochs 1 --lr 1e-12 --batch_size 7"  # 5 patches and 2 photos: one batch
    without, with_labels = (
        read_log(finetune(name, f"{once} {more}", weights=(0.0,) * 5) / "log.jsonl")[0]["mse"]
        for name, more in (("alone", ""), ("along", f"--pseudo_labels {labels}"))
    )
    # Weights of 0 leave nothing of the patches: what is learnt from is the photos, at weight 1.
    assert without == 0 < with_labels


def test_a_selection_of_other_patches_of_these_names_is_refused(finetune, failure, tmp_path):
    patches, told = tmp_path / "patches/train", tmp_path / "selected.json"
    folder = finetune(options="--epochs 1")  # without a .json, as the authors' selections
    told.write_text(json.dumps({"patches": hash_of(list_patches(patches))}))
    finetune(options="--epochs 1 --resume")
    told.write_text(json.dumps({"patches": hash_of(list_patches(folder.parent / "target/train"))}))
    message = failure(lambda _: finetune("other"))
    assert "selected.npy is not of the patches that" in message
    assert "run python -m mgot.features" in message
    told.write_text("{")
    assert "selected.json is damaged" in failure(lambda _: finetune("other"))


def test_fine_tuning_takes_no_pseudo_labels_of_an_unfinished_set(write_fidt_set, finetune, failure):
    labels = write_fidt_set(train=(2, 3), name="labels", unfinished=True)
    message = failure(lambda _: finetune(options=f"--pseudo_labels {labels}"))
    assert "labels/preprocess.yml says that the set is unfinished" in message


def test_a_counter_sees_photos_as_the_transfer_s_target_was_made_whoever_validates(
    write_fidt_set, finetune, tmp_path, failure
):
    def smooth(name, options=""):
        folder = finetune(name, f"--epochs 1 {options}")
        return load_checkpoint(folder / "last.pth")["recipe"]["preprocessing"]["smooth"]

    transfer = f"--transfer A2B --source sha --target shb --data_root {tmp_path}"
    assert "shb_fidt is not a folder" in failure(lambda _: smooth("missing", transfer))
    write_fidt_set(name="shb_fidt", smooth=True)
    assert (smooth("transfer", transfer), smooth("alone")) == (True, False)


def test_fine_tuning_on_test_says_so_and_counts_epochs_from_where_it_is_told(finetune, capsys):
    folder = finetune(options="--select_on test --start_epoch 2", val=())
    assert "chosen on test" in capsys.readouterr().out
    log = read_log(folder / "log.jsonl")
    assert [line["epoch"] for line in log] == [2, 3]
    assert "test_mae" in log[-1]


def test_fine_tuning_for_a_target_without_annotations_asks_for_the_source_s_set(finetune, failure):
    message = failure(lambda _: finetune(val=()))
    assert "target has no val/ to choose the best epoch on: name the source's set" in message


def test_a_first_epoch_beyond_the_last_writes_nothing(finetune, tmp_path, failure):
    message = failure(lambda _: finetune(options="--start_epoch 4"))
    assert "--start_epoch 4 leaves none of --epochs 4" in message
    assert "--tile 99 is no tile" in failure(lambda _: finetune(options="--tile 99"))
    assert not (tmp_path / "tuned").exists()


def test_the_set_and_the_single_photo_are_counted_alike(write_fidt_set, write_counter, capsys):
    data, checkpoint = write_fidt_set(test=(3, 0, 1, 0, 0)), write_counter(min_size=40)
    options = ["--save_path", str(checkpoint), "--device", "cpu"]
    mgot_test.main([*options, "--data_dir", str(data), "--radii", "3", "60", "--visual"])
    printed = capsys.readouterr().out
    folder = checkpoint.parent / "test"
    counts = rows(folder / "predictions.csv")
    assert [row["actual"] for row in counts] == ["3", "0", "1", "0", "0"]
    predicted = [float(row["predicted"]) for row in counts]
    assert max(predicted) > 1
    metrics = json.loads((folder / "metrics.json").read_text())
    mae = np.mean([abs(float(row["actual"]) - float(row["predicted"])) for row in counts])
    assert metrics["mae"] == pytest.approx(mae)
    assert metrics["guessing"]["mae"] == pytest.approx((1 + 2 + 1 + 2 + 2) / 5)
    assert metrics["checkpoint"] == short_hash(checkpoint)
    assert set(metrics["localization"]) == {"3 px", "60 px"}
    assert metrics["localization"]["60 px"]["tp"] == 4 - metrics["localization"]["60 px"]["fn"]
    assert f"{mae:.2f}" in printed
    points = (folder / "predicted_points.txt").read_text().splitlines()
    assert [line.split()[1] for line in points] == [f"{count:g}" for count in predicted]
    assert len(list((folder / "visual").iterdir())) == 5
    mgot_test.main([*options, "--data_dir", str(data)])
    assert not list((folder / "visual").iterdir())  # of another test, for all that it knows
    before = (folder / "metrics.json").read_bytes()
    mgot_test.main([*options, "--data_dir", str(data), "--split", "val"])
    assert (folder / "metrics.json").read_bytes() == before
    metrics = json.loads((folder.parent / "val/metrics.json").read_text())
    assert (metrics["split"], list(metrics["localization"])) == ("val", ["4 px", "8 px"])
    capsys.readouterr()

    mgot_test.main([*options, "--image", str(data / "test/photo2.png")])
    assert capsys.readouterr().out.startswith(f"{predicted[2]:.1f} people in")
    assert (folder.parent / "counted/photo2_counted.jpg").stat().st_size < 300_000


def test_a_scaled_photo_s_heads_are_places_in_the_photo_as_it_is(write_fidt_set, write_counter):
    data, checkpoint = write_fidt_set(), write_counter()
    shared = ["--save_path", str(checkpoint), "--device", "cpu", "--scale", "1.5"]
    mgot_test.main([*shared, "--data_dir", str(data)])
    lines = (checkpoint.parent / "test/predicted_points.txt").read_text().splitlines()
    pixels = np.array(lines[0].split()[2:], int).reshape(-1, 2)
    image = read_image(data / "test/photo0.png")
    channels = photo_tensor(image, Preprocessing()).numpy()
    larger = [Image.fromarray(one).resize((96, 72), Image.BILINEAR) for one in channels]
    model = load_counter(checkpoint, torch.device("cpu")).model
    heads = (local_maxima(predict_map(model, torch.from_numpy(np.stack(larger)))) + 0.5) / 1.5
    assert len(heads) > 1
    np.testing.assert_array_equal(pixels, np.floor(heads))
    mgot_test.main([*shared, "--image", str(data / "test/photo0.png")])
    marked = rows(checkpoint.parent / "counted/photo0_points.csv")
    marked = [(float(row["x"]), float(row["y"])) for row in marked]
    np.testing.assert_allclose(marked, heads, atol=0.01)


def test_released_weights_are_tested_under_their_name(write_fidt_set, tmp_path, failure, capsys):
    data, path = write_fidt_set(), tmp_path / "weights.pth"
    weights = build_model("hrnet_small").state_dict()
    parallel = {f"module.{name}": value for name, value in weights.items()}
    save_checkpoint(path, epoch=7, state_dict=parallel)
    options = ["--save_path", str(path), "--data_dir", str(data), "--device", "cpu"]
    assert "--model-name" in failure(mgot_test.main, *options)
    mgot_test.main([*options, "--model_name", "hrnet_small"])
    assert "hrnet_small, 3 photos of test" in capsys.readouterr().out
    del weights["stem.0.weight"]
    save_checkpoint(path, **weights)
    message = failure(mgot_test.main, *options, "--model_name", "hrnet_small")
    assert "missing: stem.0.weight" in message


def test_bad_checkpoints_are_one_sentence(write_fidt_set, write_counter, tmp_path, failure):
    data, good = write_fidt_set(), write_counter()
    other, lost = tmp_path / "other.pth", tmp_path / "lost.pth"
    save_checkpoint(other, recipe={"model_name": "vgg"}, model={})
    state = load_checkpoint(good)
    nn.init.constant_(state["model"]["last_layer.5.bias"], torch.nan)
    save_checkpoint(lost, **state)
    for options, words in (
        (["--save_path", good, "--data_dir", tmp_path / "nowhere"], "nowhere"),
        (["--save_path", good, "--data_dir", data, "--device", "99"], "--device 99"),
        (["--save_path", good, "--data_dir", data, "--tile", "99"], "--tile 99"),
        (["--save_path", good, "--data_dir", data, "--scale", "inf"], "'scale'"),
        (["--save_path", good, "--image", data / "test/photo0.png", "--tile", "99"], "--tile 99"),
        (
            ["--save_path", good, "--data_dir", data, "--model_name", "hrnet_w48"],
            "not hrnet_w48: leave --model-name, or model_name in the YAML file, out",
        ),
        (["--save_path", good, "--image", tmp_path / "no.jpg"], "no.jpg"),
        (["--save_path", good], "--image"),
        (["--save_path", other, "--data_dir", data], "another method (vgg)"),
        (["--save_path", lost, "--data_dir", data], "not finite (last_layer"),
        (["--save_path", data / "preprocess.yml", "--data_dir", data], "preprocess.yml"),
    ):
        assert words in failure(mgot_test.main, *options)


def test_retraining_before_the_photos_are_labelled_names_what_labels_them(tmp_path, failure):
    options = "--domain", "target", "--runs_root", tmp_path
    message = failure(train_baseline.main, "--config", CONFIGS / "A2B.yml", *options)
    assert "pseudo_labels/train is not a folder: run python -m mgot.pseudo_label" in message


def test_bad_trainings_are_one_sentence(write_fidt_set, baseline, tmp_path, failure):
    data = write_fidt_set()
    folder = baseline(data, options="--epochs 1")

    def refused(*options, save="run"):
        where = ["--data_dir", data, "--save_dir", tmp_path / save]
        model = ["--model_name", "hrnet_small", "--model_options", shlex.split(TINY)[0]]
        return failure(train_baseline.main, *where, *model, *shlex.split(SETTINGS), *options)

    assert "add --resume" in refused()
    assert "--scale-range 1.2 0.9 is none" in refused("--scale_range", 1.2, 0.9, save="new")
    assert "crop_size 32 became 48" in refused("--resume", "--crop_size", 48)
    other = '{"widths": [16, 8], "hidden": 8}'
    assert "model_options" in refused("--resume", "--model_options", other)
    assert "'widht'" in refused("--model_options", '{"widht": 2}', save="new")
    widths = ("[8, 16]", "[16, 12]", "[16, 0]", "[]", "3", '"16"', "[16.0]")
    for option, value in (*(("widths", one) for one in widths), ("blocks", "0"), ("hidden", "[4]")):
        message = refused("--model_options", f'{{"{option}": {value}}}', save="new")
        assert f"--model-options: {option} " in message
    assert "knows its own model" in refused("--pre", folder / "best.pth", save="new")
    assert "ImageNet" in refused("--pretrained", "imagenet", save="new")
    assert "--backbone-lr" in refused("--backbone_lr", "0.5", save="new")
    assert "--tile 300 is no tile" in refused("--tile", "300", save="new")
    assert "--lr" in refused("--lr", "1e30", "--epochs", "9", save="diverged")
    (data / "train/photo2.h5").unlink()
    assert "photo2.png" in refused(save="new")
    assert "name --data-dir" in failure(train_baseline.main, "--save_dir", tmp_path)
    assert "add --domain" in failure(train_baseline.main, "--config", CONFIGS / "A2B.yml")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda root: np.save(root / "weights.npy", np.ones(4)), "5 patches and"),
        (lambda root: (root / "patches/train/photo1.h5").unlink(), "photo1.png"),
        (lambda root: (root / "patches/train/photo1.png").unlink(), "photo1.png"),
        (
            lambda root: write_selection(root / "selected.npy", root / "weights.npy", [], []),
            "no photo to train on",
        ),
    ],
)
def test_a_selection_that_does_not_fit_is_named(
    write_fidt_set, write_counter, select, tmp_path, failure, damage, says
):
    selection, target = shlex.split(select()), write_fidt_set(name="target")
    damage(tmp_path)
    options = ["--pre", write_counter(), "--val_dir", target, "--save_path", tmp_path / "tuned"]
    assert says in failure(weight.main, *selection, *options, "--device", "cpu")
    assert not (tmp_path / "tuned").exists()


def test_released_flags_are_accepted():
    flags = "--dataset A2B --save_path x --workers 2 --print_freq 3 --start_epoch 1 --epochs 5 "
    flags += "--pre y --batch_size 4 --crop_size 128 --seed 7 --gpu_id cpu --lr 1e-3 "
    flags += "--weight_decay 0 --preload_data --visual"
    arguments = weight.read_arguments(shlex.split(flags))
    assert (arguments.save_dir, arguments.device, arguments.visual) == ("x", "cpu", True)


NETWORKS = ["mgot.pseudo_label", "mgot.train_baseline", "mgot.features", "mgot.test"]


@pytest.mark.parametrize("name", [*NETWORKS, "k_means_ot_weight", "train_baseline_weight"])
def test_a_device_is_named_in_the_release_s_words_too(name):
    parser = importlib.import_module(name).build_parser()
    (device,) = (action for action in parser._actions if action.dest == "device")
    assert {"--device", "--gpu-id"} <= set(device.option_strings)  # as the parser spells them
