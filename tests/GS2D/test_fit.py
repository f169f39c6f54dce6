import dataclasses

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from GS2D import Convergence, Gaussians, fit_gaussians, fused_fit, rasterize
from GS2D.fitting import fitted_pixels, initial_parameters, neighbour_distances
from GS2D.fused_fit import Flatness, Problem, Schedule, activate, shape_loss


def heads(columns, rows, seed, gap, jitter=2.0):
    """Points on a jittered grid, [columns rows, 2], in an image of gap pixels a cell."""
    random = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    points = (grid + 0.5) * gap + random.uniform(-jitter, jitter, (len(grid), 2))
    return points.astype(np.float32), int(columns * gap), int(rows * gap)


def axes(scales, rotations):
    """Long and short axis [N, 2], and the long one's angle modulo pi [N]."""
    long = scales.argmax(axis=1)
    angle = np.where(long == 0, rotations, rotations + np.pi / 2) % np.pi
    return -np.sort(-scales, axis=1), angle


def picture_of(points, width, height, seed, smallest=3.5, largest=5.5):
    random = np.random.default_rng(seed)
    short = random.uniform(smallest, largest, len(points))
    # A raw ratio below 1.4 costs nothing: scale = raw + 1.
    long = (short - 1.0) * random.uniform(1.25, 1.38, len(points)) + 1.0
    rotations = random.uniform(0, np.pi, len(points))
    colors = random.uniform(0.3, 0.9, (len(points), 3))
    scales = np.stack([long, short], axis=1)
    image, _ = rasterize(points, scales, rotations, colors, width, height)
    return image, scales, rotations


@pytest.mark.parametrize("background_mask", [False, True])
def test_fit_recovers_what_a_picture_was_rendered_from(background_mask):
    points, width, height = heads(4, 3, seed=0, gap=52.0)
    # The mask's Gaussians are at most 0.015 times the long side wide: a long black strip.
    width = 700
    image, scales, rotations = picture_of(points, width, height, seed=1)
    assert (neighbour_distances(points) / 6 >= scales.max()).all()
    fitted = fit_gaussians(image, points, 1200, backend="cpu", background_mask=background_mask)
    true_axes, true_angle = axes(scales, rotations)
    axes_found, angle = axes(fitted.scales, fitted.rotations)
    assert np.median(np.abs(axes_found / true_axes - 1)) < 0.05
    turn = np.abs((angle - true_angle + np.pi / 2) % np.pi - np.pi / 2)
    assert np.median(turn) < 0.05 * np.pi
    assert fitted.render_loss < 0.02
    assert fitted.shape_loss == 0
    np.testing.assert_array_equal(fitted.means, points)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("background_mask", [False, True])
def test_fused_fit_agrees_with_its_readable_twin(dtype, background_mask):
    random = np.random.default_rng(4)
    points = random.uniform(-3, 63, (9, 2)).astype(np.float32)
    blocks = random.uniform(0, 255, (12, 12, 3)).astype(np.uint8)
    image = np.kron(blocks, np.ones((5, 5, 1), np.uint8))
    image = image if dtype == np.uint8 else image.astype(np.float32) / 255
    distances = neighbour_distances(points)
    start = initial_parameters(image, points, distances, seed=0)
    # While a Gaussian is round, its angle has no gradient but rounding, of which Adam makes whole
    # steps; one of them is thin enough for the shape loss.
    start[:, 0] += random.uniform(0.2, 0.9, 9).astype(np.float32)
    start[3, 1] = 1.2
    fitted = np.ones((60, 60), bool)
    if background_mask:
        fitted = fitted_pixels(points, distances, 60, 60)
    problem = Problem(start, points, image * fitted[..., None], int(fitted.sum()))
    fast = fused_fit.fit(problem, Schedule(50))
    slow = fused_fit.fit_reference(problem, Schedule(50), "reference")
    agree(fast, slow)
    assert np.abs(slow.raw - start).max() > 0.3


