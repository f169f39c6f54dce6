"""The common Sinkhorn solver against its twin in the log domain, balanced and partial."""

from unittest.mock import Mock

import pytest
import torch

from crowd import sinkhorn
from crowd.sinkhorn import saturate, scale, scale_reference
from mgot.transport import _saturate_to_mass


def problem(n=9, m=48, spread=5000.0, power=1, seed=0):
    """Costs, and masses of which some of the columns' are tiny."""
    random = torch.Generator().manual_seed(seed)
    rows = torch.rand(n, generator=random)
    columns = torch.rand(m, generator=random) ** power + 1e-12
    cost = spread * torch.rand(n, m, generator=random)
    return cost.double(), (rows / rows.sum()).double(), (columns / columns.sum()).double()


def partly(log_sums, log_marginal):
    return _saturate_to_mass(log_sums, log_marginal, 0.6)


def assert_same(found, twin):
    assert found.iterations == twin.iterations
    assert found.residual == pytest.approx(twin.residual, rel=1e-6, abs=1e-9)
    for one, other in zip(found[:3], twin[:3], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize("project", [saturate, partly])
@pytest.mark.parametrize("reg", [0.5, 10.0, 200.0])
@pytest.mark.parametrize("power", [1, 30], ids=["spread", "peaked"])
def test_products_give_what_the_log_domain_gives(monkeypatch, reg, power, project):
    cost, *masses = problem(power=power)
    twin = scale_reference(cost, *masses, reg, range(100), -1, project)
    log_steps = Mock(side_effect=torch.logsumexp)
    monkeypatch.setattr(torch, "logsumexp", log_steps)
    found = scale(cost, *masses, reg, range(100), -1, project)
    assert_same(found, twin)
    assert log_steps.call_count <= 100  # of 200
    expected = masses[1] if project is saturate else torch.minimum(found.plan.sum(0), masses[1])
    torch.testing.assert_close(found.plan.sum(0), expected)


@pytest.mark.parametrize("largest", [0.01, 1.0, 10.0])
def test_where_factors_become_logarithms_changes_nothing(monkeypatch, largest):
    cost, *masses = problem()
    twin = scale_reference(cost, *masses, 1.0, range(60), -1)
    monkeypatch.setattr(sinkhorn, "LARGEST_LOG", largest)
    assert_same(scale(cost, *masses, 1.0, range(60), -1), twin)


def test_both_stop_at_the_tolerance():
    cost, *masses = problem(spread=1.0)
    for solve in (scale, scale_reference):
        ended = solve(cost, *masses, 0.1, range(1000), 1e-6)
        assert ended.residual <= 1e-6
        assert 1 < ended.iterations < 1000
        assert (ended.plan.sum(1) - masses[0]).abs().sum().item() == pytest.approx(ended.residual)


def test_single_precision_is_solved_in_double():
    cost, rows, columns = (part.float() for part in problem())
    assert torch.exp(-cost / 10).min() == 0
    ended = scale(cost, rows, columns, 10.0, range(50))
    assert ended.plan.dtype == torch.float64
    torch.testing.assert_close(ended.plan.sum(0), columns.double())
