"""Stages e and g: how fast photos are splatted, and how fast A is aligned to B."""

from __future__ import annotations

import numpy as np
import torch

import mgot
from bench.bench_splatting import boxes, scene
from bench.gpu.machine import block_photo
from bench.gpu.stages import Context
from GS2D import fitting, rasterize
from GS2D.fused_fit import fit_reference
from GS2D.gsplat_backend import fit as fit_together

WHOLE = 4000  # iterations of a fit, as released
# Patches of ShanghaiTech A and B, and of the largest clusters that the authors released.
PATCHES, CLUSTERS = (4800, 1962), (3582, 577)


def splat(context: Context) -> None:
    """(e) Photos a minute side by side, one at a time as released, and nanoseconds a pair."""
    size = context.pick((500, 1024, 768), (4, 32, 24))
    lines: list[dict] = []

    def measure(how: str, photos: int, iterations: int, fit) -> None:
        seconds = context.seconds(lambda: fit(fitting.Schedule(iterations))) / iterations
        rate = 60 * photos / (seconds * WHOLE)
        line = {"how": how, "photos": photos, "ms_an_iteration": 1e3 * seconds}
        lines.append(line | {"photos_a_minute": rate})
        context.note(heads_width_height=size, splatting=lines)

    for photos in context.pick((1, 8, 32), (1, 2)):
        problems = [fitting._pose(*block_photo(i, *size), 0, True) for i in range(photos)]
        how = f"{photos} side by side"
        measure(
            *(how, photos, context.pick(100, 2)),
            lambda schedule, some=problems: fit_together(some, schedule, context.device, True),
        )
    measure(
        *("one, a wait a step, as released", 1, context.pick(20, 1)),
        lambda schedule: fit_reference(problems[0], schedule, "gsplat", quiet=True),
    )
    context.note(nanoseconds_a_pair={one: _pair(context, one, *size) for one in ("gsplat", "cpu")})


def _pair(context: Context, backend: str, heads: int, width: int, height: int) -> float:
    """Forward and backward of one picture, per pixel and Gaussian whose box holds it."""
    parts = scene(heads, 10.0, width, height, seed=0)
    device = context.device if backend == "gsplat" else torch.device("cpu")
    leaves = [torch.from_numpy(part).to(device).requires_grad_() for part in parts[:4]]
    sides = np.diff(boxes(*parts[:3], width, height).reshape(-1, 2, 2))[..., 0]

    def step() -> None:
        image, _ = rasterize(*leaves, width, height, backend=backend)
        torch.autograd.grad(image.sum(), leaves)

    return 1e9 * context.seconds(step, context.pick(20, 1)) / sides.prod(1).sum()


def align(context: Context) -> None:
    """(g) The SSIM cost of all patches of A and B, and the transport of the largest clusters."""
    random = torch.Generator(context.device).manual_seed(0)
    target, source = (
        # Sparse and positive, as FIDT maps are.
        torch.rand(number, 224, 224, generator=random, device=context.device).pow_(8)
        for number in context.pick(PATCHES, (3, 2))
    )
    pairs = len(target) * len(source)
    for variant in ("global", "official"):
        seconds = context.seconds(
            lambda variant=variant: mgot.ssim_cost(target, source, variant), warm=False
        )
        figures = {"pairs": pairs, "seconds": seconds, "microseconds_a_pair": 1e6 * seconds / pairs}
        context.note(**{f"ssim_{variant}": figures})
    rows, columns = context.pick(CLUSTERS, (3, 2))
    clusters = target[:rows], source[:columns]
    seconds = context.seconds(lambda: mgot.match_patches(*clusters), warm=False)
    context.note(match_patches={"target": rows, "source": columns, "seconds": seconds})
