"""The losses that GST is compared with: their minima, gradients, masses, and POT's plan."""

import numpy as np
import ot
import pytest
import torch

from crowd.sinkhorn import scale
from gst.heads import Heads
from gst.losses import (
    NEARLY_NONE,
    bayesian_posterior,
    block_count_loss,
    gaussian_density,
    nearest_cells,
    poisson_deviance,
    sinkhorn_cost,
    squared_distances,
)
from gst.options import COMPARED, WEIGHTS

SHAPE = (6, 8)  # cells of 8 pixels


def heads_of(count, seed=0, share=1.0):
    random = np.random.default_rng(seed)
    points = torch.from_numpy(random.uniform(4, (60, 44), (count, 2)))
    targets = torch.full((count,), share).double()
    return Heads(points, torch.full((count, 2), 3.0), torch.zeros(count), targets)


def density_of(seed=1, batch=1, shape=SHAPE):
    return torch.rand(batch, 1, *shape, generator=torch.Generator().manual_seed(seed)).double()


def total(name, heads, density):
    losses = COMPARED[name](heads, density)
    return sum(WEIGHTS.get(term, 1) * value for term, value in losses.items())


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize("counts", [(0,), (1,), (7,), (3, 0, 5)])
def test_gradients_are_those_of_finite_differences_or_dual(name, counts):
    heads = [heads_of(count, seed) for seed, count in enumerate(counts)]
    density = density_of(batch=len(counts)).requires_grad_()
    (gradient,) = torch.autograd.grad(total(name, heads, density), density)
    assert gradient.isfinite().all()
    if name != "dm_count":  # its transport is not differentiated; the dual has a test of its own
        assert torch.autograd.gradcheck(lambda d: total(name, heads, d), density)


@pytest.mark.parametrize("name", COMPARED)
def test_the_loss_of_a_batch_is_the_mean_over_its_crops(name):
    heads = [heads_of(4, 1), heads_of(0), heads_of(9, 2)]
    density = density_of(batch=3)
    alone = [total(name, [one], density[i : i + 1]) for i, one in enumerate(heads)]
    assert total(name, heads[1:2], 0 * density[:1]) == 0 < alone[1]
    torch.testing.assert_close(total(name, heads, density), torch.stack(alone).mean())


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_the_gaussian_map_keeps_the_mass_and_is_best_left_alone(share):
    heads = heads_of(6, share=share)
    heads.points[0] = torch.tensor([-500.0, 2000.0])  # a head whose box barely reaches in
    target = gaussian_density(heads.points, heads.targets, SHAPE)
    torch.testing.assert_close(target.sum(), heads.targets.sum())
    # The square of what a sum in another order may round.
    assert total("gaussian", [heads], target[None, None]) < 1e-28
    assert total("gaussian", [heads], target[None, None] + 1).item() == pytest.approx(6 * 8)


def test_a_gaussian_lies_around_its_head():
    points = torch.tensor([[28.0, 20.0]]).double()  # the centre of column 3, row 2
    density = gaussian_density(points, torch.ones(1).double(), SHAPE)
    assert divmod(int(density.argmax()), SHAPE[1]) == (2, 3)
    ratio = density[2, 4] / density[2, 3]
    assert ratio.item() == pytest.approx(np.exp(-0.5))  # a cell off: 8 pixels


def test_the_posterior_is_bayes_rule():
    """With the paper's background: on the line through the nearest head, 0.15 short sides off."""
    points, side = heads_of(5).points, torch.tensor(90.0).double()
    posterior = bayesian_posterior(points, SHAPE, side)
    assert posterior.shape == (6, 48)
    torch.testing.assert_close(posterior.sum(0), torch.ones(48).double())
    for column, row in ((5, 3), (0, 0), (7, 5)):
        cell = np.array([4 + 8 * column, 4 + 8 * row])
        distances = np.sqrt(((points.numpy() - cell) ** 2).sum(1))
        distances = np.append(distances, 0.15 * 90 - distances.min())
        likelihood = np.exp(-(distances**2) / (2 * 8**2))
        np.testing.assert_allclose(posterior[:, row * 8 + column], likelihood / likelihood.sum())


def test_the_bayesian_background_begins_where_the_photo_says():
    """A head owns what is nearer than 0.075 short sides of the photo, however large the crop."""
    points = torch.tensor([[0.0, 4.0]]).double()
    for side in (400.0, 800.0):
        owned = bayesian_posterior(points, (1, 20), torch.tensor(side).double())[0] > 0.5
        assert owned.tolist() == [4 + 8 * cell < 0.075 * side for cell in range(20)]
    heads, density = [heads_of(3)], density_of()
    losses = [COMPARED["bayesian"](heads, density, sides) for sides in (None, [48.0], [500.0])]
    whole, same, other = (one["bayesian"] for one in losses)
    assert whole == same != other


def test_a_density_that_gives_every_head_its_own_costs_nothing():
    points = torch.tensor([[4.0, 4.0], [60.0, 44.0]]).double()
    heads = Heads(points, torch.ones(2, 2), torch.zeros(2), torch.ones(2).double())
    density = torch.zeros(1, 1, *SHAPE, dtype=torch.float64)
    density[0, 0, 0, 0] = density[0, 0, -1, -1] = 1
    own, twice = (
        COMPARED["bayesian"]([heads], factor * density, [800.0])["bayesian"] for factor in (1, 2)
    )
    assert total("dm_count", [heads], density) < 1e-6
    assert own < 1e-6
    assert twice.item() == pytest.approx(2, abs=1e-6)


