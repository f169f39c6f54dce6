"""SSIM cost: microseconds a pair, against the released pooling and against the global variant.

    python -m bench ssim

The released formula pools five times a pair; it is measured on a few pairs, ours on many. Both in
one process, in alternation, on the same number of threads.
"""

from statistics import median

import numpy as np
import torch
from torch.nn.functional import avg_pool2d

from bench.measure import benchmark, random_maps, ratio, time_in_turn
from mgot.options import C1, C2, VARIANTS
from mgot.ssim import ssim_cost

REFERENCE_PAIRS = 8
TARGET, SOURCE = 512, 768


def pool(values: torch.Tensor) -> torch.Tensor:
    """Window means as released: a 256-wide window over `[224, 224, 1]`, padding counted."""
    return avg_pool2d(values[:, :, None], 256, stride=1, padding=128)


def released_cost(x: torch.Tensor, y: torch.Tensor) -> float:
    """1 − mean SSIM of two patches `[224, 224]`, by the released formula."""
    mean_x, mean_y = pool(x), pool(y)
    variance_x = pool(x * x) - mean_x * mean_x
    variance_y = pool(y * y) - mean_y * mean_y
    covariance = pool(x * y) - mean_x * mean_y
    ssim = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    ssim = ssim / ((mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2))
    return 1 - ssim.mean().item()


def measure(repeats: int) -> dict:
    """Figures for the record; raises AssertionError when the two programs disagree."""
    random = np.random.default_rng(0)
    target, source = (
        random_maps(random.integers(0, 4, count), seed)
        for seed, count in enumerate((TARGET, SOURCE))
    )
    x, y = torch.from_numpy(target), torch.from_numpy(source)
    indices = range(REFERENCE_PAIRS)
    exact = [released_cost(x[i].double(), y[i].double()) for i in indices]
    few = ssim_cost(target[:REFERENCE_PAIRS], source[:REFERENCE_PAIRS])
    difference = float(np.abs(few.diagonal() - exact).max())
    assert difference <= 1e-6, f"the costs differ by {difference:.1e}"
    timings = time_in_turn(
        [
            lambda: [released_cost(x[i], y[i]) for i in indices],
            *(lambda variant=variant: ssim_cost(target, source, variant) for variant in VARIANTS),
        ],
        repeats,
    )
    pairs = TARGET * SOURCE
    released, official, overall = timings
    microseconds = {
        "released": 1e6 * median(released) / REFERENCE_PAIRS,
        "official": 1e6 * median(official) / pairs,
        "global": 1e6 * median(overall) / pairs,
    }
    return {
        "pairs": {"released": REFERENCE_PAIRS, "official": pairs, "global": pairs},
        "microseconds_per_pair": microseconds,
        "official_against_released": ratio(released, official) * pairs / REFERENCE_PAIRS,
        "global_against_official": ratio(official, overall),
        "largest_difference": difference,
    }


main = benchmark("ssim", __doc__, measure, repeats=5)

if __name__ == "__main__":
    main()