def agree(fast, slow):
    assert fast.iterations == slow.iterations
    assert fast.render_loss == pytest.approx(slow.render_loss, rel=1e-4)
    assert fast.shape_loss == pytest.approx(slow.shape_loss, rel=1e-4, abs=1e-6)
    assert np.median(np.abs(fast.raw - slow.raw)) < 1e-4
    assert np.abs(fast.raw - slow.raw).max() < 1e-2


def test_one_step_follows_the_loss_as_written():
    """Adam's first step is lr times the gradient's sign: compare with autograd on the formula."""
    random = np.random.default_rng(8)
    points = random.uniform(5, 45, (6, 2)).astype(np.float32)
    image = random.uniform(0, 1, (50, 50, 3)).astype(np.float32)
    start = random.normal(0, 1, (6, 6)).astype(np.float32)
    start[:, :2] = [[2, 3.5], [4, 2.2], [1, 3.2], [-0.5, 2], [-1, -3], [2.5, 2]]
    raw = torch.tensor(start, requires_grad=True)
    render, _ = rasterize(points, *activate(raw), 50, 50, backend="reference")
    ratios = [s0 / s1 if s0 / s1 > s1 / s0 else s1 / s0 for s0, s1 in raw[:, :2]]
    shape = torch.relu(torch.stack(ratios).max() - 1.5)
    assert shape.item() == pytest.approx(1.7, rel=1e-5)
    mean = (render - torch.tensor(image)).abs().mean() * (2500 / 2000)
    gradient = torch.autograd.grad(mean + 0.2 * shape, raw)[0].numpy()
    stepped = fused_fit.fit(Problem(start, points, image, 2000), Schedule(1)).raw
    clear = np.abs(gradient) > 1e-5
    assert clear.sum() > 20
    moved = (stepped - start)[clear]
    np.testing.assert_allclose(moved, -0.01 * np.sign(gradient[clear]), rtol=0.02)


def test_shape_loss_stays_finite_where_a_raw_scale_is_zero_and_opposite_signs_cost_nothing():
    assert shape_loss(torch.tensor([[-1.0, 5.0]])).item() == 0.0
    for scales in ([[0.0, 2.0]], [[-0.0, 2.0]], [[1e-7, 3.0], [2.0, 2.0]], [[0.0, 0.0]]):
        start = np.zeros((len(scales), 6), np.float32)
        start[:, :2] = scales
        assert torch.isfinite(shape_loss(torch.from_numpy(start)))
        points, black = np.full((len(scales), 2), 4.0, np.float32), np.zeros((8, 8, 3), np.float32)
        problem = Problem(start, points, black, 64)
        assert np.isfinite(fused_fit.fit(problem, Schedule(3)).raw).all()
        assert np.isfinite(fused_fit.fit_reference(problem, Schedule(3), "cpu").raw).all()


@pytest.mark.parametrize("number", [0, 1, 2, 3, 7])
@pytest.mark.parametrize("background_mask", [False, True])
def test_few_heads_at_one_place_or_outside_are_fitted(number, background_mask):
    image = np.full((40, 60, 3), 90, np.uint8)
    points = [[0, 0], [60, 40], [30.5, 20.5], [-4, 10], [15, 43], [30.5, 20.5], [500, 500]]
    points = np.reshape(points[:number], (-1, 2))
    fitted = fit_gaussians(image, points, 20, background_mask=background_mask)
    assert isinstance(fitted, Gaussians)
    assert fitted.as_params().shape == (number, 8)
    for field in dataclasses.fields(fitted):
        value = getattr(fitted, field.name)
        assert np.isfinite(value).all()
        if isinstance(value, np.ndarray):
            assert value.dtype == np.float32
            assert len(value) == number


