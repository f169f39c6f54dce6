"""The loss of a whole batch by one array of padded heads, as GPUs compute it."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from gst.heads import Heads
from gst.kernel import KernelOptions
from gst.loss import (
    gaussian_transport_loss,
    gaussian_transport_loss_reference,
)
from gst.losses import block_count_loss
from gst.losses.bayesian import bayesian_losses
from gst.losses.gaussian import gaussian_losses
from gst.padded import FAR, pad_heads, padded_transport_loss

CPU = torch.device("cpu")
DEVICES = [pytest.param("cpu"), pytest.param("cuda", marks=pytest.mark.cuda)]
BATCHES = [(7,), (0,), (0, 0), (3, 0, 25, 1), (40, 1)]


def crop(count, seed, side=64):
    random = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 2, generator=random) * (side + 20.0) - 10
    scales = 1 + 24 * torch.rand(count, 2, generator=random)
    rotations = 6 * torch.rand(count, generator=random) - 3
    return Heads(points, scales, rotations, torch.rand(count, generator=random))


def batch(counts, height=8, width=9):
    random = torch.Generator().manual_seed(len(counts))
    density = 0.3 * torch.rand(len(counts), 1, height, width, generator=random) - 0.02
    return [crop(count, seed) for seed, count in enumerate(counts)], density


def value_and_gradient(loss_of, heads, density):
    leaf = density.clone().requires_grad_()
    loss = loss_of(heads, leaf)
    return loss.detach().cpu(), torch.autograd.grad(2 * loss, leaf)[0].cpu()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("counts", BATCHES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_background": False},
        {"post_min": 8.0, "post_max": 200.0, "scale_ratio": 4.0},
        {"background_ratio": 5.0, "cut_off": 0.5},
    ],
    ids=str,
)
def test_a_batch_costs_what_its_twin_says_with_the_same_gradient(counts, options, device):
    heads, density = batch(counts)
    options = KernelOptions(**options)

    def twin(heads, density):
        return gaussian_transport_loss_reference(heads, density, options)

    expected = value_and_gradient(twin, heads, density.double())

    def padded(heads, density):
        return padded_transport_loss(heads, density, options)

    loss, gradient = value_and_gradient(padded, heads, density.to(device))
    assert gradient.any()
    torch.testing.assert_close(loss.double(), expected[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradient.double(), expected[1], rtol=0, atol=5e-5)


@pytest.mark.parametrize("loss_of", [bayesian_losses, gaussian_losses, block_count_loss])
@pytest.mark.parametrize("device", DEVICES)
def test_padding_costs_nothing(loss_of, device):
    """In any loss: a crop is paid for alone as among others that have more heads."""

    def total(heads, density):
        losses = loss_of(heads, density)
        return sum(losses.values()) if isinstance(losses, dict) else losses

    heads, density = batch((3, 0, 25, 1))
    together = value_and_gradient(total, pad_heads(heads, torch.device(device)), density.to(device))
    alone = [value_and_gradient(total, [one], density[i : i + 1]) for i, one in enumerate(heads)]
    torch.testing.assert_close(together[0], torch.stack([loss for loss, _ in alone]).mean())
    gradients = torch.cat([gradient for _, gradient in alone]) / len(alone)
    torch.testing.assert_close(together[1], gradients)


def test_heads_are_padded_far_away_and_without_a_target():
    heads = [crop(2, 0), crop(0, 1)]
    padded = pad_heads(heads, CPU)
    assert [list(array.shape) for array in padded] == [[2, 3, 2], [2, 3, 2], [2, 3], [2, 3]]
    for mine, theirs in zip(padded, heads[0], strict=True):
        assert torch.equal(mine[0, :2], theirs)
    assert (padded.points[0, 2:] == FAR).all()
    assert (padded.points[1] == FAR).all()
    assert not padded.targets[1].any()
    assert pad_heads(padded, CPU) is padded
    density = batch((2, 0))[1]
    losses = [gaussian_transport_loss(one, density) for one in (heads, padded)]
    torch.testing.assert_close(*losses)


def test_a_crop_that_does_not_fit_is_named():
    good, bad = crop(2, 0), crop(3, 1)
    with pytest.raises(ValueError, match=r"crop 1: 3 Gaussians with 2 targets"):
        pad_heads([good, bad._replace(targets=torch.ones(2))], CPU)
    with pytest.raises(ValueError, match=r"crop 1.*finite"):
        pad_heads([good, bad._replace(rotations=torch.full((3,), np.nan))], CPU)


def test_a_batch_takes_as_many_operations_as_a_crop():
    """Each is a kernel to launch, which costs a GPU more than what is computed by it."""

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            numbers[-1] += 1
            return function(*args, **(kwargs or {}))

    numbers = []
    for counts in ((7,), (3, 0, 25, 1, 4, 0, 9, 9)):
        heads, density = batch(counts)
        padded, density = pad_heads(heads, CPU), density.requires_grad_()
        numbers.append(0)
        with Counted():
            padded_transport_loss(padded, density).backward()
    assert numbers[0] == numbers[1] > 0
