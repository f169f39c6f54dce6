"""Stage f: a training step of every network, timed, and its launches and synchronisations."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import gst
import mgot
from bench.gpu.crops import DeviceCrops, Drawing, Photo
from bench.gpu.machine import block_photo
from bench.gpu.stages import Context
from crowd.train.devices import mixed_precision, place
from crowd.train.loop import train_one_epoch
from gst.dataset import Batch
from gst.losses import batch_losses

COUNTED = {
    "operators": ("aten::",),
    "launches": ("cudaLaunchKernel", "cuLaunchKernel"),
    "synchronisations": ("cudaStreamSync", "cudaDeviceSync", "cudaEventSync"),
}
# Package, name, options, crop and batch.
NETWORKS = (
    (gst, "light", {}, 256, 8),
    (gst, "vgg", {}, 512, 1),
    (gst, "vgg_trans", {}, 512, 1),
    (mgot, "hrnet_w48", {}, 256, 16),
)
REHEARSED = (
    (gst, "vgg_small", {"width": 0.25}, 64, 2),
    (mgot, "hrnet_small", {"widths": [16, 8]}, 64, 1),
)
PRECISIONS = ("float32", "bfloat16", "bfloat16 compiled")
TO_COMPILE = 45.0  # seconds


def no_loss(model: nn.Module, batch: Batch, device: torch.device, amp: bool) -> dict:
    """What a network's step costs without GST's loss; MGOT's squared error costs no more."""
    with mixed_precision(amp, device):
        return {"mse": model(batch.images).float().square().sum()}


def measure_steps(context: Context) -> None:
    """(f) Milliseconds, photos a second and memory in three precisions; the step's counts."""
    lines: list[dict] = []
    networks = context.pick(NETWORKS, REHEARSED)
    # What takes long comes last.
    for precision, network in itertools.product(PRECISIONS, networks):
        if precision == PRECISIONS[-1] and context.deadline - time.time() < TO_COMPILE:
            break
        package, name, options, crop, batch = network
        crops = synthetic_crops(crop, batch, context)
        data = context.seconds(lambda crops=crops: list(crops)) / len(crops)
        line = {"network": name, "crop": crop, "batch": batch, "precision": precision}
        line["data_ms"] = 1e3 * data
        lines.append(line)
        model = place(package.build_model(name, **options), context.device)
        if precision == PRECISIONS[-1]:
            model = torch.compile(model, backend=context.pick("inductor", "eager"))
        losses_of = batch_losses if package is gst else no_loss
        try:
            line |= _measure(model, losses_of, next(iter(crops)), precision, context)
        except RuntimeError as error:  # the others are of use without it
            line["error"] = str(error)[-300:]
        context.note(steps=lines)
    if failed := [line["network"] for line in lines if "error" in line]:
        raise RuntimeError(f"steps of {', '.join(failed)} failed: see their lines")


def _measure(model, losses_of: Callable, batch: Batch, precision: str, context: Context) -> dict:
    """The step, what of it is the loss's, its memory and counts."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6, fused=True)
    how = {"device": context.device, "amp": precision != PRECISIONS[0]}
    repeats = context.pick(16, 1)

    def steps(losses: Callable, number: int = repeats) -> None:
        train_one_epoch(model, [batch] * number, functools.partial(losses, **how), optimizer, 0)

    line = {"first_seconds": context.seconds(lambda: steps(losses_of, 1), warm=False)}
    if context.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    whole, bare = (context.seconds(lambda one=one: steps(one)) for one in (losses_of, no_loss))
    line |= {"ms": 1e3 * whole / repeats, "loss_ms": 1e3 * (whole - bare) / repeats}
    line |= {"photos_a_second": repeats * len(batch.names) / whole}
    if context.device.type == "cuda":
        line["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    return line | counts(lambda: steps(losses_of, 4), 4)


def counts(program: Callable[[], None], steps: int) -> dict[str, float]:
    """Operators, kernel launches and synchronisations of a step, from torch.profiler.

    One wait of every few steps is the loop's own: there it reads the losses.
    """
    cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    with profile(activities=[ProfilerActivity.CPU, *cuda]) as profiled:
        program()
    numbers = {event.key: event.count for event in profiled.key_averages()}
    return {
        name: sum(number for key, number in numbers.items() if key.startswith(starts)) / steps
        for name, starts in COUNTED.items()
    }


def synthetic_crops(crop: int, batch: int, context: Context) -> DeviceCrops:
    """Crops of blocks with heads as dense as ShanghaiTech A's, 500 in a photo of 1024 × 768."""
    random = np.random.default_rng(0)
    heads, *size = context.pick((500, 1024, 768), (5, crop + 32, crop))
    photos = []
    for number in range(max(batch, 4)):
        image, points = block_photo(number, heads, *size)
        scales, rotations = random.uniform(3, 9, (heads, 2)), random.uniform(0, 3, (heads, 1))
        columns = points, scales, rotations, random.uniform(8, 40, (heads, 1))
        photos.append(Photo(f"blocks{number}", image, np.concatenate(columns, 1, dtype=np.float32)))
    return DeviceCrops(photos, Drawing(crop, (0.75, 1.25)), batch, context.device)
