"""Fitting many photos: processes of one thread each, or one process with several threads."""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from crowd.io.progress import progress
from crowd.io.workers import in_processes, start_worker
from crowd.train.distributed import take_gpu
from GS2D.fitting import fit_gaussians
from GS2D.jobs import FitSettings, fit_photo, fit_together, photo_size
from GS2D.rasterizer import choose_backend
from GS2D.store import Report


def compile_kernels(backend: str) -> None:
    """Compile the kernels here, once, so that the workers find them in the cache.

    Under torchrun a fit on GPUs takes the one of this process before. Raises `InputError` when the
    backend cannot be used on this machine, or there are more processes than GPUs.
    """
    if torch.cuda.is_available() and choose_backend(backend, on_cuda=True) == "gsplat":
        take_gpu()
    with _said_after(2.0, "compiling the kernels, which is done once and takes up to a minute"):
        black, point = np.zeros((8, 8, 3), np.uint8), np.full((1, 2), 4.0)
        fit_gaussians(black, point, 1, backend=backend, quiet=True)


def fit_photos(photos: Sequence[Path], settings: FitSettings, workers: int) -> list[Report]:
    """Fit every photo, write its Gaussians, and return how the fits ended, in any order.

    Photos are spread over `workers` processes. A single photo stays in this process, and so does a
    fit on a GPU, which takes `workers` photos at a time. What is finished when an error or a kill
    ends the run stays, whole. `compile_kernels` comes first, once.
    """
    on_gpu = choose_backend(settings.backend, torch.cuda.is_available()) == "gsplat"
    if on_gpu:
        finished = _side_by_side
    else:
        finished = _in_processes if min(workers, len(photos)) > 1 else _in_this_process
    started, reports = time.monotonic(), []
    with progress(total=len(photos), what="fitting", unit="photo") as bar:
        for report in finished(photos, settings, workers):
            reports.append(report)
            rate = 60.0 * len(reports) / (time.monotonic() - started)
            bar.set_postfix_str(f"{rate:.1f} photos/min", refresh=False)
            bar.update()
    return reports


def _in_this_process(photos, settings, workers) -> Iterator[Report]:
    torch.set_num_threads(workers)
    for photo in photos:
        yield fit_photo(photo, settings, quiet=len(photos) > 1)


def _side_by_side(photos, settings, workers) -> Iterator[Report]:
    # Photos of a group are padded to one size: let them be alike.
    photos = sorted(photos, key=photo_size)
    for first in range(0, len(photos), workers):
        group = photos[first : first + workers]
        yield from fit_together(group, settings, quiet=len(photos) > workers)


def _in_processes(photos, settings, workers) -> Iterator[Report]:
    fit = functools.partial(fit_photo, settings=settings)
    return in_processes(fit, photos, min(workers, len(photos)), _start_worker)


def _start_worker() -> None:
    start_worker()
    torch.set_num_threads(1)


@contextlib.contextmanager
def _said_after(seconds: float, message: str) -> Iterator[None]:
    timer = threading.Timer(seconds, print, [message], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
