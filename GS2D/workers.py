"""Fitting many photos: processes of one thread each, or one process with several threads."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import torch

from crowd.errors import InputError
from crowd.progress import progress
from crowd.workers import start_worker
from GS2D.fitting import fit_gaussians
from GS2D.jobs import FitSettings, fit_photo


def fit_photos(photos: Sequence[Path], settings: FitSettings, workers: int) -> None:
    """Fit every photo and write its Gaussians.

    Photos are spread over `workers` processes; a single photo, or a fit on a GPU, stays in this
    process. What is finished when an error or a kill ends the run stays, whole.
    """
    _compile(settings)
    count = min(workers, len(photos))
    finished = _in_this_process if count < 2 or settings.backend == "gsplat" else _in_processes
    started = time.monotonic()
    with progress(total=len(photos), what="fitting", unit="photo") as bar:
        for number, _ in enumerate(finished(photos, settings, workers), start=1):
            rate = 60.0 * number / (time.monotonic() - started)
            bar.set_postfix_str(f"{rate:.1f} photos/min", refresh=False)
            bar.update()


def _in_this_process(photos, settings, workers) -> Iterator[None]:
    torch.set_num_threads(workers)
    for photo in photos:
        fit_photo(photo, settings, quiet=len(photos) > 1)
        yield


def _in_processes(photos, settings, workers) -> Iterator[None]:
    # Forking a process that has used threads may hang: fork one that has only done the imports.
    fresh = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if fresh else "spawn")
    if fresh:
        context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(min(workers, len(photos)), context, _start_worker) as pool:
        try:
            for done in as_completed([pool.submit(fit_photo, p, settings) for p in photos]):
                done.result()
                yield
        except BrokenProcessPool as error:
            raise InputError(
                "a worker process died, most likely for want of memory: run the command again "
                "with fewer --workers"
            ) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start_worker() -> None:
    start_worker()
    torch.set_num_threads(1)


def _compile(settings: FitSettings) -> None:
    """Compile the kernels here, once, so that the workers find them in the cache."""
    with _said_after(2.0, "compiling the kernels, which is done once and takes up to a minute"):
        black, point = np.zeros((8, 8, 3), np.uint8), np.full((1, 2), 4.0)
        fit_gaussians(black, point, 1, backend=settings.backend, quiet=True)


@contextlib.contextmanager
def _said_after(seconds: float, message: str) -> Iterator[None]:
    timer = threading.Timer(seconds, print, [message], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def rank_and_size() -> tuple[int, int]:
    """Which of how many processes this is: torchrun starts one a GPU, otherwise there is one."""
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
