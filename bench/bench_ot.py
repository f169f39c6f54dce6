"""Partial transport of 714 x 577 patches, against POT's solver, time and accuracy.

    python -m bench ot

The problem is the released one: reg 1e-3, at most 1000 iterations, stop at 1e-10. Accuracy is the
L1 distance to the plan of POT's log-domain Sinkhorn run to convergence (mass 1), or to our own at
tolerance 1e-13 (mass 0.8). Ours is timed at the released tolerance, and at the loosest power of
ten whose plan is as near to the exact one as POT's.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

import numpy as np
import ot
import torch

from bench.measure import bench_parser, time_runs, write_record
from bench.patches import random_maps
from crowd.errors import command
from mgot.ssim_cost import ssim_cost
from mgot.transport import entropic_partial

ROWS, COLUMNS = 714, 577
REG, ITERATIONS, TOLERANCE = 1e-3, 1000, 1e-10
MASSES = (1.0, 0.8)


def exact_plan(cost: np.ndarray, mass: float) -> np.ndarray:
    """The plan that both are compared with."""
    if mass < 1:
        return entropic_partial(
            cost, mass=mass, reg=REG, max_iterations=50000, tolerance=1e-13
        ).plan
    a, b = (np.full(size, 1 / size) for size in cost.shape)
    options = {"method": "sinkhorn_log", "numItermax": 1000, "stopThr": 1e-13}
    return ot.bregman.sinkhorn(a, b, cost, REG, **options)


def measure(cost: np.ndarray, mass: float, repeats: int) -> dict:
    """One line of the record."""
    a, b = (np.full(size, 1 / size) for size in cost.shape)
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pots = ot.partial.entropic_partial_wasserstein(
            a,
            b,
            cost,
            REG,
            m=min(mass, a.sum(), b.sum()),
            numItermax=ITERATIONS,
            stopThr=TOLERANCE,
        )
    pot_seconds = time.perf_counter() - start

    def ours(tolerance: float = TOLERANCE):
        return entropic_partial(cost, None, None, mass, REG, ITERATIONS, tolerance)

    timing, result, exact = time_runs(ours, repeats), ours(), exact_plan(cost, mass)
    pot_error = float(np.abs(pots - exact).sum())
    equal = next(
        tolerance
        for tolerance in (*(10.0**-power for power in range(1, 10)), TOLERANCE)
        if np.abs(ours(tolerance).plan - exact).sum() <= pot_error
    )
    equal_seconds = time_runs(lambda: ours(equal), repeats).median
    return {
        "mass": mass,
        "pot_seconds": pot_seconds,
        "seconds": timing.median,
        "ratio": pot_seconds / timing.median,
        "equal_tolerance": equal,
        "equal_seconds": equal_seconds,
        "equal_ratio": pot_seconds / equal_seconds,
        "pot_error": pot_error,
        "error": float(np.abs(result.plan - exact).sum()),
        "iterations": result.iterations,
        "residual": result.residual,
    }


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write the record."""
    parser = bench_parser("ot", __doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=15, help="runs of ours")
    arguments = parser.read(argv)
    torch.set_num_threads(arguments.threads)
    random = np.random.default_rng(0)
    sides = [random_maps(random.integers(1, 3, size), size) for size in (ROWS, COLUMNS)]
    cost = ssim_cost(*sides).astype(np.float64)
    lines = [measure(cost, mass, arguments.repeats) for mass in MASSES]
    for line in lines:
        print(
            f"mass {line['mass']:g}: {1e3 * line['seconds']:.1f} ms, {line['error']:.1e} from the "
            f"exact plan after {line['iterations']} iterations; POT {line['pot_seconds']:.1f} s, "
            f"{line['pot_error']:.1e}; ratio {line['ratio']:.0f}, at POT's accuracy "
            f"{line['equal_ratio']:.0f}"
        )
    write_record(arguments.output, rows=ROWS, columns=COLUMNS, lines=lines)


if __name__ == "__main__":
    main()
