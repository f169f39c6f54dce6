import numpy as np
import pytest
import torch

from gst import transport_kernel, transport_loss


def draw_kernel(heads, side=4, seed=0, background=True):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(heads + background, side * side, generator=generator, dtype=torch.float64)
    return (3 * logits).softmax(0)


def draw_density(batch, side=4, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 1, side, side, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("case", ["a", "b", "nobg"])
def test_released_losses_are_matched(golden, case):
    data = np.load(golden / f"gst_kernel_{case}.npz")
    images = range(len(data["n"]))
    kernels = [torch.tensor(data[f"kernel{i}"]) if data["n"][i] else None for i in images]
    targets = [torch.tensor(data[f"targets{i}"]) for i in images]
    density = torch.tensor(data["density"])
    for i in images:
        loss = transport_loss([kernels[i]], [targets[i]], density[i : i + 1])
        np.testing.assert_allclose(loss, data["loss_per_image"][i], rtol=1e-4, atol=1e-6)
    loss = transport_loss(kernels, targets, density)
    np.testing.assert_allclose(loss, data["loss_per_image"].mean(), rtol=1e-4)


def test_nothing_is_lost_on_the_way_and_a_perfect_density_costs_nothing():
    density = draw_density(2)
    kernels = [draw_kernel(5, background=False), draw_kernel(2, background=False)]
    targets = [kernel @ d.flatten() for kernel, d in zip(kernels, density, strict=True)]
    for target, d in zip(targets, density, strict=True):
        torch.testing.assert_close(target.sum(), d.sum())
    assert float(transport_loss(kernels, targets, density)) == 0
    assert float(transport_loss(kernels, [t + 0.1 for t in targets], density)) == pytest.approx(
        0.1 * (5 + 2) / 2
    )


def test_without_heads_every_way_of_saying_so_costs_the_sum():
    density = draw_density(1)
    nothing = torch.zeros(0)
    no_points = (np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), 32)
    ways = [
        (None, None),
        (None, nothing),
        (transport_kernel(*no_points), nothing),
        (transport_kernel(*no_points, use_background=False), None),
    ]
    for kernel, target in ways:
        loss = transport_loss([kernel], [target], density)
        assert float(loss) == pytest.approx(float(density.sum()))


def test_gradient():
    density = draw_density(2).requires_grad_()
    kernels = [draw_kernel(3).requires_grad_(), None]
    targets = [torch.rand(3, dtype=torch.float64), None]
    assert torch.autograd.gradcheck(
        lambda d, k: transport_loss([k, None], targets, d), (density, kernels[0])
    )


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
        ([None], [torch.ones(2)], draw_density(1), r"2 targets .* kernel \[0, 16\]"),
        ([draw_kernel(2)], [torch.ones(2)], draw_density(1)[0], "B, 1, h, w"),
        ([], [], draw_density(1)[:0], "0 density maps"),
    ],
)
def test_misfits_are_refused(kernels, targets, density, message):
    with pytest.raises(ValueError, match=message):
        transport_loss(kernels, targets, density)
