"""The process that compiles a kernel computes what those compute that find it in the cache."""

import functools
import importlib

import pytest
from numba.core.dispatcher import Dispatcher

from tests.conftest import ROOT, python

PACKAGES = ("GS2D", "crowd", "gst", "mgot")
# Prints a digest of what every compiled kernel makes of the same random numbers.
KERNELS = """
import hashlib
import numpy as np
import torch

torch.set_num_threads(1)
random = np.random.default_rng(0)


def tensor(*shape, low=0.0, high=1.0):
    return torch.from_numpy(random.uniform(low, high, shape).astype(np.float32))


def show(name, *arrays):
    parts = (np.ascontiguousarray(array).tobytes() for array in arrays)
    print(name, hashlib.sha256(b"".join(parts)).hexdigest())


from gst.heads import Heads
from gst.loss import gaussian_transport_loss

for crop in range(8):
    density = tensor(1, 1, 32, 32).requires_grad_()
    count = 40 + 20 * crop
    points, scales = tensor(count, 2, high=256), tensor(count, 2, low=4, high=20)
    heads = Heads(points, scales, tensor(count, high=3), torch.ones(count))
    loss = gaussian_transport_loss([heads], density)
    loss.backward()
    show("loss", loss.detach().numpy(), density.grad.numpy())

from GS2D import rasterize

means, scales = tensor(90, 2, high=200), tensor(90, 2, low=2, high=12)
leaves = [means, scales, tensor(90, high=3), tensor(90, 3)]
for leaf in leaves:
    leaf.requires_grad_()
image, alpha = rasterize(*leaves, 200, 200, backend="cpu")
(image.square().sum() + alpha.sum()).backward()
show("splatting", image.detach().numpy(), alpha.detach().numpy(), *(x.grad.numpy() for x in leaves))

from mgot.clustering import kmeans
from mgot.ssim import ssim_cost

maps = tensor(30, 224, 224).numpy()
show("cost", ssim_cost(maps[:20], maps[20:]), ssim_cost(maps[:9], maps[9:], variant="global"))
found = kmeans(maps, 3, seed=0, restarts=4)
show("k-means", found.labels, found.centers)
"""


@pytest.mark.parametrize("cpu", [None, "generic"], ids=["this CPU", "any CPU"])
def test_the_first_process_computes_what_the_later_ones_do(tmp_path, cpu):
    variables = {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    if cpu is not None:
        variables["NUMBA_CPU_NAME"] = cpu
    first, second = (python(KERNELS, **variables) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert len(set(first.stdout.splitlines())) == 11
    assert first.stdout == second.stdout


def compiled_modules():
    files = (path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))
    compiled = [file for file in files if "\n@njit(" in file.read_text(encoding="utf-8")]
    assert compiled, "no kernels found: where have they gone?"
    names = (".".join(file.relative_to(ROOT).with_suffix("").parts) for file in compiled)
    return [importlib.import_module(name) for name in names]


@pytest.mark.parametrize("module", compiled_modules(), ids=lambda module: module.__name__)
def test_relaxed_arithmetic_is_never_called_by_compiled_code(module):
    """What makes the first process compute what the later ones do, on every CPU.

    A called function is optimised once by itself and once more inside its caller's module. Which of
    the two is run depends on what the process has compiled; with strict arithmetic they agree.
    """

    def called_by(function):
        names = function.py_func.__code__.co_names
        found = (vars(module).get(name) for name in names)
        return [other for other in found if isinstance(other, Dispatcher)]

    def is_inlined(function):
        options = function.targetoptions
        return options.get("forceinline") or options.get("inline") == "always"

    @functools.cache
    def is_relaxed(function):
        return bool(function.targetoptions.get("fastmath")) or any(
            is_inlined(other) and is_relaxed(other) for other in called_by(function)
        )

    functions = [value for value in vars(module).values() if isinstance(value, Dispatcher)]
    assert functions
    for function in functions:
        for other in called_by(function):
            says = f"{other.__name__} is called by {function.__name__}: add forceinline=True"
            assert is_inlined(other) or not is_relaxed(other), says
