"""Synthetic data sets on disk, in the layouts of UCF-QNRF and ShanghaiTech."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.io import savemat

from crowd.errors import InputError
from crowd.files import atomic_path, write_text
from crowd.images import write_image
from crowd.progress import progress
from crowd.synthetic.domains import find_domain
from crowd.synthetic.scene import render_scene

RECORD = "synthetic.json"
_SMALLEST_SIDE = 64


def _write_mat(path: Path, **values) -> None:
    buffer = io.BytesIO()
    savemat(buffer, values)
    with atomic_path(path) as part:
        part.write_bytes(buffer.getvalue())


def _qnrf_paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    folder = root / split.capitalize()
    return folder / f"img_{index + 1:04d}.jpg", folder / f"img_{index + 1:04d}_ann.mat"


def _write_qnrf(path: Path, points: np.ndarray) -> None:
    _write_mat(path, annPoints=points)


def _sht_paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    folder = root / f"{split}_data"
    name = f"IMG_{index + 1}"
    return folder / "images" / f"{name}.jpg", folder / "ground_truth" / f"GT_{name}.mat"


def _write_sht(path: Path, points: np.ndarray) -> None:
    cell = np.empty((1, 1), dtype=object)
    cell[0, 0] = {"location": points, "number": np.array([[len(points)]], dtype=np.float64)}
    _write_mat(path, image_info=cell)


_LAYOUTS: dict[str, tuple[Callable, Callable]] = {
    "qnrf": (_qnrf_paths, _write_qnrf),
    "sht": (_sht_paths, _write_sht),
}
LAYOUTS = tuple(_LAYOUTS)


def make_dataset(
    root: str | os.PathLike,
    layout: str,
    images: int,
    seed: int,
    domain: str,
    *,
    test_images: int | None = None,
    size: tuple[int, int] = (680, 512),
) -> None:
    """Write a data set of synthetic crowds with exact head centres.

    A photo depends on seed, domain, split, number and size alone: a larger set holds the smaller
    one. What an interrupted call left is kept, and a second call writes nothing.

    Args:
        root: Folder of the data set.
        layout: "qnrf" (Train/, Test/) or "sht" (train_data/, test_data/).
        images: Number of training photos.
        seed: Seed of all photos, at least 0.
        domain: "a" (daylight street) or "b" (dusk, crowded, hazy).
        test_images: Number of test photos; by default half of `images`, rounded up.
        size: Width and height of the photos.

    Raises:
        InputError: layout or domain unknown, a number out of range, the folder not writable, or
            holding other data.
    """
    find_domain(domain)
    if layout not in _LAYOUTS:
        raise InputError(f"unknown layout '{layout}': choose one of {', '.join(LAYOUTS)}")
    test_images = (images + 1) // 2 if test_images is None else test_images
    _check_numbers(images, test_images, seed, size)
    root = Path(root)
    counts = {"train": images, "test": test_images}
    settings = {"layout": layout, "domain": domain, "seed": seed, "size": list(size)}
    paths, write_points = _LAYOUTS[layout]
    _claim(root, settings, {split: paths(root, split, 0)[0].parent for split in counts}, counts)
    wanted = [(split, index) for split, count in counts.items() for index in range(count)]
    for split, index in progress(wanted, f"{root.name} (domain {domain})", "photo"):
        photo, annotation = paths(root, split, index)
        # The annotation is written last, so it stands for both.
        if photo.exists() and annotation.exists():
            continue
        scene = render_scene(seed, domain, index, split, size)
        write_image(photo, scene.image, quality=92)
        write_points(annotation, scene.points.astype(np.float64))


def _check_numbers(images: int, test_images: int, seed: int, size: tuple[int, int]) -> None:
    if images < 0 or test_images < 0:
        raise InputError("the number of photos is negative: ask for 0 or more")
    if seed < 0:
        raise InputError(f"seed {seed} is negative: choose 0 or more")
    if min(size) < _SMALLEST_SIDE:
        raise InputError(
            f"photos of {size[0]} × {size[1]} pixels are too small: {_SMALLEST_SIDE} or more a side"
        )


def _claim(root: Path, settings: dict, folders: dict[str, Path], counts: dict[str, int]) -> None:
    """Make `root` ours: refuse to mix with other photos, then record what is being written."""
    record = root / RECORD
    if record.exists():
        try:
            found = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{record} is damaged: remove {root} and run again") from error
        if found != settings:
            raise InputError(f"{root} holds another synthetic set ({found}): choose another folder")
    for split, folder in folders.items():
        present = len(list(folder.glob("[!.]*.jpg"))) if folder.is_dir() else 0
        if present and not record.exists():
            raise InputError(f"{folder} holds photos that are not synthetic: choose another folder")
        if present > counts[split]:
            raise InputError(
                f"{folder} already holds {present} photos, more than the {counts[split]} asked for:"
                " choose another folder or ask for as many"
            )
    if not record.exists():
        write_text(record, json.dumps(settings) + "\n")
