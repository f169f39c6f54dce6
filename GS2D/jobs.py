"""Fitting a folder of photos: what is finished, processes or a GPU, Gaussians and losses out."""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from crowd.data.folders import list_images
from crowd.data.images import open_image, read_orientation, read_size
from crowd.data.layouts.points import upright_size
from crowd.data.processed import read_annotation
from crowd.data.stage import origin, read_record, record_path, write_record
from crowd.io.errors import InputError, Refused
from crowd.io.files import csv_text, write_text
from crowd.io.progress import in_processes, note, progress, start_worker
from crowd.train.distributed import take_gpu
from GS2D import Convergence
from GS2D.arguments import SIDE_BY_SIDE
from GS2D.fitting import Gaussians, Schedule, fit_gaussians, fit_side_by_side
from GS2D.rasterizer import choose_backend
from GS2D.store import (
    FOLDER,
    Report,
    backup_path,
    gaussians_path,
    read_gaussians,
    read_report,
    stand_at,
    write_gaussians,
)

LOSS_TABLE = "loss_results.csv"


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """What the result of a fit depends on, beside photo and points: keys of the configuration."""

    num_epochs: int = 4000
    learning_rate: float = 0.01
    use_bk_mask: bool = True
    seed: int = 0
    downsample_ratio: float = 1.0
    stop_when_flat: bool = False
    flat_threshold: float = Convergence.threshold
    flat_window: int = Convergence.window
    backend: str = "auto"

    def deciding(self) -> dict:
        """The keys that change what is found: all backends compute the same."""
        values = dataclasses.asdict(self)
        del values["backend"]
        if not self.stop_when_flat:
            del values["flat_threshold"], values["flat_window"]
        return values


def photos_to_fit(folder: Path) -> list[Path]:
    """All photos of `folder`, each with an annotation that fits it; raises `InputError` else."""
    photos = list_images(folder)
    if not photos:
        raise InputError(f"{folder} holds no photos: set root_path to a folder that does")
    names: dict[str, Path] = {}
    for photo in progress(photos, "checking", "photo"):
        if names.setdefault(photo.stem, photo) is not photo:
            raise InputError(f"{names[photo.stem]} and {photo.name} share a name: rename one")
        read_points(photo)
    return photos


def photo_size(photo: Path) -> tuple[int, int]:
    """Width and height of the upright photo, without decoding its pixels."""
    return upright_size(read_size(photo), read_orientation(photo))


def read_points(photo: Path) -> np.ndarray:
    """Points float32 [N, 2] of `NAME.npy` beside the photo, all inside the photo."""
    return read_annotation(photo, size=photo_size(photo))[:, :2]


def is_finished(photo: Path, settings: FitSettings) -> bool:
    """Whether whole Gaussians stand at the points, fitted to the photo and annotation as they are.

    Raises `InputError` when they were fitted with other settings. Those that no fit is recorded of
    come from elsewhere: they count as finished, and `InputError` says which file is damaged or of
    other heads, since nobody asked to lose it.
    """
    path = gaussians_path(photo)
    known, again = read_record(record_path(path)), "fit all photos again with --overwrite"
    if not path.is_file():
        return False
    if not known:
        if stand_at(read_gaussians(path), read_points(photo)):
            return True
        raise InputError(
            f"{path} was not fitted here and does not have its Gaussians at the heads of "
            f"{photo.name}: remove it, or {again}"
        )
    # What the record of an earlier version lacks had its default.
    was, wanted = FitSettings().deciding() | known["settings"], settings.deciding()
    for name in was | wanted:
        if was.get(name) != wanted.get(name):
            raise InputError(
                f"{path} was fitted with {name} {was.get(name)}, not {wanted.get(name)}: keep to "
                f"that, or {again}"
            )
    try:
        same = known["sources"] == _origin(photo, settings)["sources"]
        return same and stand_at(read_gaussians(path), read_points(photo))
    except Refused:
        raise
    except (FileNotFoundError, InputError):
        return False


def begin(photo: Path, settings: FitSettings) -> None:
    """Record that a photo's Gaussians, whatever stands there, are still to be fitted."""
    write_record(record_path(gaussians_path(photo)), origin(settings.deciding(), []))


def _origin(photo: Path, settings: FitSettings) -> dict:
    """What a photo's Gaussians are made from (`crowd.data.stage`)."""
    return origin(settings.deciding(), [photo, photo.with_suffix(".npy")])


