"""Fitting many photos: photos per minute with one and with two workers.

    python -m bench fit_workers

Copies of one drawn photo, so that all take the same time. Starting the workers takes seconds, which
a whole data set does not notice: the clock runs from when each worker has finished its first photo.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.bench_splatting import scene
from bench.measure import bench_parser, write_record
from crowd.errors import command
from crowd.files import write_array
from crowd.images import write_image
from GS2D import rasterize
from GS2D.jobs import FitSettings
from GS2D.store import gaussians_path
from GS2D.workers import compile_kernels, fit_photos

HEADS, SIGMA, WIDTH, HEIGHT = 300, 6.0, 1024, 768


def draw_photos(folder: Path, number: int) -> list[Path]:
    """Write `number` copies of a drawn photo with its heads."""
    gaussians = scene(HEADS, SIGMA, WIDTH, HEIGHT, seed=0)
    image, _ = rasterize(*gaussians[:4], WIDTH, HEIGHT)
    photos = [folder / f"{i}.jpg" for i in range(number)]
    for photo in photos:
        write_image(photo, image)
        write_array(photo.with_suffix(".npy"), gaussians[0].clip(0, [WIDTH, HEIGHT]))
    return photos


def photos_per_minute(photos: Sequence[Path], iterations: int, workers: int) -> float:
    """Rate of all photos but the first of each worker, by when their Gaussians were written."""
    fit_photos(photos, FitSettings(num_epochs=iterations), workers)
    written = sorted(gaussians_path(photo).stat().st_mtime_ns for photo in photos)
    return 60e9 * (len(photos) - workers) / (written[-1] - written[workers - 1])


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print, write the record."""
    parser = bench_parser("fit_workers", __doc__.split("\n", 1)[0], threads=None)
    parser.add_argument("--photos", type=int, default=10)
    parser.add_argument("--iterations", type=int, default=1000)
    arguments = parser.read(argv)
    lines = []
    compile_kernels("auto")
    with tempfile.TemporaryDirectory() as folder:
        photos = draw_photos(Path(folder), arguments.photos)
        for workers in (1, 2):
            rate = photos_per_minute(photos, arguments.iterations, workers)
            lines.append({"workers": workers, "photos_per_minute": rate})
    ratio = lines[1]["photos_per_minute"] / lines[0]["photos_per_minute"]
    for line in lines:
        print("{workers} workers: {photos_per_minute:.1f} photos/min".format(**line))
    print(f"ratio {ratio:.2f} ({arguments.iterations} iterations, {HEADS} heads a photo)")
    scene_of = {"heads": HEADS, "sigma": SIGMA, "width": WIDTH, "height": HEIGHT}
    scene_of |= {"photos": arguments.photos, "iterations": arguments.iterations}
    write_record(arguments.output, **scene_of, lines=lines, ratio=ratio)


if __name__ == "__main__":
    main()
