"""One loss step of GST at a 512 crop: kernel, transport, L1 and the gradient in the density.

    python -m bench loss

Compared with the released formulation (a kernel per image from all pairs of Gaussian and cell, a
matrix product, L1, autograd) and with an entropic transport loss of 100 plain Sinkhorn iterations
between the density and the heads, by products with one kernel of their distances. All four in one
process, in alternation. Its share of a training step is that of VGG-19's forward, loss, backward
and Adam step on one crop.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from bench.measure import bench_parser, ratio, time_in_turn, time_runs, write_record
from crowd.io.errors import command
from gst.heads import Heads
from gst.loss import gaussian_transport_loss, gaussian_transport_loss_reference
from gst.models import build_model

CROP, STRIDE = 512, 8
HEADS = (50, 300, 1000, 3000)
BACKGROUND_RATIO, CUT_OFF, LARGEST = 0.015, 3.0, 20.0
ITERATIONS, REGULARISATION = 100, 10.0


def draw_heads(count: int) -> Heads:
    """Uniform heads whose deviation is a sixth of their mean distance, within 10 %."""
    random = np.random.default_rng(count)
    spacing = CROP / math.sqrt(count)
    scales = spacing / 6 * random.uniform(0.9, 1.1, (count, 2))
    arrays = random.uniform(0, CROP, (count, 2)), scales, random.uniform(0, math.pi, count)
    return Heads(*(torch.tensor(array, dtype=torch.float32) for array in arrays), torch.ones(count))


def cells() -> Tensor:
    """Centres (x, y) of the cells, `[cells, 2]`, pixels."""
    centers = torch.arange(CROP // STRIDE) * STRIDE + STRIDE / 2
    return torch.stack(torch.meshgrid(centers, centers, indexing="xy"), -1).reshape(-1, 2)


def released_loss(heads: Heads, density: Tensor) -> Tensor:
    """The released formulation, pair by pair of Gaussian and cell."""
    with torch.no_grad():
        scales = heads.scales.clamp(STRIDE, LARGEST)
        cosine, sine = heads.rotations.cos(), heads.rotations.sin()
        rotation = torch.stack([cosine, -sine, sine, cosine], -1).reshape(-1, 2, 2)
        covariance = rotation @ torch.diag_embed(scales**2) @ rotation.mT
        d = cells()[None] - heads.points[:, None]
        z = -0.5 * ((d @ torch.linalg.inv(covariance)) * d).sum(-1)
        determinant = torch.linalg.det(covariance)
        largest, nearest = z.max(0)
        background = -(CUT_OFF**2) / 2 - largest
        background = background - torch.log(determinant[nearest] / BACKGROUND_RATIO)
        likelihoods = torch.cat([z - 0.5 * determinant.log()[:, None], background[None]])
        kernel = likelihoods.softmax(0)
    expected = torch.cat([heads.targets, torch.zeros(1)])
    return (expected - kernel @ density.flatten()).abs().sum()


def sinkhorn_loss(heads: Heads, density: Tensor) -> Tensor:
    """Transport cost between density and heads; its gradient is the density's potential."""
    with torch.no_grad():
        distances = torch.cdist(heads.points, cells()) / STRIDE
        kernel = torch.exp(-distances / REGULARISATION)
        a = heads.targets / heads.targets.sum()
        b = density.flatten() / density.sum()
        u, v = torch.ones_like(a), torch.ones_like(b)
        for _ in range(ITERATIONS):
            u = a / (kernel @ v)
            v = b / (kernel.T @ u)
        potential = REGULARISATION * v.log()
    return density.flatten() @ potential


def step(loss_of, heads: Heads, density: Tensor):
    """Return a program: one loss and its gradient in the density."""

    def program() -> Tensor:
        density.grad = None
        loss_of(heads, density).backward()
        return density.grad

    return program


def measure(count: int, repeats: int) -> dict:
    """One line of the record; raises AssertionError when fused and released losses differ."""
    heads = draw_heads(count)
    random = torch.Generator().manual_seed(count)
    side = CROP // STRIDE
    density = torch.rand(1, 1, side, side, generator=random) * count / side**2
    density.requires_grad_()
    losses = {
        "fused": lambda heads, density: gaussian_transport_loss([heads], density),
        "dense": lambda heads, density: gaussian_transport_loss_reference([heads], density),
        "released": released_loss,
        "sinkhorn": sinkhorn_loss,
    }
    with torch.no_grad():
        fused, released = losses["fused"](heads, density), released_loss(heads, density)
        error = float((fused - released).abs() / released)
    assert error < 1e-4, f"the losses differ by {error:.1e} of their value"
    programs = [step(loss_of, heads, density) for loss_of in losses.values()]
    timings = dict(zip(losses, time_in_turn(programs, repeats), strict=True))
    line = {"heads": count, "relative_difference": error}
    line |= {f"{name}_ms": 1e3 * timing.median for name, timing in timings.items()}
    for name in ("released", "sinkhorn"):
        line[f"against_{name}"] = ratio(timings[name], timings["fused"])
    return line


def training_step(repeats: int) -> float:
    """Seconds of one step of VGG-19 on one crop with 300 heads, the loss included."""
    torch.manual_seed(0)
    model, heads = build_model("vgg"), draw_heads(300)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-6)
    image = torch.randn(1, 3, CROP, CROP)

    def program() -> None:
        optimizer.zero_grad(set_to_none=True)
        gaussian_transport_loss([heads], model(image)).backward()
        optimizer.step()

    return time_runs(program, repeats).median


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write the record."""
    parser = bench_parser("loss", __doc__.split("\n", 1)[0], threads=1)
    parser.add_argument("--repeats", type=int, default=15, help="turns of all programs")
    arguments = parser.read(argv)
    torch.set_num_threads(arguments.threads)
    lines = [measure(count, arguments.repeats) for count in HEADS]
    seconds = training_step(3)
    for line in lines:
        line["share_of_training_step"] = line["fused_ms"] / (1e3 * seconds)
        print(
            f"{line['heads']} heads: {line['fused_ms']:.2f} ms, released {line['released_ms']:.0f} "
            f"({line['against_released']:.0f} times), {ITERATIONS} Sinkhorn iterations "
            f"{line['sinkhorn_ms']:.0f} ({line['against_sinkhorn']:.0f} times), "
            f"{line['share_of_training_step']:.2%} of a training step"
        )
    print(f"a step of VGG-19 on one {CROP} crop takes {seconds:.2f} s")
    write_record(arguments.output, lines=lines, vgg_step_seconds=seconds)


if __name__ == "__main__":
    main()
