"""Kill every stage of both papers at random moments, give its command again, compare what results.

    python -m tests.soak.soak                       50 kills, about half an hour of one core
    python -m tests.soak.soak --kills 200 --seed 1

A small synthetic transfer goes through all stages once undisturbed. Then it goes through them
again, in a fresh folder, and each stage is sent SIGKILL at random moments: the process alone, as
for want of memory, or with all its workers, as by a cluster. Every command is given again until it
ends by itself. Passes follow one another until there were as many kills as asked for; after each,
every file must equal the undisturbed one. The folder goes when all of them did.
"""

import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.measure import RESULTS, write_record
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError, command
from crowd.io.files import write_text
from crowd.io.h5 import open_h5
from crowd.io.progress import progress
from crowd.train.checkpoints import load_checkpoint
from crowd.train.runs import ROOT

KILLS_A_STAGE = 2
TRANSFER = """transfer: soak
source: synthetic_a
target: synthetic_b
target_size: 768x512
model_name: hrnet_small
"""
TINY = '\'{"widths": [16, 8], "hidden": 4}\''
# What every run writes differently, and which no figure depends on; MATLAB files hold a date, and
# so does what is recorded of them.
DIFFERENT = {
    *("environment.json", "starts.jsonl", "times.jsonl", "tensorboard", ".made"),
    *("synthetic_a", "synthetic_b"),
}


def draw_sets(folder: Path, images: int, domains: str = "ab") -> None:
    """Draw the two data sets and write the transfer's file, before anything is killed."""
    write_text(folder / "soak.yml", TRANSFER)
    for domain in domains:
        words = f"-m crowd.synthetic --root data/synthetic_{domain} --layout sht --seed 1"
        run(folder, f"{words} --images {images} --domain {domain}")


def stages(epochs: int) -> dict[str, str]:
    """Name -> command of every stage in the documented order, relative to the folder."""
    training = f"--device cpu --resume --epochs {epochs}"
    mgot = f"{training} --crop_size 128 --batch_size 4 --validate_every 2"
    both = {
        f"{name} {domain}": f"{command} --config soak.yml --domain {domain} {options}"
        for name, command, options in (
            ("patches", "-m mgot.patches", ""),
            ("features", "-m mgot.features", "--device cpu --batch_size 4"),
            ("elbow", "k_means_elbow.py", ""),
            ("k-means", "k_means.py", "--cluster_num 3"),
        )
        for domain in ("source", "target")
    }
    return {
        "preprocess": "preprocess_dataset_ucf.py --layout sht --workers 2 "
        "--input-dataset-path data/synthetic_a --output-dataset-path data/gst",
        "splat": "2dgs_counting_1gs_gsplat.py --root_path data/gst/train --num_epochs 60 "
        "--backend cpu --workers 2",
        "deformity": "GS2D/process_gaussians.py --folder data/gst/train/gs_params",
        "train gst": f"train_gs.py {training} --data-dir data/gst --save-dir runs/gst --ema 0.9 "
        "--model-name vgg_small --model-options '{\"width\": 0.25}' --crop-size 128 "
        "--batch-size 4 --lr 1e-3 --validate-from 2 --validate-every 2",
        "test gst": "test.py --save-path runs/gst/best.pth --data-dir data/gst --device cpu",
        "fidt source": "-m mgot.fidt --config soak.yml --domain source --workers 2",
        "fidt target": "-m mgot.fidt --config soak.yml --domain target --workers 2",
        "train source": f"-m mgot.train_baseline --config soak.yml --domain source {mgot} "
        f"--lr 2e-3 --model_options {TINY}",
        "pseudo labels": "-m mgot.pseudo_label --config soak.yml --device cpu",
        "train target": f"-m mgot.train_baseline --config soak.yml --domain target {mgot}",
        **both,
        "align": "k_means_ot_weight.py --config soak.yml --mass 0.8",
        "fine-tune": f"train_baseline_weight.py --config soak.yml {mgot}",
        "test mgot": "-m mgot.test --save_path runs/mgot_soak/finetuned/best.pth "
        "--data_dir data/synthetic_b_fidt --device cpu",
    }


def start(folder: Path, words: str) -> subprocess.Popen:
    """Start one stage in `folder`, in a process group of its own, with one thread a process."""
    words = shlex.split(words)
    script = words if words[0] == "-m" else [str(ROOT / words[0]), *words[1:]]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, *script]
    return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **streams)


