"""A folder that one process at a time may write."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from crowd.io.errors import InputError
from crowd.io.progress import note


@contextlib.contextmanager
def alone(folder: Path, what: os.PathLike | None = None) -> Iterator[None]:
    """Lock a folder, which is made if need be, while the block runs.

    Raises `InputError` saying that `what` (default: the folder) cannot be written, or that another
    process does so. The system takes the lock of a process that was killed away.
    """
    what = what or folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(f"{what} could not be written: {error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise InputError(f"{what} is being written by another process: wait for it") from error
    except OSError:
        note(f"the disk of {what} grants no locks: let no second command write it meanwhile")
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # which processes that were forked hold, too
        os.close(handle)
