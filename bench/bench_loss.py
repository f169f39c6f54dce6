"""One loss step, forward and backward in the density: GST against optimal transport and others.

    python -m bench loss

Crops of 512 pixels with 50 to 3000 heads; the losses take turns, the median is told. Memory is what
a step adds to the process at its peak. The share is that of the loss in a whole training step with
one crop: forward, loss, backward, Adam. DM-Count is measured as trained here, and with the plain
single-precision iterations of its release, which are the cheapest but lose the mass that is more
than 32 pixels from every head; GST as trained here, by whole kernels as the paper writes it, and
pair by pair of Gaussian and cell as its release does.
"""

import ctypes
import gc
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from bench.measure import benchmark, ratio, time_in_turn
from crowd.io.progress import progress
from crowd.sinkhorn import Scaling
from gst import build_model, losses
from gst.heads import Heads
from gst.loss import gaussian_transport_loss, gaussian_transport_loss_reference
from gst.losses import gaussian_density
from gst.options import COMPARED

CROP, STRIDE = 512, 8
HEADS = (50, 300, 1000, 3000)
BACKGROUND_RATIO, CUT_OFF, LARGEST = 0.015, 3.0, 20.0
REPEATS, REPEATS_OF_MODELS = 3, 2
MODELS = ("vgg_small", "vgg")


def plain_scale(
    cost: Tensor, rows: Tensor, columns: Tensor, reg: float, steps: Iterable[int]
) -> Scaling:
    """Sinkhorn's iterations outside the log domain, as DM-Count's release has them."""
    kernel = torch.exp(cost / -reg)
    u = torch.full_like(rows, 1 / len(rows))
    for step in steps:
        v = columns / (u @ kernel + 1e-16)
        u, done = rows / (kernel @ v + 1e-16), step + 1
    f, g = (u + 1e-16).log(), (v + 1e-16).log()
    return Scaling(f, g, torch.exp(f[:, None] + g - cost / reg), float("nan"), done)


def plain_dm_count(heads: list[Heads], density: Tensor) -> dict[str, Tensor]:
    """`dm_count_losses` with `plain_scale`."""
    careful, losses.scale = losses.scale, plain_scale
    try:
        return losses.dm_count_losses(heads, density)
    finally:
        losses.scale = careful


def released_loss(heads: Heads, density: Tensor) -> Tensor:
    """GST's loss as released: matrices of every pair of Gaussian and cell."""
    centers = torch.arange(CROP // STRIDE) * STRIDE + STRIDE / 2
    cells = torch.stack(torch.meshgrid(centers, centers, indexing="xy"), -1).reshape(-1, 2)
    with torch.no_grad():
        scales = heads.scales.clamp(STRIDE, LARGEST)
        cosine, sine = heads.rotations.cos(), heads.rotations.sin()
        rotation = torch.stack([cosine, -sine, sine, cosine], -1).reshape(-1, 2, 2)
        covariance = rotation @ torch.diag_embed(scales**2) @ rotation.mT
        d = cells[None] - heads.points[:, None]
        z = -0.5 * ((d @ torch.linalg.inv(covariance)) * d).sum(-1)
        determinant = torch.linalg.det(covariance)
        largest, nearest = z.max(0)
        background = -(CUT_OFF**2) / 2 - largest
        background = background - torch.log(determinant[nearest] / BACKGROUND_RATIO)
        likelihoods = torch.cat([z - 0.5 * determinant.log()[:, None], background[None]])
        kernel = likelihoods.softmax(0)
    expected = torch.cat([heads.targets, torch.zeros(1)])
    return (expected - kernel @ density.flatten()).abs().sum()


LOSSES = {
    "GST": lambda heads, density: {"transport": gaussian_transport_loss(heads, density)},
    "GST, whole kernels": lambda heads, density: {
        "transport": gaussian_transport_loss_reference(heads, density)
    },
    "GST, as released": lambda heads, density: {"transport": released_loss(heads[0], density)},
    "Gaussian": COMPARED["gaussian"],
    "Bayesian": COMPARED["bayesian"],
    "DM-Count": COMPARED["dm_count"],
    "DM-Count, plain": plain_dm_count,
}


def crop_of(count: int) -> tuple[list[Heads], Tensor]:
    """Heads at random and a density that half knows where they are, [1, 1, 64, 64]."""
    random = torch.Generator().manual_seed(0)
    points = CROP * torch.rand(count, 2, generator=random)
    scales = 4 + 6 * torch.rand(count, 2, generator=random)
    angles = torch.pi * torch.rand(count, generator=random)
    shape = (CROP // STRIDE, CROP // STRIDE)
    guessed = points + 8 * torch.randn(count, 2, generator=random)
    noise = torch.rand(shape, generator=random)
    density = gaussian_density(guessed, torch.full((count,), 0.5), shape)
    density += noise * (0.5 * count / noise.sum())
    return [Heads(points, scales, angles, torch.ones(count))], density[None, None]


def step(loss: Callable, heads: list[Heads], density: Tensor) -> Callable[[], Tensor]:
    """A program that gives the gradient of a loss in the density."""

    def run() -> Tensor:
        variable = density.clone().requires_grad_()
        total = sum(loss(heads, variable).values())
        return torch.autograd.grad(total, variable)[0]

    return run


def model_step(name: str) -> Callable[[], None]:
    """A training step of one crop whose loss costs next to nothing."""
    torch.manual_seed(0)
    model = build_model(name).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-6)
    photo = torch.rand(1, 3, CROP, CROP)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(photo).sum().backward()
        optimizer.step()

    return run


def added_memory(program: Callable[[], object]) -> float | None:
    """Megabytes that a run adds to the process's resident memory at its peak (Linux alone)."""
    if not sys.platform.startswith("linux"):
        return None
    gc.collect()
    # What was freed goes back to the system, or a run could hide in it.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    program()
    return (_status("VmHWM") - before) / 1e6


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def measure(count: int, models: dict[str, float]) -> list[dict]:
    """Lines of the record with so many heads, a loss each; `models`: seconds of their steps."""
    heads, density = crop_of(count)
    programs = [step(loss, heads, density) for loss in LOSSES.values()]
    timings = time_in_turn(programs, REPEATS)
    return [
        {
            "loss": name,
            "heads": count,
            "seconds": median(times),
            "times_of_gst": ratio(times, timings[0]),
            "peak_megabytes": added_memory(program),
            "share": {
                model: median(times) / (median(times) + seconds)
                for model, seconds in models.items()
            },
        }
        for name, times, program in zip(LOSSES, timings, programs, strict=True)
    ]


def measure_all() -> dict:
    """Figures for the record."""
    models = {
        name: median(time_in_turn([model_step(name)], REPEATS_OF_MODELS)[0]) for name in MODELS
    }
    lines = [line for count in progress(HEADS, "heads") for line in measure(count, models)]
    return {"crop": CROP, "model_seconds": models, "lines": lines}


main = benchmark("loss", __doc__, measure_all, threads=1)

if __name__ == "__main__":
    main()
