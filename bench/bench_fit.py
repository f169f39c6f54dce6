"""Fits of real photos: seconds a photo, with 4000 iterations and stopped when the loss is flat.

    python -m bench fit --data FOLDER

Photos are prepared as for training and fitted one at a time with all threads. Flat means the
defaults of --flat_threshold and --flat_window. Scales are compared Gaussian by Gaussian and axis by
axis; the figure is the median of |stopped / full - 1|.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from bench.measure import bench_parser, write_record
from crowd.annotations import find_photos, read_photo
from crowd.data.resize import resize_photo
from crowd.io.errors import command
from crowd.io.progress import progress
from GS2D import Convergence, Gaussians, fit_gaussians

# Layout, folders that may hold it, and the bound of the short side that training uses.
SETS = (("brt", ("beijing_brt", "brt"), 360), ("ucf_cc_50", ("ucf_cc_50",), 512))
LARGEST = 2048


def prepared(photo: Path, layout: str, smallest: int) -> tuple[np.ndarray, np.ndarray]:
    """A photo and its heads at the size of training; heads outside the photo are left out."""
    image, points = read_photo(photo, layout)
    size = np.array(image.shape[1::-1])
    points = points[((points >= 0) & (points <= size)).all(axis=1)]
    image = resize_photo(image, smallest, LARGEST, "bilinear")
    return image, points * (np.array(image.shape[1::-1]) / size)


def timed_fit(image, points, convergence: Convergence | None) -> tuple[float, Gaussians]:
    """Seconds, and what was found."""
    started = time.perf_counter()
    fitted = fit_gaussians(image, points, quiet=True, convergence=convergence)
    return time.perf_counter() - started, fitted


def measure(photo: Path, layout: str, smallest: int) -> dict:
    """One line of the record."""
    image, points = prepared(photo, layout, smallest)
    full_seconds, full = timed_fit(image, points, None)
    seconds, stopped = timed_fit(image, points, Convergence())
    return {
        "set": layout,
        "photo": photo.name,
        "heads": len(points),
        "pixels": image.shape[0] * image.shape[1],
        "full_seconds": full_seconds,
        "stopped_seconds": seconds,
        "iterations": stopped.iterations,
        "loss_difference": total_loss(stopped) / total_loss(full) - 1.0,
        "scales_difference": float(np.median(np.abs(stopped.scales / full.scales - 1.0))),
    }


def total_loss(fitted: Gaussians) -> float:
    """What the fit minimises."""
    return fitted.render_loss + 0.2 * fitted.shape_loss


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a line a photo, write the record; skip sets that are not there."""
    parser = bench_parser("fit", __doc__.split("\n", 1)[0])
    parser.add_argument("--photos", type=int, default=3, help="of each set, evenly spaced by name")
    arguments = parser.read(argv)
    torch.set_num_threads(arguments.threads)
    lines = []
    for layout, names, smallest in SETS:
        root = next((p for p in (Path(arguments.data) / n for n in names) if p.is_dir()), None)
        if root is None:
            print(f"skipped: {arguments.data} has no folder {' or '.join(names)}")
            continue
        photos = [photo for split in find_photos(root, layout).values() for photo in split]
        picks = np.linspace(0, len(photos) - 1, arguments.photos + 2)[1:-1].round().astype(int)
        for pick in progress(picks, layout, "photo"):
            lines.append(measure(photos[pick], layout, smallest))
            print(
                "{set} {photo}: {heads} heads, {full_seconds:.1f} s; stopped after {iterations} "
                "iterations, {stopped_seconds:.1f} s, loss {loss_difference:+.2%}, scales "
                "{scales_difference:.2%}".format(**lines[-1]),
                flush=True,
            )
    if lines:
        write_record(arguments.output, lines=lines)


if __name__ == "__main__":
    main()