def fit_together(photos: Sequence[Path], settings: FitSettings, quiet: bool = True) -> list[Report]:
    """Fit photos and write their Gaussians: side by side on a GPU, in turn elsewhere."""
    origins = [_origin(photo, settings) for photo in photos]
    flat = None
    if settings.stop_when_flat:
        flat = Convergence(settings.flat_threshold, settings.flat_window)
    fitted = fit_side_by_side(
        [_scaled_photo(photo, settings.downsample_ratio) for photo in photos],
        Schedule(settings.num_epochs, settings.learning_rate, flat),
        settings.backend,
        settings.seed,
        settings.use_bk_mask,
        quiet,
    )
    return [_write(*one, settings) for one in zip(photos, origins, fitted, strict=True)]


def _scaled_photo(photo: Path, ratio: float) -> tuple[np.ndarray, np.ndarray]:
    image, points = open_image(photo), read_points(photo)
    if ratio != 1:
        size = image.size
        image = image.resize([max(1, round(side / ratio)) for side in size], Image.BOX)
        # Each axis by its own factor, so that heads follow the rounding of the side they lie on.
        points = (points * np.divide(image.size, size)).astype(np.float32)
    return np.asarray(image), points


def _write(photo: Path, made_from: dict, fitted: Gaussians, settings: FitSettings) -> Report:
    """Write the Gaussians in pixels of the photo."""
    params = fitted.as_params()
    params[:, :2] = read_points(photo)
    params[:, 2:4] *= settings.downsample_ratio
    if not np.isfinite(params).all():
        raise InputError(
            f"the fit of {photo} diverged: choose a learning_rate below {settings.learning_rate:g}"
        )
    path = gaussians_path(photo)
    report = Report(fitted.render_loss, fitted.shape_loss, fitted.iterations)
    # Without it a process killed before the end would leave Gaussians as if from elsewhere.
    begin(photo, settings)
    # Deformity elimination keeps what it read there: of an earlier fit now.
    backup_path(path).unlink(missing_ok=True)
    write_gaussians(path, params, report)
    write_record(record_path(path), made_from)
    return report


def write_loss_table(folder: Path) -> None:
    """Write `gs_params/loss_results.csv` from the report that every photo's file holds."""
    rows = []
    for photo in list_images(folder):
        # A damaged file may be one that this run, or another process, has yet to fit again.
        with contextlib.suppress(InputError):
            report = read_report(gaussians_path(photo))
            rows.append([photo.name, *(f"{value:.6g}" for value in report)])
    columns = "File Name", "Render_Loss", "Shape_Loss", "Iterations"
    write_text(folder / FOLDER / LOSS_TABLE, csv_text(columns, rows))


def compile_kernels(backend: str) -> None:
    """Compile the kernels here, once, so that the workers find them in the cache.

    Under torchrun a fit on GPUs takes the one of this process before. Raises `InputError` when the
    backend cannot be used on this machine, or there are more processes than GPUs.
    """
    if choose_backend(backend, torch.cuda.is_available()) == "gsplat":
        take_gpu()
    black, point = np.zeros((8, 8, 3), np.uint8), np.full((1, 2), 4.0)
    note("starting; the first time the kernels are compiled, which takes up to a minute")
    fit_gaussians(black, point, 1, backend=backend, quiet=True)


def fit_photos(
    photos: Sequence[Path], settings: FitSettings, workers: int | None = None
) -> list[Report]:
    """Fit every photo, write its Gaussians, and return how the fits ended, in any order.

    Photos are spread over `workers` processes of one thread each (default: as many as cores). A
    single photo stays in this process, and so does a fit on a GPU, which takes `workers` photos at
    a time (default: 32). What is finished when an error or a kill ends the run stays, whole.
    `compile_kernels` comes first, once.
    """
    if choose_backend(settings.backend, torch.cuda.is_available()) == "gsplat":
        workers = workers or SIDE_BY_SIDE
        # Photos of a group are padded to one size: let them be alike.
        photos = sorted(photos, key=photo_size)
        groups = [photos[first : first + workers] for first in range(0, len(photos), workers)]
        processes = 1
    else:
        workers = workers or os.cpu_count() or 1
        groups, processes = [[photo] for photo in photos], min(workers, len(photos))
        if processes == 1:
            torch.set_num_threads(workers)
    fit = functools.partial(fit_together, settings=settings, quiet=len(groups) > 1)
    done = in_processes(fit, groups, processes, _start) if processes > 1 else map(fit, groups)
    reports = []
    with progress(total=len(photos), what="fitting", unit="photo") as bar:
        for group in done:
            reports += group
            bar.update(len(group))
    return reports


def _start() -> None:
    start_worker()
    torch.set_num_threads(1)
