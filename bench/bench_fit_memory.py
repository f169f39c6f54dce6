"""Peak memory of a fit of 5000 heads at 2048 x 2048, in a process of its own.

    python -m bench fit_memory

The process's whole resident memory: Python, torch and the compiled kernels are in it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import torch

from bench.bench_splatting import scene
from bench.measure import bench_parser, write_record
from crowd.errors import command
from crowd.runs import ROOT
from GS2D import fit_gaussians

HEADS, SIDE, ITERATIONS = 5000, 2048, 50


def fit(threads: int) -> None:
    """Fit a photo of noise and print the peak of this process in bytes."""
    torch.set_num_threads(threads)
    photo = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    fit_gaussians(photo, scene(HEADS, 1.0, SIDE, SIDE, seed=0)[0], ITERATIONS, quiet=True)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    print(unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write the record."""
    arguments = bench_parser("fit_memory", __doc__.split("\n", 1)[0]).read(argv)
    program = f"from bench.bench_fit_memory import fit; fit({arguments.threads})"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    peak = int(done.stdout)
    print(f"{HEADS} heads at {SIDE} x {SIDE}: {peak / 1e9:.2f} GB at the peak")
    figures = {"heads": HEADS, "width": SIDE, "height": SIDE, "iterations": ITERATIONS}
    write_record(arguments.output, **figures, peak_bytes=peak)


if __name__ == "__main__":
    main()
