"""The same work on many photos, in several processes."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

import cv2

from crowd.errors import InputError
from crowd.progress import progress

Item, Result = TypeVar("Item"), TypeVar("Result")


def map_photos(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, what: str
) -> list[Result]:
    """Return `function(item)` of each item, in `workers` processes where there are enough items.

    Raises the first item's `InputError`; what was finished by then stays done.
    """
    bar = {"what": what, "unit": "photo", "total": len(items)}
    # Starting processes takes as long as a few dozen photos.
    workers = min(workers, len(items) // 16)
    if workers < 2:
        return [function(item) for item in progress(items, **bar)]
    # Forking a process that has used threads may hang: fork one that has only done the imports.
    fresh = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if fresh else "spawn")
    if fresh:
        context.set_forkserver_preload(["__main__", type(items[0]).__module__])
    try:
        with ProcessPoolExecutor(workers, context, initializer=_start_worker) as pool:
            return list(progress(pool.map(function, items, chunksize=2), **bar))
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process died, most likely for want of memory: run again with fewer --workers"
        ) from error


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
