"""Training: photos a second of GST's two networks, in one process and in two.

    python -m bench training

A step is forward, transport loss, backward and Adam on 512 × 512 crops with 100 heads each. One
process has all threads, or two processes have half of them each and share their gradients by
gloo, as under torchrun; the ratio is what sharing costs (left out where there is a single GPU).
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from bench.measure import bench_parser, write_record
from crowd.io.errors import InputError, command
from crowd.train.devices import choose_precision, pick_device, place
from crowd.train.distributed import (
    is_main_process,
    join,
    leave,
    parallel,
    rank_and_world_size,
    wait_for_all,
)
from crowd.train.loop import train_one_epoch
from crowd.train.runs import ROOT
from gst.dataset import Batch
from gst.engine import batch_losses
from gst.heads import Heads
from gst.models import build_model

MODELS = ("vgg", "vgg_trans")
CROP, HEADS = 512, 100


def batch(seed: int) -> Batch:
    """One crop of noise with heads at random places."""
    random = np.random.default_rng(seed)
    arrays = (
        random.uniform(0, CROP, (HEADS, 2)),
        random.uniform(4, 12, (HEADS, 2)),
        random.uniform(0, np.pi, HEADS),
        np.ones(HEADS),
    )
    heads = Heads(*(torch.from_numpy(array.astype(np.float32)) for array in arrays))
    return Batch(torch.randn(1, 3, CROP, CROP), [heads], ["noise"])


def photos_a_second(name: str, steps: int, device: torch.device) -> float:
    """Measure one process, or all that torchrun started, each with a crop a step."""
    torch.manual_seed(0)
    model = place(build_model(name), device)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-6, fused=True)
    trained, amp = parallel(model), choose_precision(device, "auto") == "bfloat16"
    crops = [batch(seed) for seed in range(steps)]

    def run(batches: list[Batch]) -> None:
        # Its end reads a loss, which waits for the device.
        losses_of = functools.partial(batch_losses, device=device, amp=amp)
        train_one_epoch(trained, batches, losses_of, optimizer, 0)

    run(crops[:2])
    wait_for_all()
    started = time.perf_counter()
    run(crops)
    wait_for_all()
    return steps * rank_and_world_size()[1] / (time.perf_counter() - started)


def in_two(name: str, arguments, device: torch.device) -> float | None:
    """The same in two processes of half the threads each; None where they would share a GPU."""
    if device.type == "cuda" and torch.cuda.device_count() < 2:
        return None
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["-m", "bench.bench_training", "--only", name, "--steps", str(arguments.steps)]
    half = str(max(arguments.threads // 2, 1))
    done = subprocess.run(
        [*words, "--threads", half, "--device", arguments.device],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": half},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise InputError(f"two processes failed: {done.stderr.strip().splitlines()[-1:]}")
    return float(done.stdout.strip().splitlines()[-1])


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write the record."""
    parser = bench_parser("training", __doc__.split("\n", 1)[0])
    parser.add_argument("--steps", type=int, default=6, help="steps that are timed")
    parser.add_argument("--device", type=str, default="auto", help="cpu, or auto")
    parser.add_argument("--only", choices=MODELS, help="print photos a second of one network")
    arguments = parser.read(argv)
    torch.set_num_threads(arguments.threads)
    if arguments.only:
        rate = photos_a_second(arguments.only, arguments.steps, join(arguments.device))
        if is_main_process():
            print(rate, flush=True)
        leave()
        return
    device, lines = pick_device(arguments.device), []
    for name in MODELS:
        alone = photos_a_second(name, arguments.steps, device)
        shared = in_two(name, arguments, device)
        lines.append({"model": name, "photos_per_s": alone, "photos_per_s_in_two": shared})
        two = "two need two GPUs" if shared is None else f"{shared:.3f} in two"
        print(f"{name} on {device}, {CROP} px: {alone:.3f} photos/s in one process, {two}")
    write_record(arguments.output, device=str(device), crop=CROP, heads=HEADS, lines=lines)


if __name__ == "__main__":
    main()