def test_start_is_the_pixel_under_the_centre_and_the_distance_of_the_neighbours():
    image = np.zeros((20, 50, 3), np.uint8)
    image[3, 41] = [255, 51, 0]
    points = np.array([[41.7, 3.2], [10, 10], [20, 10], [49.9, 19.9]], np.float32)
    raw = initial_parameters(image, points, neighbour_distances(points), seed=0)
    scales, rotations, colors = activate(torch.from_numpy(raw))
    np.testing.assert_allclose(colors[0], [0.999, 0.2, 0.001], atol=1e-6)
    distances = np.sqrt((np.sort(cdist(points, points), axis=1)[:, 1:4] ** 2).mean(axis=1))
    expected = np.maximum(np.log(distances), 2) + 1
    np.testing.assert_allclose(scales, np.stack([expected, expected], axis=1), rtol=1e-5)
    assert (expected > 3.01).any()
    assert ((rotations > 0) & (rotations < np.pi)).all()
    many, ones = np.repeat(points[1:2], 4000, axis=0), np.ones(4000)
    raws = [initial_parameters(image, many, ones, seed) for seed in (1, 1, 2)]
    np.testing.assert_array_equal(raws[0], raws[1])
    assert (raws[0][:, 2] != raws[2][:, 2]).all()
    angles = activate(torch.from_numpy(raws[0]))[1]
    shares = np.histogram(angles, bins=10, range=(0, np.pi))[0] / 4000
    assert np.abs(shares - 0.1).max() < 0.025


@pytest.mark.parametrize(
    ("gap", "side", "scale"), [(300, 400, 6), (24, 400, 4), (6, 400, 2), (6, 80, 1.2)]
)
def test_background_mask_reaches_as_far_as_one_part_in_255(gap, side, scale):
    """Its scale is a sixth of the distance, not below 2 nor above 0.015 times the long side."""
    points = np.array([[60.0, 50.0], [60.0, 50.0 + gap]])
    distances = neighbour_distances(points)
    np.testing.assert_allclose(distances, gap)
    fitted = fitted_pixels(points, distances, side, side)
    centres = np.stack(np.meshgrid(np.arange(side) + 0.5, np.arange(side) + 0.5), axis=-1)
    distance = np.linalg.norm(centres[:, :, None] - points, axis=-1).min(axis=-1)
    np.testing.assert_array_equal(fitted, distance <= scale * np.sqrt(2 * np.log(255)))
    assert neighbour_distances(points[:1]) == pytest.approx([8.0])


def test_a_copied_pixel_costs_what_leaks_into_it():
    """A white photo: the mask ends at 2 px, a wider Gaussian pays beyond it, so it shrinks."""
    image, point = np.full((80, 80, 3), 255, np.uint8), np.array([[40.0, 40.0]])
    masked = fit_gaussians(image, point, 800, background_mask=True)
    free = fit_gaussians(image, point, 800, background_mask=False)
    assert masked.scales.max() < 4 < free.scales.min()
    nothing = fit_gaussians(image, [[500.0, 500.0]], 3, background_mask=True)
    assert nothing.render_loss == 0  # all of the photo is copied


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_losses_are_those_of_the_returned_gaussians(backend):
    random = np.random.default_rng(2)
    image = random.uniform(0, 1, (50, 70, 3)).astype(np.float32)
    points = random.uniform(10, 40, (5, 2))
    fitted = fit_gaussians(image, points, 30, backend=backend)
    copied = ~fitted_pixels(points, neighbour_distances(points), 50, 70)
    render, _ = rasterize(*dataclasses.astuple(fitted)[:4], 70, 50, backend="reference")
    output = render + image * copied[..., None]
    loss = np.abs(output - image).mean() * (50 * 70 / (~copied).sum())
    assert 0 < copied.sum() < 50 * 70
    assert fitted.render_loss == pytest.approx(loss, rel=1e-4)
    raw = fitted.scales - 1
    shape = max((raw.max(1) / raw.min(1) - 1.5).max(), 0)
    assert fitted.shape_loss == pytest.approx(shape, abs=1e-4)