def test_dm_count_of_four_people_in_a_cell_where_two_cells_hold_one_each():
    points = torch.tensor([[4.0, 4.0], [44.0, 4.0]]).double()
    heads = Heads(points, torch.ones(2, 2), torch.zeros(2), torch.ones(2).double())
    density = torch.zeros(1, 1, *SHAPE, dtype=torch.float64)
    density[0, 0, 0, 0] = 4
    losses = {name: one.item() for name, one in COMPARED["dm_count"]([heads], density).items()}
    # Half of the mass has to go 40 pixels; half is too much here, and is missing there.
    assert losses == pytest.approx({"count": 2, "ot": 40**2 / 2, "tv": 2 * (0.5 + 0.5)})


@pytest.mark.parametrize("reg", [10.0, 200.0])
def test_the_transport_is_pots(reg):
    heads = heads_of(7)
    cost = squared_distances(heads.points, SHAPE)
    share = density_of().flatten()
    share /= share.sum()
    wanted = heads.targets / heads.targets.sum()
    plan = scale(cost, wanted, share, reg, range(20000)).plan
    torch.testing.assert_close(plan.sum(0), share)
    torch.testing.assert_close(plan.sum(1), wanted, rtol=1e-4, atol=1e-8)
    arrays = [part.numpy() for part in (wanted, share, cost)]
    pots = ot.sinkhorn(*arrays, reg, "sinkhorn_log", 20000, 1e-12)
    np.testing.assert_allclose(plan, pots, atol=1e-5)
    value = sinkhorn_cost(cost, wanted, share, reg, 20000)
    assert value.item() == pytest.approx((pots * cost.numpy()).sum(), rel=1e-4)
    assert sinkhorn_cost(cost, wanted, share) == sinkhorn_cost(cost, wanted, share, 10.0, 100)


def test_no_mass_is_lost_in_single_precision_at_a_small_regularisation():
    cost = squared_distances(torch.tensor([[4.0, 4.0]]), SHAPE)
    share = torch.zeros(48)
    share[-1] = 1.0  # 70 pixels away: exp(-cost / 10) is 0
    assert torch.exp(-cost / 10)[0, -1] == 0
    assert sinkhorn_cost(cost, torch.ones(1), share).item() == pytest.approx(cost[0, -1].item())


def test_the_gradient_of_the_transport_is_that_of_the_entropic_optimum():
    """Along a direction that moves mass between cells, by finite differences of the optimum."""
    heads, reg = heads_of(4), 50.0
    cost = squared_distances(heads.points, SHAPE)
    wanted = heads.targets / heads.targets.sum()
    share = density_of().flatten()
    share /= share.sum()
    direction = density_of(5).flatten()
    direction -= direction.mean()

    def optimum(columns):
        ended = scale(cost, wanted, columns, reg, range(5000))
        return reg * ((ended.f * wanted).sum() + (ended.g * columns).sum())

    variable = share.clone().requires_grad_()
    sinkhorn_cost(cost, wanted, variable, reg, 5000).backward()
    step = 1e-6
    slope = (optimum(share + step * direction) - optimum(share - step * direction)) / (2 * step)
    assert (variable.grad @ direction).item() == pytest.approx(slope.item(), rel=1e-5)


def test_heads_are_in_their_cells_and_those_outside_in_the_nearest():
    points = torch.tensor([[0.0, 0.0], [63.9, 47.9], [17.0, 9.0], [-30.0, 20.0], [90.0, 99.0]])
    assert nearest_cells(points, SHAPE).tolist() == [0, 47, 10, 16, 47]


@pytest.mark.parametrize("shape", [(9, 10), (6, 8), (1, 5)])
def test_block_counts_are_those_of_a_loop(shape):
    """Values and gradients; blocks that the border cuts are left out, if need be all."""
    density = density_of(batch=2, shape=shape).requires_grad_()
    heads = [heads_of(5, share=0.7), heads_of(0)]
    value = block_count_loss(heads, density)
    expected = 0
    for one, predicted in zip(heads, density[:, 0], strict=True):
        actual = torch.zeros_like(predicted)
        for (x, y), target in zip(one.points, one.targets, strict=True):
            actual[min(int(y) // 8, shape[0] - 1), min(int(x) // 8, shape[1] - 1)] += target
        expected = expected + deviance(predicted.sum(), actual.sum()) / 2
        for side, weight in ((2, 0.25), (4, 0.5), (8, 1)):
            for row in range(shape[0] // side):
                for column in range(shape[1] // side):
                    block = slice(row * side, (row + 1) * side), slice(column * side, None)
                    mean, count = (one[block][:, :side].sum() for one in (predicted, actual))
                    expected = expected + weight * deviance(mean, count) / 2
    torch.testing.assert_close(value, expected)
    slopes = [torch.autograd.grad(loss, density, retain_graph=True) for loss in (value, expected)]
    torch.testing.assert_close(*slopes)


def deviance(mean: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    """Difference of two logarithms of Poisson likelihoods: of the count as its own mean, and of
    the mean, both raised."""
    count = count + NEARLY_NONE
    own, other = torch.distributions.Poisson(count), torch.distributions.Poisson(mean + NEARLY_NONE)
    own._validate_args = other._validate_args = False  # counts are shares of heads
    return own.log_prob(count) - other.log_prob(count)


def test_the_deviance_of_counts_is_least_at_their_mean():
    """An absolute error's at the median: nobody, where two crops of five show a head."""
    counts, means = torch.tensor([0.0, 0, 0, 1, 1]), torch.linspace(0, 1, 101)
    losses = torch.stack([poisson_deviance(mean.expand(5), counts) for mean in means])
    assert means[losses.argmin()] == pytest.approx(0.4, abs=0.01)
    assert poisson_deviance(counts, counts) == 0
