"""Worker processes: the same work on many photos, how workers begin, and how they end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from crowd.io.errors import InputError, extra
from crowd.io.progress import progress

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
    return list(progress(in_processes(function, items, workers, _start_photo_worker), **bar))


def in_processes(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    workers: int,
    start: Callable[[], None],
) -> Iterator[Result]:
    """Yield `function(item)` of each item, in order, from `workers` processes begun by `start`."""
    # Forking a process that has used threads may hang: fork one that has only done the imports.
    fresh = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if fresh else "spawn")
    if fresh:
        module = getattr(function, "func", function).__module__
        context.set_forkserver_preload(["__main__", module])
    try:
        with ProcessPoolExecutor(workers, context, initializer=start) as pool:
            yield from pool.map(function, items)
    except BrokenProcessPool as error:
        raise InputError(
            "a worker process died, most likely for want of memory: run again with fewer --workers"
        ) from error


def _start_photo_worker() -> None:
    start_worker()
    with extra("commands", "work on photos"):
        import cv2
    cv2.setNumThreads(1)


def start_worker() -> None:
    """Prepare a worker of a pool: leave Ctrl-C to the main process, and end when that is killed.

    Without this a worker whose main process got SIGKILL would finish what is queued and then wait
    for more for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
