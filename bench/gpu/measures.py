"""Stages a to f, and h: machine, gsplat's build, tests, parity, and the speed of all GPU code."""

import functools
import importlib.metadata
import itertools
import re
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import gst
import mgot
from bench.bench_splatting import boxes, scene
from bench.gpu.stages import Context
from bench.measure import machine
from crowd.train.devices import mixed_precision, place, to_device
from crowd.train.loop import train_one_epoch
from crowd.train.runs import ROOT
from GS2D import fitting, gsplat_backend, rasterize
from GS2D.fused_fit import fit_reference
from GS2D.gsplat_fit import fit as fit_together
from gst.dataset import Batch
from gst.heads import Heads
from gst.losses import batch_losses

PACKAGES = r"torchvision|timm|numba|numpy|scipy|h5py|gsplat|jsonargparse|triton"
# Heads, standard deviation, width and height of the scenes that the backends are compared on.
SCENES = ((1, 5.0, 64, 48), (60, 8.0, 200, 133), (800, 6.0, 1024, 768), (3000, 4.0, 1024, 768))
PAIRS = 3e6  # of pixel and Gaussian, all of which the reference keeps
# Single precision, and a few pixels at 1/255 or 1e-4 that fall on the other side.
TOLERANCE = 2e-3
NAMES = ("image", "means", "scales", "rotations", "colors")
WHOLE = 4000  # iterations of a fit, as released
# Patches of ShanghaiTech A and B, and of the largest clusters that the authors released.
PATCHES, CLUSTERS = (4800, 1962), (3582, 577)
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


def describe(context: Context) -> None:
    """(a) Machine and versions."""
    installed = importlib.metadata.distributions()
    versions = {
        one.name: one.version for one in installed if re.fullmatch(PACKAGES, one.name or "")
    }
    context.note(environment=machine(), cuda=torch.version.cuda, packages=versions)
    if context.device.type == "cuda":
        context.note(card=str(torch.cuda.get_device_properties(0)))


def build(context: Context) -> None:
    """(b) Build gsplat's kernels, and draw a picture with them."""
    started = time.perf_counter()
    reason = gsplat_backend.why_unusable()
    context.note(build_seconds=time.perf_counter() - started)
    if reason is not None:
        raise RuntimeError(reason)
    image, *_ = _picture_and_gradients(scene(5, 4.0, 40, 30, 0), 40, 30, "gsplat", context.device)
    assert image.max() > 0, "the picture is black"


def test(context: Context) -> None:
    """(c) Run the tests that want a GPU; each counts as soon as its line is printed."""
    # Not all of them: others may need packages that are not here.
    every = sorted((ROOT / "tests").rglob("test_*.py"))
    wanted = [path for path in every if "mark.cuda" in path.read_text("utf-8")]
    paths = context.pick(wanted, [ROOT / "tests/gst/test_kernel.py"])
    words = "-m pytest -m cuda -v -p no:cacheprovider --continue-on-collection-errors"
    names: dict[str, list[str]] = {}
    with subprocess.Popen(
        [sys.executable, *words.split(), *paths, "-o", "addopts=--import-mode=importlib"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            if found := re.match(r"(tests/\S.*?) (PASSED|FAILED|SKIPPED|ERROR)\b", line):
                names.setdefault(found[2].lower(), []).append(found[1])
                context.note(counts={outcome: len(some) for outcome, some in names.items()})
    context.note(failed=names.get("failed", []) + names.get("error", []))
    if process.returncode:
        raise RuntimeError(f"pytest ended with {process.returncode}: see log.txt")


def parity(context: Context) -> None:
    """(d) gsplat's values and gradients beside the CPU's and the reference's, and a fit."""
    differences: dict[str, float] = {}
    for heads, sigma, width, height in context.pick(SCENES, SCENES[:1]):
        parts = scene(heads, sigma, width, height, seed=heads)
        got = _picture_and_gradients(parts, width, height, "gsplat", context.device)
        few = heads * width * height < PAIRS
        for backend in ("reference", "cpu") if few else ("cpu",):
            expected = _picture_and_gradients(parts, width, height, backend, torch.device("cpu"))
            for name, mine, theirs in zip(NAMES, got, expected, strict=True):
                apart = np.linalg.norm(mine - theirs) / max(np.linalg.norm(theirs), 1e-12)
                differences[f"{name} of {heads} heads, {backend}"] = float(apart)
        context.note(rasterising=differences)
    photo = block_photo(0, *context.pick((150, 300, 200), (4, 30, 25)))
    mine, theirs = (
        fitting.fit_side_by_side([photo], fitting.Schedule(50), backend, quiet=True)[0]
        for backend in ("gsplat", "cpu")
    )
    differences["fit"] = abs(mine.render_loss / theirs.render_loss - 1)
    context.note(rasterising=differences)
    name = max(differences, key=differences.get)
    if differences[name] > TOLERANCE:
        raise RuntimeError(f"the backends differ by {differences[name]:.1e} in {name}")


def _picture_and_gradients(parts, width, height, backend, device) -> list[np.ndarray]:
    """A picture, and the gradients of its product with noise."""
    leaves = [torch.from_numpy(part).to(device).requires_grad_() for part in parts[:4]]
    image, _ = rasterize(*leaves, width, height, backend=backend)
    noise = np.random.default_rng(0).uniform(size=(height, width, 3)).astype(np.float32)
    gradients = torch.autograd.grad((image * torch.from_numpy(noise).to(device)).sum(), leaves)
    return [tensor.detach().cpu().double().numpy() for tensor in (image, *gradients)]


def block_photo(seed: int, heads: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo of coloured blocks, uint8 [H, W, 3], and heads anywhere in it, [N, 2]."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    image = np.kron(blocks, np.ones((8, 8, 1), np.uint8))[:height, :width]
    return image, random.uniform(0, [width, height], (heads, 2)).astype(np.float32)


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
        fit = functools.partial(fit_together, problems, device=context.device, quiet=True)
        measure(f"{photos} side by side", photos, context.pick(100, 2), fit)
    fit = functools.partial(fit_reference, problems[0], backend="gsplat", quiet=True)
    measure("one, a wait a step, as released", 1, context.pick(20, 1), fit)
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
        line = {"network": name, "crop": crop, "batch": batch, "precision": precision}
        lines.append(line)
        model = place(package.build_model(name, **options), context.device)
        if precision == PRECISIONS[-1]:
            model = torch.compile(model, backend=context.pick("inductor", "eager"))
        losses_of = batch_losses if package is gst else no_loss
        drawn = synthetic_batch(crop, batch, context.device)
        try:
            line |= _measure(model, losses_of, drawn, precision, context)
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


def synthetic_batch(crop: int, batch: int, device: torch.device) -> Batch:
    """Crops of noise with heads as dense as ShanghaiTech A's, 500 in a photo of 1024 × 768."""
    random = torch.Generator().manual_seed(0)
    heads = -(-500 * crop**2 // (1024 * 768))
    points = crop * torch.rand(batch, heads, 2, generator=random)
    scales = 3 + 6 * torch.rand(batch, heads, 2, generator=random)
    rotations = 3 * torch.rand(batch, heads, generator=random)
    shapes = points, scales, rotations, torch.ones(batch, heads)
    images = to_device(torch.randn(batch, 3, crop, crop, generator=random), device)
    each = [Heads(*one) for one in zip(*shapes, strict=True)]
    return Batch(images, each, ["noise"] * batch, [768.0] * batch)


def align(context: Context) -> None:
    """(h) The SSIM cost of all patches of A and B, and the transport of the largest clusters."""
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
