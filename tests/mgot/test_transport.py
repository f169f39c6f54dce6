import numpy as np
import ot
import pytest
import torch

from crowd.io.errors import InputError
from mgot.transport import entropic_partial, sinkhorn


def problem(n, m, seed=0):
    generator = np.random.default_rng(seed)
    a, b = generator.random(n) + 0.1, generator.random(m) + 0.1
    return generator.random((n, m)), a / a.sum(), b / b.sum()


@pytest.mark.parametrize(("n", "m", "reg"), [(5, 7, 0.1), (40, 30, 0.02), (1, 6, 0.05)])
def test_balanced_plan_is_pots(n, m, reg):
    cost, a, b = problem(n, m)
    result = sinkhorn(cost, a, b, reg, max_iterations=50000, tolerance=1e-12)
    how = {"method": "sinkhorn_log", "numItermax": 50000, "stopThr": 1e-13}
    expected = ot.bregman.sinkhorn(a, b, cost, reg, **how)
    np.testing.assert_allclose(result.plan, expected, rtol=0, atol=1e-11)
    np.testing.assert_allclose(result.plan.sum(1), a, atol=1e-11)
    np.testing.assert_allclose(result.plan.sum(0), b, atol=1e-11)
    assert result.converged


@pytest.mark.parametrize(
    ("mass", "columns"), [(0.05, 1), (0.4, 1), (0.9, 1), (None, 2), (None, 0.5)]
)
def test_partial_plan_is_pots(mass, columns):
    cost, a, b = problem(25, 18)
    b = columns * b  # and so all that the smaller side holds moves where no mass is named
    result = entropic_partial(cost, a, b, mass, 0.05, max_iterations=50000, tolerance=1e-13)
    how = {"m": mass, "numItermax": 50000, "stopThr": 1e-14}
    expected = ot.partial.entropic_partial_wasserstein(a, b, cost, 0.05, **how)
    np.testing.assert_allclose(result.plan, expected, rtol=0, atol=1e-10)


def test_partial_plan_is_balanced_when_all_mass_moves():
    cost, a, b = problem(20, 15)
    balanced = sinkhorn(cost, a, b, 0.02, 1000, 1e-12).plan
    for mass in (None, 1.0):
        partial = entropic_partial(cost, a, b, mass, 0.02, 1000, 1e-12).plan
        np.testing.assert_allclose(partial, balanced, rtol=0, atol=1e-12)


def rough_costs():
    """Costs from 0 to 1e4 at their roughest, by name."""
    rng = np.random.default_rng(6)
    one = np.zeros((9, 7))
    one[3, 2] = 1e4
    blocks = np.kron(1 - np.eye(3), np.ones((3, 2))) * 1e4
    return {
        "random": rng.random((9, 7)) * 1e4,
        "every size": 10.0 ** rng.uniform(-8, 4, (9, 7)),
        "0 or 1e4": rng.integers(0, 2, (9, 7)) * 1e4,
        "one of 1e4": one,
        "all but one": 1e4 - one,
        "blocks": blocks,
        "row": rng.random((1, 7)) * 1e4,
        "column": rng.random((9, 1)) * 1e4,
        "single": np.array([[1e4]]),
        "constant": np.full((9, 7), 1e4),
    }


@pytest.mark.parametrize("reg", [1e-4, 1e-3, 1e-2, 0.1, 1.0])
@pytest.mark.parametrize("name", rough_costs())
def test_never_nan_from_reg_1e_4_to_1_and_costs_0_to_1e4(reg, name):
    cost = rough_costs()[name]
    n, m = cost.shape
    uneven = [10.0 ** -np.linspace(0, 12, size) for size in (n, m)]
    some = [np.arange(size) % 2 == 0 for size in (n, m)]
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        for a, b in ((None, None), uneven, some):
            a, b = (None if mass is None else mass / np.sum(mass) for mass in (a, b))
            for result in (
                sinkhorn(cost, a, b, reg, max_iterations=60),
                entropic_partial(cost, a, b, 0.3, reg, max_iterations=60),
            ):
                assert np.isfinite(result.plan).all()
                assert (result.plan >= 0).all()
                assert np.isfinite(result.residual)
            assert result.plan.sum() == pytest.approx(0.3, rel=1e-6)
            column = np.full(m, 1 / m) if b is None else b
            balanced = sinkhorn(cost, a, b, reg, max_iterations=60).plan
            np.testing.assert_allclose(balanced.sum(0), column, rtol=1e-6, atol=1e-15)


@pytest.mark.parametrize("iterations", [1, 2, 7])
def test_columns_mass_and_residual_are_right_however_early_it_stops(iterations):
    cost, a, b = problem(30, 20, seed=7)
    part = entropic_partial(cost, a, b, 0.9, 0.01, max_iterations=iterations)
    assert part.plan.sum() == pytest.approx(0.9, rel=1e-12)
    assert (part.plan.sum(0) <= b * (1 + 1e-9)).all()
    whole = sinkhorn(cost, a, b, reg=1e-3, max_iterations=iterations)
    np.testing.assert_allclose(whole.plan.sum(0), b, atol=1e-12)
    assert whole.residual == pytest.approx(np.abs(whole.plan.sum(1) - a).sum(), rel=1e-6)
    assert whole.iterations == iterations
    assert not whole.converged
    assert not part.converged


@pytest.mark.parametrize(("transport", "released"), [(sinkhorn, 2000), (entropic_partial, 1000)])
def test_what_does_not_converge_ends_after_the_released_number_of_updates(transport, released):
    result = transport(problem(30, 20)[0], reg=1e-5)
    assert (result.iterations, result.converged) == (released, False)


def test_rows_and_columns_without_mass_move_nothing():
    cost, a, b = problem(6, 5)
    a[2], b[1] = 0.0, 0.0
    a, b = a / a.sum(), b / b.sum()
    for mass in (None, 0.5):
        plan = entropic_partial(torch.tensor(cost), a, b, mass, 0.05).plan
        assert not plan[2].any()
        assert not plan[:, 1].any()
    kept = np.ix_([0, 1, 3, 4, 5], [0, 2, 3, 4])
    smaller = entropic_partial(cost[kept], a[a > 0], b[b > 0], 0.5, 0.05).plan
    np.testing.assert_allclose(plan[kept], smaller, atol=1e-10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cost": np.zeros((0, 3))}, "empty side"),
        ({"cost": np.zeros((3, 0))}, "empty side"),
        ({"cost": [[np.nan, 1.0]]}, "NaN or infinite"),
        ({"cost": [[1.0]], "reg": 0.0}, "above 0"),
        ({"cost": [[1.0]], "reg": 1e-310}, "not too near it"),
        ({"cost": [[1.0]], "max_iterations": 0}, "allow one or more"),
        ({"cost": [[1.0, 2.0]], "b": [0.5, -0.5]}, "column masses"),
        ({"cost": [[1.0, 2.0]], "a": [0.0]}, "row masses"),
        ({"cost": [[1.0, 2.0]], "mass": 1.5}, r"lie in \(0, 1\]"),
        ({"cost": [[1.0, 2.0]], "mass": 0.0}, r"lie in \(0, 1\]"),
    ],
)
def test_refuses_what_has_no_plan(arguments, message):
    with pytest.raises(InputError, match=message):
        entropic_partial(**arguments)


def test_balanced_transport_needs_equal_totals():
    with pytest.raises(InputError, match="totals equal"):
        sinkhorn([[1.0, 2.0]], [1.0], [1.0, 1.0])
