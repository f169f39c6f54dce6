"""The numerical tests and the published figures on other machines, imitated on this one.

    python -m tests.machines --settings weakest,MKL_CBWR=AVX2

Variables choose which kernels the libraries run, and on how many threads. Each setting gets
processes of its own with a numba cache of their own. The table gives the tests that passed and
failed and how far the figures of `tests.machines.figures` are from those of the plain setting: the
largest difference as a share of the largest value of its array, and how many choices (clusters,
matched patches) differ. Exit code 1: a test failed, or a figure is farther off than `LIMITS`.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError, command
from tests.machines.settings import PLAIN, SETTINGS, missing_feature

ROOT = Path(__file__).resolve().parents[2]
TESTS = {
    "": "compiled",
    "crowd": "metrics",
    "GS2D": "fit rasterize store",
    "gst": "augment compared_losses kernel limits loss models",
    "mgot": "alignment clustering fidt_losses fidt_map limits localization models_hrnet peaks "
    "ssim_cost transport",
}
FILES = [f"tests/{part}/test_{name}.py" for part in TESTS for name in TESTS[part].split()]
# What float32 leaves, with room. A sum of a thousand terms is off by 1e-6 on a bad day: costs,
# losses. A plan is e^(-cost / 1e-3): weights. A network chains ten such sums: maps. A fit makes
# hundreds of steps whose directions are signs: fits.
LIMITS = {"costs": 1e-6, "weights": 1e-3, "losses": 1e-5, "maps": 1e-5, "fits": 1e-2, "choices": 0}


def deviations(plain: dict, other: dict) -> dict[str, float]:
    """Largest deviation of the figures of each kind, and the number of choices that differ."""
    found = dict.fromkeys(LIMITS, 0.0)
    for name, expected in plain.items():
        kind = name.split(":")[0]
        if kind == "choices":
            found[kind] += float((expected != other[name]).sum())
            continue
        difference = np.abs(np.asarray(other[name], np.float64) - expected).max()
        # Written so that NaN, for which every comparison is false, is infinitely far off.
        share = difference / np.abs(expected).max() if difference >= 0 else np.inf
        found[kind] = max(found[kind], float(share))
    return found


def run_figures(environment: dict, folder: str) -> dict[str, np.ndarray]:
    """The figures as a process in `environment` computes them."""
    output = f"{folder}/figures.npz"
    program = [sys.executable, "-m", "tests.machines.figures", output]
    subprocess.run(program, cwd=ROOT, env=environment, check=True)
    with np.load(output) as figures:
        return dict(figures)


def run_tests(environment: dict) -> tuple[int, int]:
    """How many tests passed and failed; prints what those say that failed."""
    program = [sys.executable, "-m", "pytest", "-n", "auto", "-p", "no:cacheprovider", *FILES]
    result = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True)
    found = re.findall(r"(\d+) (passed|failed|error)", result.stdout)
    counts = {what: int(count) for count, what in found}
    if result.returncode:
        print(result.stdout, result.stderr, sep="\n")
    # No test at all, or a crash of pytest itself, is a failure too.
    failed = counts.get("failed", 0) + counts.get("error", 0)
    return counts.get("passed", 0), max(failed, int(result.returncode != 0))


@command
def main(argv=None) -> None:
    parser = ArgumentParser(prog="python -m tests.machines", description=__doc__)
    parser.add_argument("--settings", type=str, default="", help="some of them (default: all)")
    arguments = parser.read(argv)
    names = [name for name in arguments.settings.split(",") if name] or list(SETTINGS)
    for name in names:
        if name not in SETTINGS:
            raise InputError(f"unknown setting '{name}': choose of {', '.join(SETTINGS)}")

    with tempfile.TemporaryDirectory() as folder:
        plain = run_figures(os.environ | PLAIN, folder)
    print(f"| setting | passed | failed | {' | '.join(LIMITS)} |")
    print("|---" * (3 + len(LIMITS)) + "|", flush=True)
    good = True
    for name in names:
        if missing := missing_feature(name):
            print(f"| {name} | not run: this processor lacks {missing} |", flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            environment = os.environ | PLAIN | SETTINGS[name] | {"NUMBA_CACHE_DIR": folder}
            off = deviations(plain, run_figures(environment, folder))
            passed, failed = run_tests(environment)
        cells = " | ".join(f"{value:.0e}" if value else "0" for value in off.values())
        print(f"| {name} | {passed} | {failed} | {cells} |", flush=True)
        good &= not failed and all(off[kind] <= limit for kind, limit in LIMITS.items())
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
