"""Progress bars for everything that takes longer than two seconds, notes, worker processes."""

import functools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

from tqdm import tqdm

from crowd.io.errors import InputError, extra

Item, Result = TypeVar("Item"), TypeVar("Result")

# Set in all but one of several processes that do the same.
silent = False


def progress(items: Iterable | None = None, what: str = "", unit: str = "it", **options) -> tqdm:
    """Wrap `items` in a progress bar that appears after two seconds.

    On a terminal the bar redraws itself; in a log file it prints a line every 30 s at most.
    """
    options.setdefault("disable", silent)
    options.setdefault("mininterval", 0.1 if sys.stderr.isatty() else 30.0)
    return tqdm(items, desc=what, unit=unit, delay=2.0, dynamic_ncols=True, **options)


@functools.cache
def note(message: str) -> None:
    """Print what a user should know on stderr, once however often it is said."""
    if not silent:
        # As errors are: names come from files, and none may break the line.
        print(f"note: {InputError(message)}", file=sys.stderr)


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
            "a worker process died, probably out of memory: run again with fewer --workers"
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
