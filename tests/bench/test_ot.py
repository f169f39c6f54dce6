"""The transport benchmark compares a problem with POT's solvers of that very problem."""

import numpy as np
import pytest

from bench import bench_ot

# Small enough for POT's plain solver not to underflow.
COST = 0.02 * np.random.default_rng(0).random((12, 9))


def test_a_balanced_problem_is_compared_with_balanced_solvers_alone(monkeypatch):
    def partial(*arguments, **options):
        raise AssertionError("a partial solver, for a balanced problem")

    monkeypatch.setattr(bench_ot.ot.partial, "entropic_partial_wasserstein", partial)
    line = bench_ot.measure(COST, mass=1.0, repeats=1)
    assert set(line["pot"]) == {"sinkhorn", "sinkhorn_stabilized", "sinkhorn_log"}
    # On a problem this small all of them reach the plan.
    assert all(one["error"] < 1e-6 for one in line["pot"].values())
    assert line["error"] < 1e-6
    assert line["ratio"] == min(one["ratio"] for one in line["pot"].values())


def test_a_partial_problem_is_compared_with_the_partial_solver():
    line = bench_ot.measure(COST, mass=0.8, repeats=1)
    assert list(line["pot"]) == ["entropic_partial_wasserstein"]
    assert line["pot"]["entropic_partial_wasserstein"]["error"] == pytest.approx(0, abs=1e-3)


def test_a_solver_that_fails_is_no_competitor(monkeypatch):
    fails = {"fails": lambda: np.full(COST.shape, np.nan)}
    works = bench_ot.competitors(COST, 1.0)
    monkeypatch.setattr(bench_ot, "competitors", lambda *_: fails | works)
    line = bench_ot.measure(COST, mass=1.0, repeats=1)
    assert line["pot"]["fails"]["error"] is None
    assert line["fastest"] in works
