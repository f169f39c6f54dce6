"""The README's pictures: of drawn scenes from the demo's output, of real ones from the data."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from crowd import pictures
from crowd.errors import InputError
from crowd.files import atomic_path
from crowd.photo_jobs import process_photo
from crowd.processed import split_photos
from experiments import demo, figures
from experiments.runner import fill_in
from experiments.tables import read_rows
from GS2D.jobs import FitSettings, fit_photo
from gst.preprocess import GaussianJob

IMAGES = Path("image")
# Picture of the README -> what the demo calls it.
DRAWN = {
    "gst_gaussians.jpg": "gaussians.jpg",
    "gst_kernel.jpg": "kernel.jpg",
    "gst_density.jpg": "density_2.jpg",
    "mgot_clusters.png": "mgot_target_clusters.png",
    "mgot_matches.jpg": "mgot_matches.jpg",
    "mgot_peaks.jpg": "mgot_peaks_1.jpg",
}
DENSE_SET, DENSE_PHOTO = "ucf_cc_50", "11"
LOSSES = "synthetic_losses"
COMPARED = ("bayesian", "background_100", "gst", "gaussian")


def draw_all(data: Path, demo_folder: Path, output: Path) -> tuple[list[Path], list[str]]:
    """Draw every picture of the README whose scenes are on this machine.

    Args:
        data: folder of the data sets; the dense photo is in `ucf_cc_50` below it, the drawn
            streets of the losses' table in `synthetic_a_processed`.
        demo_folder: what `make demo` wrote.
        output: folder of the pictures.

    Returns:
        the pictures drawn, and a sentence for each group that could not be.
    """
    drawn, missing = [], []
    for draw, source in ((draw_demo, demo_folder), (draw_dense, data), (draw_losses, data)):
        try:
            drawn += draw(source, output)
        except InputError as error:
            missing.append(str(error))
    return drawn, missing


def draw_demo(folder: Path, output: Path) -> list[Path]:
    """Draw what the README shows of the demo; raise `InputError` when it was not run to its end."""
    work = folder / "mgot" / "mgot_synthetic"
    if not (folder / "gst" / "test" / "metrics.json").is_file() or not work.is_dir():
        raise InputError(f"{folder}/ holds no finished demo: run make demo first")
    figures.draw_gst(folder / "processed", folder / "gst", folder / "pictures")
    demo.collect_mgot(work, folder / "pictures")
    for name, source in DRAWN.items():
        with atomic_path(output / name) as part:
            shutil.copyfile(folder / "pictures" / source, part)
    return [output / name for name in DRAWN]


def draw_dense(data: Path, output: Path) -> list[Path]:
    """Fit the dense photo and draw its Gaussians and kernel; raise `InputError` without it."""
    photo = data / DENSE_SET / f"{DENSE_PHOTO}.jpg"
    if not photo.is_file():
        raise InputError(f"{photo} is not on this machine: name the data sets' folder with --data")
    name = f"{DENSE_SET}_{DENSE_PHOTO}"
    drawn = [output / f"{name}_gaussians.jpg", output / f"{name}_kernel.jpg"]
    with tempfile.TemporaryDirectory() as folder:
        processed = Path(folder) / photo.name
        process_photo(GaussianJob(photo=photo, layout=DENSE_SET, output=processed, distances=True))
        fit_photo(processed, FitSettings(), quiet=False)
        figures.draw_fit(drawn[0], processed)
        figures.draw_kernel(drawn[1], processed)
    return drawn


def draw_losses(data: Path, output: Path) -> list[Path]:
    """Draw what counters of different losses make of one street, from the first runs of the table.

    Raises `InputError` when the table was not run here.
    """
    rows = [row for name in COMPARED for row in read_rows(f"{LOSSES}/{name}")]
    checkpoints = [Path(fill_in(f"{row.run}/best.pth", row, 1)) for row in rows]
    for path in checkpoints:
        if not path.is_file():
            raise InputError(f"{path} is not here: run python -m experiments run {LOSSES} first")
    photo = figures.busy_photo(split_photos(data / "synthetic_a_processed", "test"))
    sheet = figures.density_sheet(photo, [row.title for row in rows], checkpoints)
    path = output / "streets_density.jpg"
    pictures.contact_sheet(path, *sheet, columns=2)
    return [path]