def test_wrong_input_is_refused():
    image, points = np.zeros((8, 8, 3), np.float32), np.zeros((1, 2))
    for wrong, match in (
        ((image[..., 0], points), "RGB"),
        ((image, points[:, :1]), "points"),
        ((image, points * np.nan), "finite"),
        ((image + 2, points), "uint8"),
        ((image * np.nan, points), "uint8"),
    ):
        with pytest.raises(ValueError, match=match):
            fit_gaussians(*wrong, 1)


def test_loss_is_flat_when_two_windows_in_a_row_differ_little():
    flatness = Flatness(Convergence(threshold=0.1, window=2))
    losses = [9.0, 7.0, 4.0, 6.0, 2.0, 4.0, 2.8, 2.8, 0.1, 0.1]
    reached = [bool(flatness.reached(loss, loss)) for loss in losses]
    # Means 8, 5, 3, 2.8, 0.1: only 3 -> 2.8 is below a tenth.
    assert reached == [False] * 7 + [True] + [False] * 2
    rising = Flatness(Convergence(threshold=0.1, window=1))
    assert [bool(rising.reached(loss, loss)) for loss in (1.0, 2.0, 2.1)] == [False, False, True]
    # The render has settled, the whole loss has not; then the other way round.
    for pairs in (((1, 5), (1, 4), (1, 4)), ((3, 5), (2, 5), (2, 5))):
        both = Flatness(Convergence(threshold=0.1, window=1))
        assert [bool(both.reached(*pair)) for pair in pairs] == [False, False, True]
    several = Flatness(Convergence(threshold=0.1, window=1))
    first, second = torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.99])
    assert several.reached(first, first) is False
    np.testing.assert_array_equal(several.reached(second, second), [False, True])
    assert not any(Flatness(None).reached(1.0, 1.0) for _ in range(9))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_fit_stops_when_its_loss_is_flat(backend):
    points, width, height = heads(2, 2, seed=3, gap=26.0)
    image, _, _ = picture_of(points, width, height, seed=4)
    flat = {"backend": backend, "convergence": Convergence(0.1, 40)}
    stopped = fit_gaussians(image, points, 1000, **flat)
    assert 80 <= stopped.iterations < 1000
    assert stopped.iterations % 40 == 0
    same = fit_gaussians(image, points, stopped.iterations, backend=backend)
    np.testing.assert_array_equal(stopped.as_params(), same.as_params())
    assert same.iterations == stopped.iterations
    assert fit_gaussians(image, points, 90, **flat).iterations == 90
    assert fit_gaussians(image, points[:0], 90, **flat).iterations == 0


def test_converged_fit_finds_what_the_long_one_finds():
    points, width, height = heads(4, 3, seed=0, gap=40.0)
    image, _, _ = picture_of(points, width, height, seed=1)
    image = np.clip(image + np.random.default_rng(2).normal(0, 0.15, image.shape), 0, 1)
    long = fit_gaussians(image, points, 3000)
    short = fit_gaussians(image, points, 3000, convergence=Convergence())
    assert 400 <= short.iterations < 2500
    assert short.render_loss == pytest.approx(long.render_loss, rel=0.01)
    assert np.median(np.abs(short.scales / long.scales - 1)) < 0.02


def test_a_fit_goes_on_while_only_its_shape_loss_falls():
    """A black photo, a thin black Gaussian: the render is perfect from the start."""
    start = np.tile(np.float32([6, 1.5, 0, -20, -20, -20]), (2, 1))
    points, black = np.array([[20, 20], [30, 30]], np.float32), np.zeros((50, 50, 3), np.float32)
    problem = Problem(start, points, black, 2500)
    schedule = Schedule(400, convergence=Convergence(0.01, 20))
    fast = fused_fit.fit(problem, schedule)
    agree(fast, fused_fit.fit_reference(problem, schedule, "reference"))
    assert 60 < fast.iterations < 400
    assert fast.shape_loss < 0.1 < shape_loss(torch.from_numpy(start)).item()
