"""The demo: synthetic photos, every stage of GST by the README's commands, a table, pictures."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

from crowd.errors import InputError
from crowd.runs import ROOT
from experiments import figures


def gst_stages(folder: Path) -> list[str]:
    """The commands of the README's documented order, on a small synthetic set in `folder`."""
    raw, processed, run = folder / "raw", folder / "processed", folder / "gst"
    return [
        f"-m crowd.synthetic --root {raw} --layout qnrf --images 80 --seed 1 --domain a",
        f"preprocess_dataset_ucf.py --layout qnrf --input-dataset-path {raw} "
        f"--output-dataset-path {processed}",
        "2dgs_counting_1gs_gsplat.py --config GS2D/config_synthetic_gsplat.yml "
        f"--root_path {processed}/train --num_epochs 500",
        f"GS2D/process_gaussians.py --folder {processed}/train/gs_params",
        "train_gs.py --model-name vgg_small --dataset synthetic "
        f"--config experiments/gst_synthetic_small.yml --data-dir {processed} --save-dir {run}",
        f"test.py --save-path {run}/best.pth --data-dir {processed} --output {run}/test",
    ]


def run(folder: str | Path) -> None:
    """Run every stage into `folder`, then draw its pictures. Raises `InputError` if one fails."""
    folder = Path(folder)
    started = time.monotonic()
    for stage in gst_stages(folder):
        print(f"\n$ python {stage}", flush=True)
        done = subprocess.run([sys.executable, *shlex.split(stage)], cwd=ROOT)
        if done.returncode:
            raise InputError(f"the demo stopped at 'python {stage}': see its message above")
    pictures = figures.draw_gst(folder / "processed", folder / "gst", folder / "pictures")
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes. Pictures:")
    for picture in pictures:
        print(f"  {picture}")
