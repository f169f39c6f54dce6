import math

import numpy as np
import pytest
import torch

from GS2D import rasterize


def dense(means, scales, rotations, colors, opacities, width, height):
    """Every Gaussian on every pixel, one after the other, as the docstring of `rasterize` says."""
    centres = [torch.arange(side, dtype=means.dtype) + 0.5 for side in (height, width)]
    y, x = torch.meshgrid(*centres, indexing="ij")
    image, transmittance = torch.zeros(height, width, 3, dtype=means.dtype), torch.ones_like(x)
    finished = torch.zeros_like(x, dtype=torch.bool)
    for i in range(len(means)):
        dx, dy = x - means[i, 0], y - means[i, 1]
        cosine, sine = torch.cos(rotations[i]), torch.sin(rotations[i])
        along, across = cosine * dx + sine * dy, cosine * dy - sine * dx
        sigma = 0.5 * ((along / scales[i, 0]) ** 2 + (across / scales[i, 1]) ** 2)
        raw = opacities[i] * torch.exp(-sigma)
        alpha = torch.where(raw > 0.999, 0.999, raw)
        drawn = (alpha >= 1 / 255) & ~finished
        after = transmittance * (1 - alpha)
        finished = finished | (drawn & (after <= 1e-4))
        drawn = drawn & ~finished
        weight = torch.where(drawn, alpha * transmittance, 0.0)
        image = image + weight[..., None] * colors[i]
        transmittance = torch.where(drawn, after, transmittance)
    return image, 1 - transmittance


def scene(number, width, height, seed, smallest=1.0, largest=60.0):
    """Random Gaussians, a tenth of them across the border, two at one place, two opaque stacks."""
    random = np.random.default_rng(seed)
    means = random.uniform(-0.1, 1.1, (number, 2)) * [width, height]
    scales = np.exp(random.uniform(np.log(smallest), np.log(largest), (number, 2)))
    rotations, colors = random.uniform(-7, 7, number), random.uniform(0, 1, (number, 3))
    opacities = random.uniform(0, 1, number)
    if number > 8:
        means[1] = means[0]
        means[2:6], scales[2:6], opacities[2:6] = means[2], 8.0, 1.0
    parts = means, scales, rotations, colors, opacities
    return [torch.tensor(part, dtype=torch.float32) for part in parts]


def render_with_gradients(render, scene, width, height, dtype):
    """Image, alpha and the gradients of one random contraction of both."""
    random = torch.Generator().manual_seed(1)
    inputs = [part.to(dtype, copy=True).requires_grad_() for part in scene]
    image, alpha = render(*inputs, width, height)
    weights = [torch.randn(part.shape, generator=random).to(part) for part in (image, alpha)]
    value = (image * weights[0]).sum() + (alpha * weights[1]).sum()
    return image.detach(), alpha.detach(), torch.autograd.grad(value, inputs)


def backend(name):
    def render(means, scales, rotations, colors, opacities, width, height):
        return rasterize(means, scales, rotations, colors, width, height, opacities, backend=name)

    return render


@pytest.mark.parametrize(("number", "width", "height"), [(1, 9, 7), (30, 61, 47), (12, 1, 33)])
def test_reference_is_the_definition(number, width, height):
    gaussians = scene(number, width, height, seed=number, largest=20.0)
    expected = render_with_gradients(dense, gaussians, width, height, torch.float64)
    got = render_with_gradients(backend("reference"), gaussians, width, height, torch.float64)
    torch.testing.assert_close(got[:2], expected[:2], rtol=0, atol=1e-12)
    torch.testing.assert_close(got[2], expected[2], rtol=1e-9, atol=1e-9)


# Number, odd width and height, largest scale (the smallest is 1 px).
SCENES = (
    (0, 5, 3, 60),
    (1, 41, 31, 60),
    (2, 1, 1, 60),
    (60, 259, 67, 60),
    (200, 131, 203, 60),
    (50, 129, 17, 2),
    (2000, 97, 75, 60),
    (2000, 97, 75, 4),
)


@pytest.mark.parametrize(("number", "width", "height", "largest"), SCENES)
def test_cpu_agrees_with_reference(number, width, height, largest):
    gaussians = scene(number, width, height, seed=number, largest=largest)
    if number == 1:
        gaussians[0][0] = torch.tensor([20.3, 15.8])  # in the picture
    expected = render_with_gradients(backend("reference"), gaussians, width, height, torch.float64)
    got = render_with_gradients(backend("cpu"), gaussians, width, height, torch.float32)
    compare(got, expected)
    if number >= 200 and largest == 60:
        assert (expected[1] > 1 - 2e-3).sum() > 100, "no pixel is saturated"


def compare(got, expected):
    for ours, theirs in zip(got[:2], expected[:2], strict=True):
        difference = (ours - theirs).abs()
        assert (difference > 1e-4).double().mean() < 1e-5
        # Where rounding moves alpha over 1/255, one Gaussian comes or goes.
        assert difference.max() < 1.01 / 255
    for ours, theirs in zip(got[2], expected[2], strict=True):
        assert (ours - theirs).norm() <= 1e-3 * theirs.norm() + 1e-9


