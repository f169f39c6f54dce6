"""Stages h and i: the light counter with GST and the Bayesian loss, and the paper's network.

By the commands that users give, on ShanghaiTech A. Every one goes on where it was stopped, so the
next command of the benchmark does. Where the test photos are at hand, test.py tests what was best
on the validation.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.gpu.stages import Context
from crowd.synthetic import make_dataset
from crowd.train.runs import BEST, ROOT, read_log

PART = "part_A"
SIDE_BY_SIDE = 32  # photos fitted at a time
RESERVE = 30.0  # seconds for tests and weights


class Plan(NamedTuple):
    """One training: the weights to start from, and options of train_gs.py."""

    weights: str
    options: Sequence[str]


_BAYESIAN, _BLOCKS = ["--loss", "bayesian"], ["--block-counts", "4"]
# As the rows of experiments/rows/shanghaitech_a, which a CPU trains.
_LIGHT = ["--config", "experiments/gst_light.yml", "--epochs", "160", "--crop-size", "256"]
_LIGHT += ["--validate-from", "80", "--validate-every", "10"]
_PAPER = ["--tile", "2048", "--crop-size", "256", "--epochs", "20"]
_PAPER += ["--validate-from", "5", "--validate-every", "5"]
_LITE0, _VGG16 = "efficientnet_lite0_features.pth", "vgg16_features.pth"
LIGHT = {
    "light_gst": Plan(_LITE0, [*_LIGHT, *_BLOCKS]),
    "light_bayesian": Plan(_LITE0, [*_LIGHT, *_BAYESIAN]),
}
PAPER = {
    "vgg_gst": Plan(_VGG16, _PAPER),
    "vgg_bayesian": Plan(_VGG16, [*_PAPER, *_BAYESIAN]),
}
REHEARSED = ["--model-name", "vgg_small", "--epochs", "2", "--validate-from", "1"]
REHEARSED += ["--crop-size", "64", "--batch-size", "2"]


def train_light(context: Context) -> None:
    """(h) The light counter with both losses, as far as the time goes."""
    _train_all(context, LIGHT)


def train_paper(context: Context) -> None:
    """(i) The paper's network from VGG-16's weights, as far as the time goes."""
    _train_all(context, PAPER)


def _train_all(context: Context, plans: dict[str, Plan]) -> None:
    if context.rehearsal:
        plans = dict([*plans.items()][:1])
        draw(context.data)
    data = processed(context, "train")
    if data is None:
        raise RuntimeError(f"no training photos: name a folder that holds {PART}/train_data")
    _fit_gaussians(context, data)
    trainings = {}
    for name, plan in plans.items():
        folder = context.work / "trainings" / name
        _train(context, plan, data, folder)
        best = folder / BEST
        log, times = (read_log(folder / one) for one in ("log.jsonl", "times.jsonl"))
        trainings[name] = {"epochs": len(log), "log": log, "times": times}
        context.note(trainings=trainings)
        if best.exists():
            released = context.output / f"{name}.pth"
            _run("-m", "gst.export", "--save-path", best, "--output", released)
            trainings[name] |= _test(context, best)
            context.note(trainings=trainings)


def _train(context: Context, plan: Plan, data: Path, folder: Path) -> None:
    """Train, or go on, until the epochs are done or the time is up."""
    words = ["train_gs.py", "--data-dir", data, "--save-dir", folder, "--resume", *plan.options]
    words += ["--pretrained", context.find(plan.weights) or "none"]
    if context.rehearsal:
        words += [*REHEARSED, "--device", "cpu"]
    else:
        words += ["--model-name", folder.name.split("_")[0], "--device", "0"]
    seconds = context.deadline - RESERVE - time.time()
    if seconds > 0:
        try:
            _run(*words, seconds=seconds)
        except subprocess.TimeoutExpired:
            print(f"{folder.name} is not done", flush=True)


def _test(context: Context, best: Path) -> dict:
    """What test.py says of the test photos, where they are at hand."""
    tested = processed(context, "test")
    if tested is None:
        return {}
    device = context.pick("0", "cpu")
    words = ["--save-path", best, "--data-dir", tested, "--output", best.parent / "test"]
    _run("test.py", *words, "--device", device)
    return {"test": json.loads((best.parent / "test/metrics.json").read_text("utf-8"))}


def processed(context: Context, half: str) -> Path | None:
    """The processed half of the set, made where it is not; None when no photos are at hand."""
    found, folder = context.find(f"{PART}/{half}_data"), context.work / f"{half}_processed"
    if found is None:
        return folder if folder.exists() else None
    words = ["--layout", "sht", "--input-dataset-path", found.parent]
    words += context.pick(["--workers", "16"], ["--min-size", "96", "--workers", "0"])
    _run("preprocess_dataset_ucf.py", *words, "--output-dataset-path", folder)
    return folder


def _fit_gaussians(context: Context, folder: Path) -> None:
    """Splat the training photos that are not yet, make deformed Gaussians round; what it took."""
    started = time.perf_counter()
    words = ["--root_path", folder, "--stop_when_flat"]
    words += context.pick(["--workers", SIDE_BY_SIDE], ["--num_epochs", "3", "--backend", "cpu"])
    _run("2dgs_counting_1gs_gsplat.py", *words)
    _run("GS2D/process_gaussians.py", "--folder", folder / "train" / "gs_params")
    context.note(splatting={"seconds": time.perf_counter() - started})


def _run(*words: object, seconds: float | None = None) -> None:
    """Run a command of the project; raise where it fails, or takes longer than `seconds`."""
    argv = [sys.executable, *map(str, words)]
    subprocess.run(argv, cwd=ROOT, check=True, timeout=seconds)


def draw(folders: Sequence[Path]) -> None:
    """Draw a tiny part A for a rehearsal, its halves in two folders as they travel."""
    whole = folders[0].parent / "drawn"
    make_dataset(whole, "sht", images=5, seed=0, domain="a", test_images=2, size=(128, 96))
    for folder, half in zip(folders, ("train_data", "test_data"), strict=True):
        shutil.copytree(whole / half, folder / PART / half, dirs_exist_ok=True)
