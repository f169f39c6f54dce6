"""Stages a to d: the machine, gsplat's build, the tests that want a GPU, parity of the backends."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import time

import numpy as np
import torch

from bench.bench_splatting import scene
from bench.gpu.stages import Context
from bench.measure import machine
from crowd.train.runs import ROOT
from GS2D import gsplat_backend, rasterize
from GS2D.fitting import Schedule, fit_side_by_side

PACKAGES = r"torchvision|timm|numba|numpy|scipy|h5py|gsplat|jsonargparse|triton"
# Heads, standard deviation, width and height of the scenes that the backends are compared on.
SCENES = ((1, 5.0, 64, 48), (60, 8.0, 200, 133), (800, 6.0, 1024, 768), (3000, 4.0, 1024, 768))
PAIRS = 3e6  # of pixel and Gaussian, all of which the reference keeps
# Single precision, and a few pixels at 1/255 or 1e-4 that fall on the other side.
TOLERANCE = 2e-3


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
    paths = context.pick("tests", "tests/gst/test_kernel.py")
    words = f"-m pytest -m cuda -v -p no:cacheprovider --continue-on-collection-errors {paths}"
    names: dict[str, list[str]] = {}
    with subprocess.Popen(
        [sys.executable, *words.split(), "-o", "addopts=--import-mode=importlib"],
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
    photo, schedule = block_photo(0, *context.pick((150, 300, 200), (4, 30, 25))), Schedule(50)
    mine, theirs = (
        fit_side_by_side([photo], schedule, backend, quiet=True)[0] for backend in ("gsplat", "cpu")
    )
    differences["fit"] = abs(mine.render_loss / theirs.render_loss - 1)
    context.note(rasterising=differences)
    name = max(differences, key=differences.get)
    if differences[name] > TOLERANCE:
        raise RuntimeError(f"the backends differ by {differences[name]:.1e} in {name}")


NAMES = ("image", "means", "scales", "rotations", "colors")


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
