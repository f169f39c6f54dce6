"""Stage i: the light counter and the paper's network, with GST and the Bayesian loss.

By the commands of tables' rows, on ShanghaiTech A, all four side by side: what limits each is the
process that launches its kernels. Every one goes on where it was stopped, so the next command of
the benchmark does. Where the test photos are at hand, test.py tests what was best on the
validation.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.gpu.stages import Context
from crowd.synthetic import make_dataset
from crowd.train.runs import BEST, ROOT, read_log
from experiments.runner import fill_in
from experiments.tables import read_rows

PART = "part_A"
RESERVE = 60.0  # seconds for tests and weights
_LITE0, _VGG16 = "efficientnet_lite0_features.pth", "vgg16_features.pth"
# The weights that each begins with, and the row of a table whose command it is.
PLANS = {
    "light_gst": (_LITE0, "shanghaitech_a/gst"),
    "light_bayesian": (_LITE0, "shanghaitech_a/bayesian"),
    "vgg_gst": (_VGG16, "shanghaitech_a_vgg/gst"),
    "vgg_bayesian": (_VGG16, "shanghaitech_a_vgg/bayesian"),
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
    failed, running, end = [], {}, context.deadline - RESERVE
    if time.time() < end:
        running = {name: _start(context, *PLANS[name], data, folders[name]) for name in PLANS}
    try:
        while running and time.time() < end:
            time.sleep(1)
            for name in [name for name, process in running.items() if process.poll() is not None]:
                failed += [name] if running.pop(name).returncode else []
                _record(context, folders)
    finally:
        for process in running.values():
            process.terminate()
            process.wait()
    _record(context, folders)
    best = {name: folder / BEST for name, folder in folders.items() if (folder / BEST).exists()}
    for name, path in best.items():
        _run("-m", "gst.export", "--save-path", path, "--output", context.output / f"{name}.pth")
    for path in best.values() if tested is not None else ():
        words = "--save-path", path, "--data-dir", tested, "--output", path.parent / "test"
        _run("test.py", *words, "--device", context.pick("0", "cpu"))
        _record(context, folders)
    if failed:
        raise RuntimeError(f"trainings of {', '.join(failed)} failed: see log.txt")


def _start(context: Context, weights: str, name: str, data: Path, folder: Path) -> subprocess.Popen:
    """Begin the training of a table's row, or go on with it."""
    (row,) = read_rows(name)
    (stage,) = (stage for stage in row.stages if stage.startswith("train_gs.py"))
    # Of an option that is given twice, the last counts.
    words = [*shlex.split(fill_in(stage, row, 1)), "--data-dir", data, "--save-dir", folder]
    words += ["--pretrained", context.find(weights) or "none"]
    words += context.pick(["--device", "0"], REHEARSED)
    return subprocess.Popen([sys.executable, *map(str, words)], cwd=ROOT)


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