def test_no_gradient_through_a_capped_alpha():
    """0.05 px from a centre exp(-sigma) is above 0.999: only the colour gets a gradient."""
    gaussians = [torch.tensor([[0.55, 0.47]]), torch.tensor([[3.0, 2.0]]), torch.tensor([0.3])]
    for name in ("reference", "cpu"):
        inputs = [part.clone().requires_grad_() for part in (*gaussians, torch.ones(1))]
        colors = torch.tensor([[0.2, 0.4, 0.6]], requires_grad=True)
        image, alpha = rasterize(*inputs[:3], colors, 1, 1, inputs[3], backend=name)
        (image.sum() + alpha.sum()).backward()
        assert all(part.grad.abs().max() == 0 for part in inputs)
        torch.testing.assert_close(colors.grad, torch.full((1, 3), 0.999))


def test_thin_rotated_gaussians():
    """A needle of 60:1 at 45 degrees: the textbook conic would cancel in single precision."""
    means, _, rotations, colors, _ = scene(20, 200, 200, seed=3)
    scales, opacities = torch.tensor([[60.0, 1.0]]).repeat(20, 1), torch.full((20,), 0.7)
    gaussians = [means, scales, np.pi / 4 + rotations / 70, colors, opacities]
    expected = render_with_gradients(backend("reference"), gaussians, 200, 200, torch.float64)
    compare(render_with_gradients(backend("cpu"), gaussians, 200, 200, torch.float32), expected)


def test_number_of_threads_does_not_matter(monkeypatch):
    gaussians, results = scene(80, 300, 130, seed=5), []
    monkeypatch.setattr("numba.config.NUMBA_NUM_THREADS", 5)
    for threads in (1, 2, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        results.append(render_with_gradients(backend("cpu"), gaussians, 300, 130, torch.float32))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_gaussians_that_are_not_finite_far_away_or_flat_leave_no_trace(name):
    gaussians = scene(7, 50, 40, seed=2, largest=5)
    gaussians[4][:] = 0.8
    clean = rasterize(*[part[4:] for part in gaussians[:4]], 50, 40, backend=name)
    gaussians[0][0, 0], gaussians[1][1, 1] = math.nan, math.inf
    gaussians[1][3] = torch.tensor([0.0, 3.0])
    gaussians[0][2] = torch.tensor([1e30, -1e30])
    image, alpha = rasterize(*gaussians[:4], 50, 40, backend=name)
    torch.testing.assert_close((image, alpha), clean, rtol=0, atol=0)


@pytest.mark.parametrize("number", [1, 5])
@pytest.mark.parametrize("name", ["reference", "cpu"])
def test_numpy_gives_numpy_whatever_its_order_and_rotations_may_be_a_column(name, number):
    tensors = scene(number, 30, 20, seed=0, largest=9)
    expected = rasterize(*tensors[:4], 30, 20, tensors[4], backend=name)
    arrays = [part.flip(0).numpy()[::-1].astype(">f4") for part in tensors[:2]]
    arrays += [part.flip(0).numpy()[::-1] for part in tensors[2:]]
    arrays[2] = arrays[2][:, None]
    image, alpha = rasterize(*arrays[:4], 30, 20, arrays[4], backend=name)
    assert (image.shape, alpha.shape) == ((20, 30, 3), (20, 30))
    np.testing.assert_array_equal(image, expected[0].numpy())
    ones = [[1, 1]], [[1, 1]], [1], [[1, 1, 1]]
    floats = [np.array(part, np.float32) for part in ones]
    np.testing.assert_array_equal(*(rasterize(*of, 3, 2, backend=name)[0] for of in (ones, floats)))


def test_wrong_arguments_are_refused():
    names = ("means", "scales", "rotations", "colors", "opacities")
    right = dict(zip(names, scene(3, 9, 9, seed=0), strict=True), width=9, height=9)
    for wrong, says in (
        ({"scales": right["scales"][:2]}, r"scales \[N, 2\]"),
        ({"opacities": right["opacities"] + 1}, r"\[0, 1\]"),
        ({"backend": "gpu"}, "choose auto, reference, cpu"),
        ({"width": 0}, "0 x 9 pixels"),
    ):
        with pytest.raises(ValueError, match=says):
            rasterize(**right | wrong)


@pytest.mark.cuda
@pytest.mark.parametrize(("number", "width", "height", "largest"), SCENES)
def test_gsplat_agrees_with_reference(number, width, height, largest):
    from GS2D.gsplat_backend import why_unusable

    if (reason := why_unusable()) is not None:
        pytest.skip(reason)
    gaussians = scene(number, width, height, seed=number, largest=largest)
    expected = render_with_gradients(backend("reference"), gaussians, width, height, torch.float64)
    cuda = [part.cuda() for part in gaussians]
    got = render_with_gradients(backend("gsplat"), cuda, width, height, torch.float32)
    compare([got[0].cpu(), got[1].cpu(), [part.cpu() for part in got[2]]], expected)