def run(folder: Path, words: str, after: float | None = None, alone: bool = False) -> float | None:
    """Run one stage to its end, or send it SIGKILL `after` seconds; return how long it took, s.

    `alone` kills the process alone and leaves its workers to themselves. Returns None of a stage
    that was killed; raises `InputError` if it fails by itself.
    """
    started, process = time.monotonic(), start(folder, words)
    try:
        printed, _ = process.communicate(timeout=after)
    except subprocess.TimeoutExpired:
        (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
        try:  # workers hold the pipe until they end
            process.communicate(timeout=60)
        except subprocess.TimeoutExpired as error:
            raise InputError(f"workers of '{process.args}' outlive it by a minute") from error
        return None
    if process.returncode:
        raise InputError(f"'{words}' in {folder} ended with {process.returncode}: {printed}")
    return time.monotonic() - started


def killed_pass(
    folder: Path, commands: dict[str, str], took: dict[str, float], idle: float, chance, wanted: int
) -> Counter:
    """Go through all stages, killing each up to twice and `wanted` times in all.

    The undisturbed stages `took` their seconds, of which they spend `idle` before anything is done.
    Returns kills by stage.
    """
    kills: Counter = Counter()
    for name, words in commands.items():
        for _ in range(KILLS_A_STAGE):
            if kills.total() >= wanted:
                break
            after = chance.uniform(0.8 * idle, max(took[name], idle))
            if run(folder, words, after, alone=chance.random() < 0.5) is not None:
                break
            kills[name] += 1
        run(folder, words)
    return kills


def differences(first: Path, second: Path) -> tuple[int, list[str]]:
    """Compare two folders: number of files, and what is not equal."""
    names = [_names(folder) for folder in (first, second)]
    faults = [f"{name} exists once" for name in sorted(names[0] ^ names[1])]
    for name in sorted(names[0] & names[1]):
        if not _equal(first / name, second / name):
            faults.append(f"{name} differs")
    return len(names[0]), faults


def _names(folder: Path) -> set[Path]:
    files = {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}
    return {name for name in files if not set(name.parts) & DIFFERENT}


def _equal(first: Path, second: Path) -> bool:
    if first.suffix == ".pth":
        return _same(load_checkpoint(first), load_checkpoint(second))
    if first.suffix == ".h5":
        return _same(_datasets(first), _datasets(second))
    return first.read_bytes() == second.read_bytes()


def _datasets(path: Path) -> dict[str, np.ndarray]:
    with open_h5(path, "run it again") as file:
        return {name: values[()] for name, values in file.items()}


def _same(first, second) -> bool:
    """Whether nested values are equal to the last bit."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(_same, first, second))
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return bool(np.all(first == second))


def soak(folder: Path, kills: int, seed: int, images: int = 24, epochs: int = 6) -> dict:
    """Run undisturbed, then in passes with kills; return the record.

    Raises `InputError` when a stage cannot be continued or a file differs.
    """
    chance, commands, idle = random.Random(seed), stages(epochs), run(ROOT, "train_gs.py --help")
    draw_sets(folder / "whole", images)
    undisturbed = progress(commands.items(), "undisturbed", "stage")
    took = {name: run(folder / "whole", words) for name, words in undisturbed}
    total, passes, files = Counter(), 0, 0
    while total.total() < kills:
        passes += 1
        parts = folder / f"pass_{passes}"
        draw_sets(parts, images)
        counted = killed_pass(parts, commands, took, idle, chance, kills - total.total())
        files, faults = differences(folder / "whole", parts)
        if faults:
            raise InputError(f"after {dict(counted)}, {parts} is not as it should: {faults[:9]}")
        total += counted
        print(f"pass {passes}: {counted.total()} kills, {files} files equal", flush=True)
    return {"kills": dict(total), "passes": passes, "files": files, "seconds": took, "seed": seed}


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Soak, print, write the record."""
    parser = ArgumentParser(prog="python -m tests.soak.soak", description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="how many processes to kill")
    parser.add_argument("--seed", type=int, default=0, help="of moments and of what is killed")
    parser.add_argument("--folder", type=str, default="soak", help="where to work; must be new")
    record = str(RESULTS / "soak.json")
    parser.add_argument("--output", type=str, default=record, help="record to write")
    arguments = parser.read(argv)
    folder = Path(arguments.folder).resolve()
    if folder.exists():
        raise InputError(f"{folder} exists: name a new folder with --folder, or remove it")
    figures = soak(folder, arguments.kills, arguments.seed)
    write_record(arguments.output, **figures)
    shutil.rmtree(folder)
    print(f"{arguments.kills} kills by stage: {figures['kills']}")
    print("nothing lost: all files equal those of the undisturbed run")


if __name__ == "__main__":
    main()
