import numpy as np
import pytest
import torch

from gst.heads import Heads
from gst.kernel import KernelOptions
from gst.loss import crop_kernels, gaussian_transport_loss, gaussian_transport_loss_reference


def draw_heads(count, width=64, height=64, seed=0, largest=24.0):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(count, 2, generator=generator) * torch.tensor([width + 20.0, height + 20.0])
    scales = 1 + largest * torch.rand(count, 2, generator=generator)
    rotations = 6 * torch.rand(count, generator=generator) - 3
    return Heads(points - 10, scales, rotations, torch.rand(count, generator=generator))


def draw_density(batch, height=8, width=8, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return 0.3 * torch.rand(batch, 1, height, width, generator=generator)


def both(heads, density, stride=8, **options):
    """Loss and gradient of the fused loss, and those of its twin in float64."""
    results = []
    for loss_of, dtype in (
        (gaussian_transport_loss, torch.float32),
        (gaussian_transport_loss_reference, torch.float64),
    ):
        leaf = density.detach().to(dtype, copy=True).requires_grad_()
        loss = loss_of(heads, leaf, KernelOptions(**options), stride)
        assert loss.shape == ()
        assert loss.dtype == dtype
        loss.backward()
        results.append((loss.item(), leaf.grad.numpy()))
    return results


@pytest.mark.parametrize("use_background", [True, False])
@pytest.mark.parametrize("count", [1, 2, 30, 400])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 10), (1, 3), (33, 20)])
def test_value_and_gradient_are_its_twins(count, height, width, use_background):
    heads = [draw_heads(count, 8 * width, 8 * height, seed=count)]
    fused, dense = both(heads, draw_density(1, height, width), use_background=use_background)
    assert fused[0] == pytest.approx(dense[0], rel=1e-5)
    np.testing.assert_allclose(fused[1], dense[1], rtol=0, atol=2e-5)
    assert fused[1].any()


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
def test_every_option_of_the_kernel_means_the_same(options):
    heads = [draw_heads(25, seed=3), draw_heads(3, seed=4)]
    fused, dense = both(heads, draw_density(2, 16, 16), **options)
    assert fused[0] == pytest.approx(dense[0], rel=1e-5)
    np.testing.assert_allclose(fused[1], dense[1], rtol=0, atol=2e-5)


def test_far_heads_and_long_thin_ones():
    points = torch.tensor([[-300.0, 40], [31, 900], [20, 20], [60, 60.5]])
    scales = torch.tensor([[8.0, 8], [20, 8], [200, 0.5], [0.5, 200]])
    heads = [Heads(points, scales, torch.tensor([0.0, 1, 0.7, -2]), torch.ones(4))]
    for use_background in (True, False):
        options = {"post_min": 16.0, "post_max": 300.0, "use_background": use_background}
        fused, dense = both(heads, draw_density(1), **options)
        assert fused[0] == pytest.approx(dense[0], rel=1e-5)
        np.testing.assert_allclose(fused[1], dense[1], rtol=0, atol=2e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_batch_is_the_mean_of_its_crops_with_and_without_heads(monkeypatch, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    heads, density = [draw_heads(9), draw_heads(0), draw_heads(40, seed=2)], draw_density(3)
    density[1] -= 0.2
    fused, dense = both(heads, density)
    assert fused[0] == pytest.approx(dense[0], rel=1e-5)
    np.testing.assert_allclose(fused[1], dense[1], rtol=0, atol=2e-5)
    each = [
        gaussian_transport_loss([one], d[None]).item()
        for one, d in zip(heads, density, strict=True)
    ]
    assert fused[0] == pytest.approx(np.mean(each), rel=1e-6)
    assert each[1] == pytest.approx(abs(density[1].sum().item()), rel=1e-6)


def test_gradient_is_the_slope_in_every_direction_and_scales_with_what_follows():
    # The loss is piecewise linear in the density: short steps stay on one piece.
    heads, density = [draw_heads(12)], draw_density(1).requires_grad_()
    loss = gaussian_transport_loss(heads, density)
    (gradient,) = torch.autograd.grad(3 * loss, density)
    for seed in range(4):
        step = 1e-3 * torch.randn(density.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            change = gaussian_transport_loss(heads, density + step) - gaussian_transport_loss(
                heads, density - step
            )
        assert (gradient * step).sum().item() == pytest.approx(1.5 * change.item(), abs=3e-5)


@pytest.mark.parametrize("case", ["a", "b", "nobg"])
def test_released_losses_are_matched(golden, case):
    data = np.load(golden / f"gst_kernel_{case}.npz")
    heads = [
        Heads(
            *(torch.tensor(data[f"{name}{i}"]).float() for name in ("points", "scales")),
            torch.tensor(data[f"rotations{i}"]).float().flatten(),
            torch.tensor(data[f"targets{i}"]).float(),
        )
        for i in range(len(data["n"]))
    ]
    names = ("background_ratio", "cut_off", "post_min", "post_max")
    options = {name: float(data[name]) for name in names}
    options = KernelOptions(**options, use_background=bool(data["use_background"]))
    stride = int(data["stride"])
    for one, density, expected in zip(
        heads, torch.tensor(data["density"]), data["loss_per_image"], strict=True
    ):
        loss = gaussian_transport_loss([one], density[None].float(), options, stride)
        np.testing.assert_allclose(loss.item(), expected, rtol=1e-4, atol=1e-6)


def test_kernels_are_made_for_crops_with_heads():
    kernels = crop_kernels([draw_heads(5), draw_heads(0)], 64, torch.device("cpu"))
    assert kernels[0].shape == (6, 64)
    assert kernels[1] is None
    assert not kernels[0].requires_grad


def test_misfits_are_refused():
    heads, density = draw_heads(3), draw_density(1)
    for loss_of in (gaussian_transport_loss, gaussian_transport_loss_reference):
        with pytest.raises(ValueError, match="B, 1, h, w"):
            loss_of([heads], density[0])
        with pytest.raises(ValueError, match="for 2 crops"):
            loss_of([heads, heads], density)
        with pytest.raises(ValueError, match="crop 0: 3 Gaussians with 2 targets"):
            loss_of([heads._replace(targets=heads.targets[:2])], density)
        with pytest.raises(ValueError, match="finite"):
            loss_of([heads._replace(points=heads.points * float("nan"))], density)
        with pytest.raises(ValueError, match="are needed"):
            loss_of([heads._replace(scales=heads.scales[:2])], density)
