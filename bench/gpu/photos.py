"""Photos for the trainings: preprocessed, splatted, and read to be kept in a device's memory."""

from __future__ import annotations

import importlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from bench.gpu.crops import Photo
from bench.gpu.stages import Context
from crowd.data.network_input import read_photo
from crowd.data.processed import read_annotation, split_photos
from crowd.io.files import write_text
from crowd.synthetic import make_dataset
from GS2D import jobs, process_gaussians
from GS2D.jobs import FitSettings, is_finished, photos_to_fit
from GS2D.store import FOLDER
from gst.dataset import read_heads
from gst.photos import Preprocessing, read_preprocessing

PARTS = {"a": "part_A", "b": "part_B"}
SIDE_BY_SIDE = 32


def parts_at_hand(context: Context) -> list[str]:
    """The parts of ShanghaiTech whose training photos are in a data folder, or were."""
    return [part for part in PARTS if processed(context, part, "train")]


def processed(context: Context, part: str, split: str) -> Path | None:
    """The processed set of a part, made where it is not; None when its photos are not at hand."""
    folder = context.work / f"{part}_{split}_processed"
    if (folder / "complete").exists():
        return folder
    found = context.find(f"{PARTS[part]}/{split}_data")
    if found is None:
        return None
    words = ["--layout", "sht", "--input-dataset-path", str(found.parent)]
    words += context.pick(["--workers", "16"], ["--min-size", "96", "--workers", "0"])
    preprocess = importlib.import_module("preprocess_dataset_ucf")
    preprocess.main([*words, "--output-dataset-path", str(folder)])
    write_text(folder / "complete", "")
    return folder


def fit_gaussians(context: Context, folder: Path) -> dict:
    """Splat the training photos that are not yet, make deformed Gaussians round; what it took."""
    backend = "gsplat" if context.rehearsal else "auto"
    iterations = context.pick(FitSettings.num_epochs, 3)
    settings = FitSettings(num_epochs=iterations, stop_when_flat=True, backend=backend)
    photos = [one for one in photos_to_fit(folder / "train") if not is_finished(one, settings)]
    started = time.perf_counter()
    jobs.compile_kernels(backend)
    jobs.fit_photos(photos, settings, context.pick(SIDE_BY_SIDE, 2))
    process_gaussians.main(["--folder", str(folder / "train" / FOLDER)])
    return {"photos": len(photos), "seconds": time.perf_counter() - started}


def training_photos(folder: Path, fitted: bool) -> list[Photo]:
    """The training photos with the heads that the loss needs."""
    how, photos = read_preprocessing(folder), []
    for path in split_photos(folder, "train"):
        points, scales, rotations, sides = read_heads(path, how, fitted)
        columns = points, scales, rotations[:, None], sides[:, None]
        heads = np.concatenate(columns, axis=1).astype(np.float32)
        photos.append(Photo(path.name, read_photo(path, how), heads))
    return photos


def counted_photos(folder: Path, split: str, how: Preprocessing) -> list[tuple]:
    """Photos of a split, each uint8 [H, W, 3], its count and its name."""
    return [
        (read_photo(path, how), len(read_annotation(path)), path.name)
        for path in split_photos(folder, split)
    ]


def draw(folders: Sequence[Path]) -> None:
    """Draw a tiny part A for a rehearsal, its halves in two folders as they travel."""
    whole = folders[0].parent / "drawn"
    make_dataset(whole, "sht", images=5, seed=0, domain="a", test_images=2, size=(128, 96))
    for folder, half in zip(folders, ("train_data", "test_data"), strict=True):
        shutil.copytree(whole / half, folder / PARTS["a"] / half, dirs_exist_ok=True)
