"""Fit all photos of a processed set, once, and record what that took.

    python -m bench.whole_set data/ucf_cc_50_processed --name ucf_cc_50_fit \
        --options="--stop_when_flat --workers 2"

Runs `2dgs_counting_1gs_gsplat.py` on train, val and test, where the command alone fits train, which
is all that training needs. Not among the benchmarks of `python -m bench`: it takes minutes to hours
and leaves its Gaussians in the set. Writes `bench/results/NAME.json`: wall-clock and processor
time, photos, heads, iterations and losses.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.measure import RESULTS, write_record
from crowd.configuration import ArgumentParser
from crowd.errors import InputError, command
from crowd.files import require_folder
from crowd.images import list_images
from crowd.runs import ROOT
from GS2D.store import gaussians_path, read_gaussians, read_report

SUBREAPER = 36  # Linux: PR_SET_CHILD_SUBREAPER
SPLITS = ("train", "val", "test")


def run(folder: Path, options: Sequence[str]) -> tuple[float, float]:
    """Fit the photos of one folder; return wall-clock and processor time in seconds.

    The workers' processor time counts once they were waited for. They are not our children but
    their server's, which outlives the command: it is handed to us, to be waited for too.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    program = [sys.executable, "2dgs_counting_1gs_gsplat.py", "--root_path", str(folder)]
    before, started = _processor_time(), time.monotonic()
    done = subprocess.run([*program, *options], cwd=ROOT)
    seconds = time.monotonic() - started
    if done.returncode:
        raise InputError(f"the fit of {folder} stopped: see its message above")
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return seconds, _processor_time() - before


def _processor_time() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def describe(photos: Sequence[Path]) -> dict:
    """Photos, heads, iterations and losses of what is fitted, from the files of the fit."""
    reports = [read_report(gaussians_path(photo)) for photo in photos]
    heads = [len(read_gaussians(gaussians_path(photo))) for photo in photos]
    iterations = np.array([report.iterations for report in reports])
    return {
        "photos": len(photos),
        "heads": int(sum(heads)),
        "iterations_mean": float(iterations.mean()),
        "iterations_least": int(iterations.min()),
        "iterations_most": int(iterations.max()),
        "render_loss_mean": float(np.mean([report.render_loss for report in reports])),
        "shape_loss_mean": float(np.mean([report.shape_loss for report in reports])),
    }


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Fit, print and record."""
    parser = ArgumentParser(prog="python -m bench.whole_set", description=__doc__)
    parser.add_argument("root", type=str, help="processed set")
    parser.add_argument("--name", type=str, required=True, help="of the record")
    parser.add_argument("--options", type=str, default="", help="for the fit, in one string")
    arguments = parser.read(argv)
    root = require_folder(arguments.root, "write a set with preprocess_dataset_ucf.py").resolve()
    folders = [root / split for split in SPLITS if (root / split).is_dir()]
    if not folders:
        raise InputError(f"{root} has no folder train, val or test: name a processed set")
    options = shlex.split(arguments.options)
    times = [run(folder, [*options, "--overwrite"]) for folder in folders]
    seconds, processor = (sum(column) for column in zip(*times, strict=True))
    figures = describe([photo for folder in folders for photo in list_images(folder)])
    times = {"seconds": seconds, "processor_seconds": processor}
    print(" · ".join(f"{key} {value:.6g}" for key, value in (times | figures).items()))
    write_record(RESULTS / f"{arguments.name}.json", **times, **figures, options=options)


if __name__ == "__main__":
    main()
