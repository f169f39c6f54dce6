"""FIDT's losses against their readable twins, and against what they must be by definition."""

import pytest
import torch

from mgot.losses import C2, detail_error, fidt_loss, instance_ssim, instance_ssim_reference

IMPLEMENTATIONS = [instance_ssim, instance_ssim_reference]


def random_maps(batch, height, width, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    maps = torch.rand(2, batch, 1, height, width, generator=generator, dtype=dtype)
    return maps[0].requires_grad_(), maps[1].requires_grad_()


def heads_of(*samples):
    return [torch.tensor(sample, dtype=torch.float32).reshape(-1, 2) for sample in samples]


MIXED = heads_of(
    [(30.0, 25.5), (31.9, 25.0), (0.0, 0.0), (69.99, 49.99)],
    [],
    [(0.2, 49.3)],
    [(69.5, 0.5), (35.0, 14.9), (14.9, 35.0), (-0.5, 20.0), (70.0, 20.0), (20.0, 50.0)],
)


def test_fast_ssim_has_the_values_and_gradients_of_the_loop():
    prediction, target = random_maps(4, 50, 70)
    cotangent = torch.rand(4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    outcomes = []
    for implementation in IMPLEMENTATIONS:
        values = implementation(prediction, target, MIXED)
        outcomes.append((values, *torch.autograd.grad(values @ cotangent, (prediction, target))))
    for fast, slow in zip(*outcomes, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-10, atol=1e-14)


def test_fast_ssim_agrees_in_single_precision_on_maps_smaller_than_a_window():
    prediction, target = random_maps(2, 11, 17, dtype=torch.float32)
    heads = heads_of([(3.0, 3.0), (16.5, 10.5)], [(8.0, 5.0)])
    fast, slow = (implementation(prediction, target, heads) for implementation in IMPLEMENTATIONS)
    torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ssim", IMPLEMENTATIONS)
def test_a_window_is_rows_and_columns_from_minus_15_to_plus_14(ssim):
    prediction, target = random_maps(1, 64, 80)
    value = ssim(prediction, target, heads_of([(40.7, 20.2)]))
    touched = (torch.autograd.grad(value, prediction)[0][0, 0] != 0).nonzero()
    assert touched.amin(0).tolist() == [5, 25]
    assert touched.amax(0).tolist() == [34, 54]
    assert len(touched) == 30 * 30


@pytest.mark.parametrize("ssim", IMPLEMENTATIONS)
def test_variances_are_divided_by_the_number_of_pixels(ssim):
    # Two pixels, +a and -a against +b and -b: means 0, variances a^2 and b^2, covariance a b.
    a, b = 0.05, 0.02
    prediction = torch.tensor([[[[a, -a]]]], dtype=torch.float64)
    target = torch.tensor([[[[b, -b]]]], dtype=torch.float64)
    expected = 1 - (2 * a * b + C2) / (a**2 + b**2 + C2)
    assert ssim(prediction, target, heads_of([(0, 0)])).item() == pytest.approx(expected)


@pytest.mark.parametrize("ssim", IMPLEMENTATIONS)
def test_a_batch_without_heads_costs_nothing_and_can_be_differentiated(ssim):
    prediction, target = random_maps(2, 20, 20)
    values = ssim(prediction, target, heads_of([], []))
    (gradient,) = torch.autograd.grad(values.sum(), prediction)
    assert values.tolist() == [0, 0]
    assert not gradient.any()


def test_without_weights_and_ssim_the_loss_is_the_released_one():
    prediction, target = random_maps(4, 50, 70)
    losses = fidt_loss(prediction, target, MIXED)
    assert list(losses) == ["mse"]
    released = torch.nn.MSELoss(reduction="sum")(prediction, target)
    torch.testing.assert_close(losses["mse"], released)
    slopes = [torch.autograd.grad(loss, prediction) for loss in (losses["mse"], released)]
    torch.testing.assert_close(*slopes)


def test_weights_multiply_each_samples_own_loss():
    prediction, target = random_maps(4, 50, 70)
    weights = torch.tensor([1.0, 0.0, 2.5, 0.5], dtype=torch.float64)
    whole = fidt_loss(prediction, target, MIXED, 40.0, 2.0, weights)
    parts = {
        "mse": (prediction - target).square().sum((1, 2, 3)),
        "issim": instance_ssim(prediction, target, MIXED),
        "detail": detail_error(prediction, target),
    }
    assert whole.keys() == parts.keys()
    for name, part in parts.items():
        torch.testing.assert_close(whole[name], (weights * part).sum())
        (gradient,) = torch.autograd.grad(whole[name], prediction, retain_graph=True)
        assert not gradient[1].any()


def test_maps_of_different_shapes_are_not_broadcast():
    with pytest.raises(ValueError, match="shape"):
        fidt_loss(torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8), heads_of([], []))


def test_details_are_what_the_mean_of_seven_by_seven_pixels_leaves():
    prediction, target = random_maps(2, 9, 12)
    error, expected = (prediction - target)[:, 0], torch.zeros(2, dtype=torch.float64)
    for row in range(9):
        for column in range(12):
            near = error[:, max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4]
            expected = expected + (error[:, row, column] - near.mean((1, 2))) ** 2
    torch.testing.assert_close(detail_error(prediction, target), expected)


def test_a_raised_map_has_no_error_of_details_and_a_moved_peak_has():
    peak = torch.zeros(1, 1, 20, 20)
    peak[..., 9, 9] = 1
    assert detail_error(peak + 0.3, peak) == pytest.approx(0, abs=1e-9)
    assert detail_error(peak.roll(1, 2), peak) > 1.5


def test_the_error_of_details_is_least_at_the_expected_map():
    """Where heads are uncertain: of two maps, as likely, the mean."""
    _, first = random_maps(1, 10, 10, seed=0)
    _, second = random_maps(1, 10, 10, seed=1)
    mean = ((first + second) / 2).detach().requires_grad_()
    (detail_error(mean, first) + detail_error(mean, second)).sum().backward()
    assert mean.grad.abs().max() < 1e-12
