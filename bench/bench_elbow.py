"""Elbow for k = 2 ... 10 with 10 restarts on 1962 x 50 176, against plain scikit-learn.

    python -m bench elbow

Plain scikit-learn runs on the features themselves, with 2 restarts at every second k; its time for
the rest is interpolated between these and multiplied up to 10 restarts. Both start from the same
samples, so that their inertias can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.cluster import KMeans

from bench.measure import bench_parser, time_runs, write_record
from bench.patches import random_maps
from crowd.io.errors import command
from mgot.clustering import elbow, kmeans

SAMPLES, RESTARTS, PLAIN_RESTARTS = 1962, 10, 2
KS, PLAIN_KS = range(2, 11), range(2, 11, 2)


def measure(flat: np.ndarray, repeats: int) -> dict:
    """Figures for the record."""
    plain, differences = {}, {}
    for k in PLAIN_KS:
        start = time.perf_counter()
        fit = KMeans(k, n_init=PLAIN_RESTARTS, random_state=0).fit(flat)
        plain[k] = time.perf_counter() - start
        ours = kmeans(flat, k, seed=0, restarts=PLAIN_RESTARTS).inertia
        differences[k] = ours / float(fit.inertia_) - 1
    seconds = np.interp(KS, list(plain), list(plain.values())) * RESTARTS / PLAIN_RESTARTS
    timing = time_runs(lambda: elbow(flat, KS, restarts=RESTARTS), repeats)
    return {
        "seconds": timing.median,
        "plain_seconds_measured": plain,
        "plain_restarts_measured": PLAIN_RESTARTS,
        "plain_seconds_extrapolated": float(seconds.sum()),
        "ratio": float(seconds.sum()) / timing.median,
        "inertia_above_plain": differences,
    }


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write the record."""
    parser = bench_parser("elbow", __doc__.split("\n", 1)[0])
    parser.add_argument("--repeats", type=int, default=3, help="runs of ours")
    arguments = parser.read(argv)
    torch.set_num_threads(arguments.threads)
    kinds = np.random.default_rng(0).integers(0, 4, SAMPLES)
    figures = measure(random_maps(kinds, 1).reshape(SAMPLES, -1), arguments.repeats)
    print(
        f"elbow {figures['seconds']:.2f} s; plain scikit-learn "
        f"{figures['plain_seconds_extrapolated']:.0f} s (extrapolated); ratio "
        f"{figures['ratio']:.0f}"
    )
    worst = max(figures["inertia_above_plain"].values())
    print(f"inertia at most {worst:+.1e} of plain scikit-learn's from the same starts")
    write_record(arguments.output, **figures)


if __name__ == "__main__":
    main()
