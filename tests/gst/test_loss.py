"""The loss by whole kernels; and both fast ways to it from Gaussians beside their readable twin."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gst import transport_kernel, transport_loss
from gst.heads import FAR, Heads, pad_heads
from gst.loss import (
    gaussian_transport_loss,
    gaussian_transport_loss_reference,
    padded_transport_loss,
)
from gst.losses import bayesian_losses, block_count_loss, gaussian_losses
from gst.options import KernelOptions

FAST = [gaussian_transport_loss, padded_transport_loss]
DEVICES = [pytest.param("cpu"), pytest.param("cuda", marks=pytest.mark.cuda)]


def draw_kernel(heads, side=4, seed=0, background=True):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(heads + background, side * side, generator=generator, dtype=torch.float64)
    return (3 * logits).softmax(0)


def draw_density(batch, side=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 1, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("case", ["a", "b", "nobg"])
def test_released_losses_are_matched(golden, case):
    """By whole kernels, one image and the batch, and from Gaussians."""
    data = np.load(golden / f"gst_kernel_{case}.npz")
    names = "background_ratio", "cut_off", "post_min", "post_max", "use_background"
    options = KernelOptions(**{name: data[name].item() for name in names})
    images = range(len(data["n"]))
    kernels = [torch.tensor(data[f"kernel{i}"]) if data["n"][i] else None for i in images]
    targets = [torch.tensor(data[f"targets{i}"]) for i in images]
    density = torch.tensor(data["density"])
    loss = transport_loss(kernels, targets, density)
    np.testing.assert_allclose(loss, data["loss_per_image"].mean(), rtol=1e-4)
    for i, expected in enumerate(data["loss_per_image"]):
        parts = [torch.tensor(data[f"{name}{i}"]).float() for name in ("points", "scales")]
        parts += [torch.tensor(data[f"{name}{i}"]).flatten() for name in ("rotations", "targets")]
        one = density[i : i + 1]
        for loss in (
            transport_loss([kernels[i]], [targets[i]], one),
            gaussian_transport_loss([Heads(*parts)], one.float(), options, int(data["stride"])),
        ):
            np.testing.assert_allclose(loss, expected, rtol=1e-4, atol=1e-6)


def test_nothing_is_lost_on_the_way_and_a_perfect_density_costs_nothing():
    density = draw_density(2)
    kernels = [draw_kernel(5, background=False), draw_kernel(2, background=False)]
    targets = [kernel @ d.flatten() for kernel, d in zip(kernels, density, strict=True)]
    for target, d in zip(targets, density, strict=True):
        torch.testing.assert_close(target.sum(), d.sum())
    assert float(transport_loss(kernels, targets, density)) == 0
    loss = transport_loss(kernels, [target + 0.1 for target in targets], density)
    assert float(loss) == pytest.approx(0.1 * (5 + 2) / 2)


def test_without_heads_every_way_of_saying_so_costs_the_sum():
    density = draw_density(1)
    nothing = torch.zeros(0)
    no_points = (np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), 32)
    for kernel, target in (
        (None, None),
        (None, nothing),
        (transport_kernel(*no_points), nothing),
        (transport_kernel(*no_points, use_background=False), None),
    ):
        loss = transport_loss([kernel], [target], density)
        assert float(loss) == pytest.approx(float(density.sum()))


def test_gradient():
    inputs = draw_density(2).requires_grad_(), draw_kernel(3).requires_grad_()
    targets = [torch.rand(3, dtype=torch.float64), None]
    assert torch.autograd.gradcheck(lambda d, k: transport_loss([k, None], targets, d), inputs)


@pytest.mark.parametrize("kind", [np.asarray, np.flip, lambda a: np.asarray(a).astype(">f8")])
def test_numpy_arrays_cost_what_tensors_cost(kind):
    arrays = [kind(part.numpy()) for part in (draw_kernel(3), torch.rand(3), draw_density(2))]
    kernel, targets, density = arrays
    tensors = [torch.tensor(array.astype(float)) for array in arrays]
    expected = transport_loss([tensors[0], None], [tensors[1], None], tensors[2])
    loss = transport_loss([kernel, None], [targets, None], density)
    torch.testing.assert_close(loss, expected, check_dtype=False)
    density = tensors[2].requires_grad_()
    transport_loss([kernel, None], [targets, None], density).backward()
    assert density.grad.abs().sum() > 0


def test_gradient_is_a_sign_so_no_cell_pulls_harder_than_one():
    density = (1000 * draw_density(1)).requires_grad_()
    kernel = draw_kernel(3)
    transport_loss([kernel], [torch.ones(3)], density).backward()
    signs = (kernel @ density.detach().flatten() - torch.tensor([1.0, 1, 1, 0])).sign()
    torch.testing.assert_close(density.grad.flatten(), kernel.T @ signs)
    assert density.grad.abs().max() <= 1 + 1e-12


@pytest.mark.parametrize(
    ("kernels", "targets", "density", "message"),
    [
        ([draw_kernel(2)], [torch.ones(2)], draw_density(2), "2 density maps"),
        ([draw_kernel(2)], [torch.ones(4)], draw_density(1), "image 0.*4 targets"),
        ([draw_kernel(2)], [torch.ones(2)], draw_density(1, side=5), "25 cells"),
        ([draw_kernel(2)], [None], draw_density(1), "0 targets"),
        ([draw_kernel(2)], [torch.ones(2, 1)], draw_density(1), r"2 targets \[2, 1\]"),
        ([None], [torch.ones(2)], draw_density(1), r"2 targets .* kernel \[0, 16\]"),
        ([draw_kernel(2)], [torch.ones(2)], draw_density(1)[0], "B, 1, h, w"),
        ([], [], draw_density(1)[:0], "0 density maps"),
    ],
)
def test_misfits_are_refused(kernels, targets, density, message):
    with pytest.raises(ValueError, match=message):
        transport_loss(kernels, targets, density)


def draw_heads(count, width=64, height=64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 2, generator=generator) * torch.tensor([width + 20.0, height + 20.0])
    scales = 1 + 24 * torch.rand(count, 2, generator=generator)
    rotations = 6 * torch.rand(count, generator=generator) - 3
    return Heads(points - 10, scales, rotations, torch.rand(count, generator=generator))


def draw_batch(counts, height=8, width=8):
    """Heads of each crop, and density maps, one of which may sum to less than nothing."""
    generator = torch.Generator().manual_seed(len(counts))
    density = 0.3 * torch.rand(len(counts), 1, height, width, generator=generator) - 0.02
    return [draw_heads(n, 8 * width, 8 * height, seed) for seed, n in enumerate(counts)], density


def value_and_gradient(loss_of, heads, density, *options):
    leaf = density.detach().clone().requires_grad_()
    loss = loss_of(heads, leaf, *options)
    return loss.detach().cpu(), torch.autograd.grad(2 * loss, leaf)[0].cpu()


def assert_twins(loss_of, heads, density, device="cpu", stride=8, **options):
    options = KernelOptions(**options), stride
    loss, gradient = value_and_gradient(loss_of, heads, density.to(device), *options)
    assert (loss.dtype, loss.shape) == (torch.float32, ())
    twin = gaussian_transport_loss_reference
    expected = value_and_gradient(twin, heads, density.double(), *options)
    torch.testing.assert_close(loss.double(), expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected[1], rtol=0, atol=5e-5)
    assert gradient.any()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss_of", FAST)
@pytest.mark.parametrize("use_background", [True, False])
@pytest.mark.parametrize("counts", [(0,), (1,), (2,), (400,), (0, 0), (3, 0, 25, 1)], ids=str)
@pytest.mark.parametrize("size", [(8, 8), (6, 10), (1, 3), (33, 20)], ids=str)
def test_value_and_gradient_are_the_twin_s(loss_of, counts, size, use_background, device):
    assert_twins(loss_of, *draw_batch(counts, *size), device, use_background=use_background)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("loss_of", [*FAST, gaussian_transport_loss_reference])
def test_autocast_changes_nothing(loss_of, device):
    heads, density = draw_batch((25, 0, 3), 16, 16)
    density, autocast = density.to(device), torch.autocast(device, torch.bfloat16)(loss_of)
    inside, outside = (value_and_gradient(one, heads, density) for one in (autocast, loss_of))
    torch.testing.assert_close(inside, outside, rtol=0, atol=0)


@pytest.mark.parametrize("loss_of", FAST)
@pytest.mark.parametrize(
    "options",
    [
        {"background_ratio": 5.0},
        {"cut_off": 0.5},
        {"cut_off": 8.0},
        {"post_min": 4.0, "post_max": 6.0},
        {"post_min": 8.0, "post_max": 200.0, "scale_ratio": 4.0},
        {"stride": 4, "scale_ratio": 0.3},
    ],
    ids=str,
)
def test_every_option_of_the_kernel_means_the_same(loss_of, options):
    assert_twins(loss_of, *draw_batch((25, 3), 16, 16), **options)


@pytest.mark.parametrize("use_background", [True, False])
def test_far_heads_and_long_thin_ones(use_background):
    points = torch.tensor([[-300.0, 40], [31, 900], [20, 20], [60, 60.5]])
    scales = torch.tensor([[8.0, 8], [20, 8], [200, 0.5], [0.5, 200]])
    heads = [Heads(points, scales, torch.tensor([0.0, 1, 0.7, -2]), torch.ones(4))]
    options = {"post_min": 16.0, "post_max": 300.0, "use_background": use_background}
    assert_twins(gaussian_transport_loss, heads, draw_batch((0,))[1], **options)


def test_cells_larger_than_the_largest_deviation_give_it_to_all_gaussians():
    heads, density = draw_batch((3,))
    all_of_7 = [one._replace(scales=torch.full_like(one.scales, 7.0)) for one in heads]
    for loss_of in (*FAST, gaussian_transport_loss_reference):
        found = loss_of(heads, density, KernelOptions(post_max=7.0), 8)
        expected = loss_of(all_of_7, density, KernelOptions(post_min=2.0), 8)
        torch.testing.assert_close(found, expected)


def test_heads_that_do_not_fit_are_refused():
    heads, density = draw_heads(3), draw_batch((3,))[1]
    for loss_of in (*FAST, gaussian_transport_loss_reference):
        for given, map_, message in (
            ([heads], density[0], "B, 1, h, w"),
            ([heads, heads], density, "for 2 crops"),
            ([heads._replace(targets=heads.targets[:2])], density, "crop 0: 3 .* with 2 targets"),
            ([heads._replace(points=heads.points * float("nan"))], density, "crop 0: .*finite"),
            ([heads._replace(scales=heads.scales[:2])], density, "crop 0: .*arrays that are not"),
        ):
            with pytest.raises(ValueError, match=message):
                loss_of(given, map_)


@pytest.mark.parametrize("loss_of", [*FAST, gaussian_transport_loss_reference])
def test_a_stride_that_is_no_positive_number_is_refused(loss_of):
    heads, density = draw_batch((3,))
    for stride in (0, -8):
        with pytest.raises(ValueError, match=f"stride {stride} "):
            loss_of(heads, density, stride=stride)


@pytest.mark.parametrize("loss_of", [*FAST, gaussian_transport_loss_reference])
def test_heads_of_numpy_arrays_cost_what_those_of_tensors_cost(loss_of):
    heads, density = draw_batch((3, 0))
    arrays = [Heads(*(part.numpy().astype(">f4") for part in one)) for one in heads]
    assert loss_of(arrays, density) == loss_of(heads, density)


@pytest.mark.parametrize("loss_of", [bayesian_losses, gaussian_losses, block_count_loss])
@pytest.mark.parametrize("device", DEVICES)
def test_padding_costs_nothing(loss_of, device):
    """In any loss: a crop is paid for alone as among others that have more heads."""

    def total(heads, density):
        losses = loss_of(heads, density)
        return sum(losses.values()) if isinstance(losses, dict) else losses

    heads, density = draw_batch((3, 0, 25, 1))
    padded = pad_heads(heads, torch.device("cpu"))
    assert (padded.points[1] == FAR).all()
    assert [list(array.shape) for array in padded] == [[4, 26, 2], [4, 26, 2], [4, 26], [4, 26]]
    together = value_and_gradient(total, heads, density.to(device))
    alone = [value_and_gradient(total, [one], density[i : i + 1]) for i, one in enumerate(heads)]
    torch.testing.assert_close(together[0], torch.stack([loss for loss, _ in alone]).mean())
    gradients = torch.cat([gradient for _, gradient in alone]) / len(alone)
    torch.testing.assert_close(together[1], gradients)


def test_a_batch_takes_as_many_operations_as_a_crop():
    """Each is a kernel to launch, which costs a GPU more than what is computed by it."""

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            numbers[-1] += 1
            return function(*args, **(kwargs or {}))

    numbers = []
    for counts in ((7,), (3, 0, 25, 1, 4, 0, 9, 9)):
        heads, density = draw_batch(counts)
        # Of numpy, whose way to one array is no operation of the device.
        heads = [Heads(*(part.numpy() for part in one)) for one in heads]
        density.requires_grad_()
        numbers.append(0)
        with Counted():
            padded_transport_loss(heads, density).backward()
    assert numbers[0] == numbers[1] > 0


def test_descent_finds_the_heads():
    # Two heads in a crop: with the kernel's help 2 counts settle where the heads are.
    heads = np.array([[20.0, 12.0], [44.0, 52.0]])
    kernel = transport_kernel(heads, np.full((2, 2), 8.0), np.zeros(2), 64)
    density = torch.full((1, 1, 8, 8), 0.1, requires_grad=True)
    for step in range(200):
        loss = transport_loss([kernel], [torch.ones(2)], density)
        (slope,) = torch.autograd.grad(loss, [density])
        with torch.no_grad():
            density -= 0.05 / (1 + 0.1 * step) * slope
            density.clamp_(min=0)
    density = density.detach()[0, 0]
    received = kernel @ density.flatten()
    torch.testing.assert_close(received, torch.tensor([1.0, 1, 0]), rtol=0, atol=0.15)
    assert density[:4].sum() == pytest.approx(1, abs=0.15)


def test_the_formula_written_out():
    kernel, density = draw_kernel(3), draw_density(1)
    targets = torch.tensor([1.0, 0.4, 0.0], dtype=torch.float64)
    cells = density.flatten()
    expected = 0.0
    for row, target in zip(kernel, [*targets.tolist(), 0.0], strict=True):
        received = sum(float(row[x]) * float(cells[x]) for x in range(len(cells)))
        expected += abs(target - received)
    assert float(transport_loss([kernel], [targets], density)) == pytest.approx(expected)
