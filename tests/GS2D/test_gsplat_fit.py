"""The fit on a GPU, with slow stand-ins for gsplat's functions, which honour the tile lists."""

import errno
import sys
import types

import numpy as np
import pytest
import torch

from bench.gpu import stand_ins
from GS2D import Convergence, fitting, fused_fit, gsplat_backend, gsplat_fit, rasterize
from GS2D.fused_fit import Schedule
from tests.GS2D.test_fit import agree
from tests.GS2D.test_rasterize import SCENES, backend, compare, render_with_gradients, scene

CPU = torch.device("cpu")


@pytest.fixture
def stock(monkeypatch):
    """Replace the stock functions; returns the list of calls to the tile intersection."""
    wrapper = pytest.importorskip("gsplat.cuda._wrapper")
    calls = []

    def isect_tiles(means, *arguments, **packed):
        calls.append(len(means))
        return stand_ins.isect_tiles(means, *arguments, **packed)

    for function in stand_ins.FUNCTIONS:
        monkeypatch.setattr(wrapper, function.__name__, function)
    monkeypatch.setattr(wrapper, "isect_tiles", isect_tiles)
    return calls


def photo(seed, width, height, number):
    """Blocks of colour, and heads some of which are at one place or over the border."""
    random = np.random.default_rng(seed)
    blocks = random.uniform(0, 1, (height // 6 + 1, width // 6 + 1, 3)).astype(np.float32)
    image = np.kron(blocks, np.ones((6, 6, 1), np.float32))[:height, :width]
    points = random.uniform(-2, [width + 2, height + 2], (number, 2)).astype(np.float32)
    points[1:2] = points[:1]
    return image, points


def posed(*photos, background_mask=True):
    problems = [fitting._pose(*one, 0, background_mask) for one in photos]
    for problem in problems:
        # Round Gaussians have no gradient of the angle but rounding.
        problem.raw[:, 0] += 0.6
    return problems


@pytest.fixture
def why_unusable(monkeypatch):
    """Ask on a machine with CUDA, a version of gsplat, and what its kernels are imported from."""

    def ask(version, kernels):
        for name in ("gsplat", "gsplat.cuda", "gsplat.cuda._backend"):
            monkeypatch.setitem(sys.modules, name, kernels)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr("importlib.metadata.version", lambda name: version)
        return gsplat_backend.why_unusable.__wrapped__()

    return ask


def test_versions_without_images_in_their_tile_lists_are_refused(why_unusable):
    compiled = types.SimpleNamespace(_C="compiled")
    for version in ("1.5.3", "1.5.3+pt24cu124", "1.5.10"):
        assert why_unusable(version, compiled) is None
    for version in ("1.4.0", "1.5", "1.5.2", "1.6.0"):
        assert "mgot-gst[gpu]" in why_unusable(version, compiled)
    assert "install nvcc" in why_unusable("1.5.3", types.SimpleNamespace(_C=None))


def test_a_read_only_home_of_gsplat_s_kernels_names_its_variable(why_unusable):
    class ReadOnly(types.ModuleType):
        def __getattr__(self, name):
            raise OSError(errno.EROFS, "Read-only file system", "/root/.cache/torch_extensions")

    reason = why_unusable("1.5.3", ReadOnly("gsplat"))
    assert "set TORCH_EXTENSIONS_DIR to a folder that you may write to" in reason


@pytest.mark.parametrize("photos", [1, 3])
def test_the_stand_ins_make_the_tile_lists_that_gsplat_s_own_readable_ones_make(photos):
    """gsplat's readable functions take as many Gaussians of every photo, and no packed lists; they
    sort equal depths anyhow, which its CUDA functions leave in their order."""
    twins = pytest.importorskip("gsplat.cuda._torch_impl")
    random, number, across, down = np.random.default_rng(photos), 7, 4, 3
    means = torch.tensor(random.uniform(-9, [70, 60], (photos, number, 2)), dtype=torch.float32)
    radii = torch.tensor(random.integers(1, 20, (photos, number, 2)), dtype=torch.int32)
    depths = torch.arange(1.0, photos * number + 1).reshape(photos, number)
    _, expected_ids, expected = twins._isect_tiles(means, radii, depths, 16, across, down)
    owner = torch.arange(photos).repeat_interleave(number)
    whose = {"packed": True, "n_images": photos, "image_ids": owner, "gaussian_ids": owner}
    flat = means.flatten(0, 1), radii.flatten(0, 1), torch.ones(photos * number)
    _, ids, entries = stand_ins.isect_tiles(*flat, 16, across, down, **whose)
    starts = twins._isect_offset_encode(expected_ids, photos, across, down)
    assert torch.equal(stand_ins.isect_offset_encode(ids, photos, across, down), starts)
    assert torch.equal(entries, expected)


@pytest.mark.parametrize(("number", "width", "height", "largest"), SCENES)
def test_pictures_and_gradients_are_the_reference_s(
    stock, monkeypatch, number, width, height, largest
):
    monkeypatch.setattr(gsplat_backend, "DEVICE", CPU)
    monkeypatch.setattr(gsplat_backend, "why_unusable", lambda: None)
    gaussians = scene(number, width, height, seed=number, largest=largest)
    expected = render_with_gradients(backend("reference"), gaussians, width, height, torch.float64)
    got = render_with_gradients(backend("gsplat"), gaussians, width, height, torch.float32)
    compare(got, expected)
    assert len(stock) == (number > 0)


def test_photos_are_drawn_side_by_side_as_alone(stock):
    random = np.random.default_rng(0)
    owner = torch.tensor([0] * 5 + [2] * 7)
    numbers = [random.uniform(-5, 55, (12, 2)), random.uniform(1, 15, (12, 2))]
    numbers += [random.uniform(0, 3, 12), random.uniform(0, 1, (12, 3)), random.uniform(0, 1, 12)]
    parts = [torch.tensor(part, dtype=torch.float32) for part in numbers]
    reach = gsplat_backend.REACH * parts[1].amax(dim=1, keepdim=True).expand(-1, 2)
    tiles = gsplat_backend.tile_lists(parts[0], reach, owner, 3, 50, 37)
    images, alphas = gsplat_backend.draw(*parts, tiles, 50, 37)
    assert images.shape == (3, 37, 50, 3)
    for i in range(3):
        own = [part[owner == i] for part in parts]
        expected = rasterize(*own[:4], 50, 37, own[4], backend="reference")
        torch.testing.assert_close((images[i], alphas[i]), expected, atol=1e-4, rtol=0)
    assert alphas[1].max() == 0 < alphas[0].max()


def test_photos_are_fitted_side_by_side_as_alone(stock):
    problems = posed(photo(0, 47, 33, 6), photo(1, 30, 50, 1), photo(2, 20, 18, 4))
    together = gsplat_fit.fit(problems, Schedule(40), CPU, quiet=True)
    # Once before the first step, and once for the losses at the end: no scale leaves the margin.
    assert stock == [11, 11]
    for got, problem in zip(together, problems, strict=True):
        agree(got, fused_fit.fit_reference(problem, Schedule(40), "reference", quiet=True))
    assert gsplat_fit.fit([], Schedule(40), CPU) == []


def test_tile_lists_are_made_anew_when_a_scale_outgrows_them(stock):
    white, point = np.ones((64, 64, 3), np.float32), np.array([[30.0, 33.0]], np.float32)
    problem = fitting._pose(white, point, 0, False)
    problem.raw[0, 0] += 0.3
    schedule = Schedule(260, lr=0.02)
    (got,) = gsplat_fit.fit([problem], schedule, CPU, quiet=True)
    expected = fused_fit.fit_reference(problem, schedule, "reference", quiet=True)
    assert (got.raw[:, :2] - problem.raw[:, :2]).min() > gsplat_fit.MARGIN
    assert 3 <= len(stock) < 30
    agree(got, expected)


def test_each_photo_stops_when_its_own_loss_is_flat(stock):
    white = np.ones((18, 20, 3), np.float32), np.array([[9.0, 8.0]], np.float32)
    photos = photo(0, 30, 33, 3), photo(4, 24, 24, 2), white
    problems = posed(*photos, background_mask=False)
    schedule = Schedule(40, convergence=Convergence(0.0035, 5))
    together = gsplat_fit.fit(problems, schedule, CPU, quiet=True)
    alone = [fused_fit.fit_reference(one, schedule, "reference", quiet=True) for one in problems]
    assert len({one.iterations for one in alone}) == 3
    for got, expected in zip(together, alone, strict=True):
        agree(got, expected)


def test_no_step_of_adam_is_longer_than_the_bound():
    """The gradients that make the longest step grow by (b2 / b1) an iteration."""
    value = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([value], lr=1.0, eps=0.0)
    longest = 0.0
    for step in range(3000):
        value.grad = torch.full_like(value, (0.999 / 0.9) ** max(step - 2900, -600))
        before = value.item()
        adam.step()
        longest = max(longest, abs(value.item() - before))
    assert 0.9 * gsplat_fit.LONGEST_STEP < longest <= gsplat_fit.LONGEST_STEP


@pytest.mark.cuda
def test_photos_are_fitted_on_a_gpu_as_by_the_reference():
    if (reason := gsplat_backend.why_unusable()) is not None:
        pytest.skip(reason)
    problems = posed(photo(0, 147, 133, 60), photo(1, 130, 150, 1), photo(2, 120, 118, 40))
    together = gsplat_fit.fit(problems, Schedule(60), torch.device("cuda"), quiet=True)
    for got, problem in zip(together, problems, strict=True):
        agree(got, fused_fit.fit_reference(problem, Schedule(60), "reference", quiet=True))
