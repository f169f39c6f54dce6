"""Stage i: the light counter and the paper's network, with GST and the Bayesian loss.

By the commands that users give, on ShanghaiTech A, all four side by side: what limits each is the
process that launches its kernels. Every one goes on where it was stopped, so the next command of
the benchmark does. Where the test photos are at hand, test.py tests what was best on the
validation.
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
RESERVE = 60.0  # seconds for tests and weights


class Plan(NamedTuple):
    """One training: the weights to start from, and options of train_gs.py."""

    weights: str
    options: Sequence[str]


_LITE0, _VGG16 = "efficientnet_lite0_features.pth", "vgg16_features.pth"
_BAYESIAN, _BLOCKS = ["--loss", "bayesian"], ["--block-counts", "4"]
# As rows of shanghaitech_a and shanghaitech_a_vgg in experiments/rows.
_COMMON = ["--crop-size", "256", "--epochs", "160", "--validate-from", "80"]
_COMMON += ["--validate-every", "10"]
_LIGHT = ["--model-name", "light", "--config", "experiments/gst_light.yml", *_COMMON]
_PAPER = ["--model-name", "vgg", "--config", "experiments/gst_vgg.yml", *_COMMON]
PLANS = {
    "light_gst": Plan(_LITE0, [*_LIGHT, *_BLOCKS]),
    "light_bayesian": Plan(_LITE0, [*_LIGHT, *_BAYESIAN]),
    "vgg_gst": Plan(_VGG16, _PAPER),
    "vgg_bayesian": Plan(_VGG16, [*_PAPER, *_BAYESIAN]),
}
REHEARSED = ["--model-name", "vgg_small", "--epochs", "2", "--validate-from", "1"]
REHEARSED += ["--crop-size", "64", "--batch-size", "2", "--device", "cpu"]


def train(context: Context) -> None:
    """(i) Both networks with both losses, side by side, as far as the time goes."""
    if context.rehearsal:
        draw(context.data)
    data = processed(context, "train")
    if data is None:
        raise RuntimeError(f"no training photos: name a folder that holds {PART}/train_data")
    _fit_gaussians(context, data)
    tested = processed(context, "test")
    folders = {name: context.work / "trainings" / name for name in PLANS}
    running = {name: _start(context, PLANS[name], data, folders[name]) for name in folders}
    failed = []
    try:
        while running and time.time() < context.deadline - RESERVE:
            time.sleep(1)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                failed += [name] if running.pop(name).returncode else []
                _record(context, folders)
    finally:
        for process in running.values():
            process.terminate()
            process.wait()
    for name, folder in folders.items():
        if (folder / BEST).exists():
            _run("-m", "gst.export", *_best(folder), "--output", context.output / f"{name}.pth")
            if tested is not None:
                words = "--data-dir", tested, "--output", folder / "test"
                _run("test.py", *_best(folder), *words, "--device", context.pick("0", "cpu"))
        _record(context, folders)
    if failed:
        raise RuntimeError(f"trainings of {', '.join(failed)} failed: see log.txt")


def _start(context: Context, plan: Plan, data: Path, folder: Path) -> subprocess.Popen:
    """Begin a training, or go on with it."""
    words = ["train_gs.py", "--data-dir", data, "--save-dir", folder, "--resume", *plan.options]
    words += ["--pretrained", context.find(plan.weights) or "none"]
    words += context.pick(["--device", "0"], REHEARSED)
    return subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT)


def _best(folder: Path) -> tuple[str, Path]:
    return "--save-path", folder / BEST


def _record(context: Context, folders: dict[str, Path]) -> None:
    """Note what is known of every training: its logs, and what test.py said."""
    trainings = {}
    for name, folder in folders.items():
        log, times = (read_log(folder / one) for one in ("log.jsonl", "times.jsonl"))
        trainings[name] = {"epochs": len(log), "log": log, "times": times}
        if (metrics := folder / "test/metrics.json").exists():
            trainings[name]["test"] = json.loads(metrics.read_text("utf-8"))
    context.note(trainings=trainings)


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
    words += context.pick([], ["--num_epochs", "3", "--backend", "cpu"])
    _run("2dgs_counting_1gs_gsplat.py", *words)
    _run("GS2D/process_gaussians.py", "--folder", folder / "train" / "gs_params")
    context.note(splatting={"seconds": time.perf_counter() - started})


def _run(*words: object) -> None:
    """Run a command of the project; raise where it fails."""
    subprocess.run([sys.executable, *map(str, words)], cwd=ROOT, check=True)


def draw(folders: Sequence[Path]) -> None:
    """Draw a tiny part A for a rehearsal, its halves in two folders as they travel."""
    whole = folders[0].parent / "drawn"
    make_dataset(whole, "sht", images=5, seed=0, domain="a", test_images=2, size=(128, 96))
    for folder, half in zip(folders, ("train_data", "test_data"), strict=True):
        shutil.copytree(whole / half, folder / PART / half, dirs_exist_ok=True)
