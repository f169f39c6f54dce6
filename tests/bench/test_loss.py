"""What the benchmark of the losses measures is what it says."""

import sys

import pytest
import torch

from bench.bench_loss import LOSSES, added_memory, crop_of, plain_scale, step
from crowd.sinkhorn import scale_reference


def test_plain_iterations_agree_where_nothing_underflows():
    random = torch.Generator().manual_seed(0)
    cost = 20 * torch.rand(4, 12, generator=random, dtype=torch.float64)
    rows = torch.full((4,), 0.25, dtype=torch.float64)
    columns = torch.rand(12, generator=random, dtype=torch.float64)
    columns /= columns.sum()
    problem = cost, rows, columns, 10, range(500)
    torch.testing.assert_close(plain_scale(*problem).plan, scale_reference(*problem).plan)


def test_every_loss_gives_a_gradient_and_leaves_the_density_alone():
    heads, density = crop_of(20)
    before = density.clone()
    assert density.sum().item() == pytest.approx(20, rel=1e-3)
    slopes = {name: step(loss, heads, density)() for name, loss in LOSSES.items()}
    assert torch.equal(density, before)
    for slope in slopes.values():
        assert slope.shape == density.shape
        assert slope.isfinite().all()
        assert slope.abs().sum() > 0
    for other in ("GST, whole kernels", "GST, as released"):
        torch.testing.assert_close(slopes["GST"], slopes[other], rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_memory_is_what_a_run_adds_at_its_peak():
    def run():
        torch.ones(40_000_000 // 4).sum()

    assert 35 < added_memory(run) < 60
    assert added_memory(lambda: None) < 5
