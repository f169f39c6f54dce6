"""Functions compiled by numba, kept in its cache wherever there is a folder for one."""

import contextlib
import multiprocessing
import pickle
from collections.abc import Callable, Iterator

import numba

from crowd.io.progress import note


def njit(cache: bool = False, **options) -> Callable[[Callable], Callable]:
    """As `numba.njit`, but a cache that cannot be written or read costs time and nothing else.

    numba raises where code and home are read-only, as in containers, where the disk of the cache is
    full, and where a file of the cache is cut short.
    """

    def compiled(function: Callable) -> Callable:
        try:
            dispatcher = numba.njit(cache=cache, **options)(function)
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
            _say()
            return numba.njit(**options)(function)
        # Everything that touches the disk goes through this guard (of Windows' errors, in numba).
        if cache and hasattr(dispatcher, "_cache"):
            dispatcher._cache._guard_against_spurious_io_errors = _forgiving
        return dispatcher

    return compiled


@contextlib.contextmanager
def _forgiving() -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, pickle.UnpicklingError):
        _say()


def _say() -> None:
    if multiprocessing.parent_process() is None:  # workers would repeat it
        note(
            "compiled code cannot be kept, so that every process compiles it anew, up to a minute: "
            "set NUMBA_CACHE_DIR to a folder that you may write to"
        )
