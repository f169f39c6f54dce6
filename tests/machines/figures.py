"""Published figures from seeded inputs, to be compared between machines.

    python -m tests.machines.figures FILE.npz

Each name begins with its kind: costs, weights, losses, fits, maps or choices.
"""

import sys

import numpy as np
import torch
from torch import Tensor

from bench.measure import random_maps
from GS2D import fit_gaussians
from gst import build_model, transport_kernel, transport_loss
from gst.heads import Heads
from gst.loss import gaussian_transport_loss
from gst.losses import bayesian_losses, dm_count_losses
from mgot.alignment import match_clusters_by_cost, match_patches_by_cost
from mgot.clustering import kmeans
from mgot.losses import fidt_loss
from mgot.maps import fidt_map
from mgot.models import build_model as build_fidt_model
from mgot.options import VARIANTS
from mgot.ssim import ssim_cost

SIDE = 32  # cells of a crop of 256 px
ITERATIONS = 300


def figures() -> dict[str, np.ndarray]:
    return {**alignment(), **transport_losses(), **training_steps(), **fits()}


def alignment() -> dict[str, np.ndarray]:
    """Costs of patches of four kinds, some of them the same, their clusters and matches."""
    random = np.random.default_rng(0)
    # Rounded, because maps differ in their last bits between machines themselves.
    target, source = (
        np.rint(random_maps(random.integers(0, 4, count), seed) * 2**12) / np.float32(2**12)
        for seed, count in enumerate((60, 50))
    )
    source[40:] = source[:10]
    clusters = kmeans(np.concatenate([target, source]), 4, seed=0)
    found = {
        "maps: heads": fidt_map(random.uniform(0, 500, (80, 2)), 480, 500),
        "fits: inertia": np.float64(clusters.inertia),
        "fits: centres": clusters.centers,
        "choices: clusters": clusters.labels,
    }
    for variant in VARIANTS:
        cost = ssim_cost(target, source, variant)
        matching = match_patches_by_cost(cost, mass=0.6)
        found |= {
            f"costs: {variant}": cost,
            f"costs: {variant}, with equals": ssim_cost(target, target.copy(), variant),
            f"weights: {variant}": matching.weight,
            f"weights: plan, {variant}": matching.transport.plan,
            f"choices: patches, {variant}": matching.index,
            f"choices: matched clusters, {variant}": match_clusters_by_cost(cost[:4, :4]).index,
        }
    return found


def with_gradient(name: str, loss: Tensor, *leaves: Tensor) -> dict[str, np.ndarray]:
    """The loss and its gradient in all leaves together."""
    slopes = torch.autograd.grad(loss, leaves)
    return {
        f"losses: {name}": loss.detach().numpy(),
        f"losses: gradient, {name}": torch.cat([slope.flatten() for slope in slopes]).numpy(),
    }


def random_heads(random: np.random.Generator, count: int, side: float) -> Heads:
    """Gaussians `[count]` in a square of `side` pixels."""
    parts = [(0, side, (count, 2)), (4, 20, (count, 2)), (0, 3, count)]
    tensors = [torch.from_numpy(random.uniform(*part).astype(np.float32)) for part in parts]
    return Heads(*tensors, torch.ones(count))


def transport_losses() -> dict[str, np.ndarray]:
    """GST's loss both ways, and the losses that it is compared with."""
    random = np.random.default_rng(1)
    heads = [random_heads(random, count, 8 * SIDE) for count in (9, 60, 240)]
    density = torch.from_numpy(random.uniform(0, 0.4, (3, 1, SIDE, SIDE)).astype(np.float32))
    density.requires_grad_()
    kernels = [transport_kernel(*one[:3], 8 * SIDE) for one in heads]
    losses = {
        "GST": gaussian_transport_loss(heads, density),
        "GST, whole kernels": transport_loss(kernels, [one.targets for one in heads], density),
        "Bayesian": bayesian_losses(heads, density)["bayesian"],
        "DM-Count": sum(dm_count_losses(heads, density).values()),
    }
    found = {"weights: kernel": torch.cat(kernels).numpy()}
    for name, loss in losses.items():
        found |= with_gradient(name, loss, density)
    return found


def training_steps() -> dict[str, np.ndarray]:
    """What counters of both papers see, and the slopes of their losses in all parameters."""
    random = np.random.default_rng(2)
    photos = torch.from_numpy(random.normal(0, 1, (2, 3, 128, 128)).astype(np.float32))
    heads = [random_heads(random, count, 128.0) for count in (5, 30)]
    torch.manual_seed(0)
    model = build_model("vgg_small")
    density = model(photos)
    found = {"maps: density": density.detach().numpy()}
    loss = gaussian_transport_loss(heads, density)
    found |= with_gradient("step, GST", loss, *model.parameters())
    model = build_fidt_model("hrnet_small")
    prediction, points = model(photos), [one.points for one in heads]
    wanted = np.stack([fidt_map(one, 128, 128) for one in points])[:, None]
    losses = fidt_loss(prediction, torch.from_numpy(wanted), points, ssim_weight=1.0)
    found["maps: FIDT"] = prediction.detach().numpy()
    return found | with_gradient("step, FIDT", sum(losses.values()), *model.parameters())


def fits() -> dict[str, np.ndarray]:
    """Gaussians fitted to a photo that is drawn from others."""
    random = np.random.default_rng(3)
    rows, columns = np.mgrid[:120, :160] / 30
    image = 0.5 + 0.5 * np.stack([np.sin(rows), np.sin(columns), np.sin(rows * columns)], 2)
    points = random.uniform(0, (160, 120), (40, 2)).astype(np.float32)
    fitted = fit_gaussians(image.astype(np.float32), points, ITERATIONS, backend="cpu")
    losses = np.array([fitted.render_loss, fitted.shape_loss])
    return {"fits: Gaussians": fitted.as_params(), "fits: losses": losses}


if __name__ == "__main__":
    np.savez(sys.argv[1], **figures())
