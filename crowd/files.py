"""Reading that explains itself and writing that is whole or absent."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from crowd.errors import InputError


def require_folder(path: str | os.PathLike, remedy: str) -> Path:
    """Return `path` as a Path; raise `InputError` with `remedy` when it is no folder."""
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path} is not a folder: {remedy}")
    return path


def require_file(path: str | os.PathLike, remedy: str) -> Path:
    """Return `path` as a Path; raise `InputError` with `remedy` when it is no file."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: {remedy}")
    return path


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`, and move it there only if the block succeeds.

    The temporary name keeps the suffix, so that writers which choose a format by it still work.
    A reader sees the old file or the new one, never a part; a full disk leaves no remains.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".part-", suffix=path.suffix)
    except OSError as error:
        raise InputError(
            f"cannot write in {path.parent} ({error.strerror}): choose a folder you may write to"
        ) from error
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with open(part, "rb") as file:
            os.fsync(file.fileno())
        os.chmod(part, 0o666 & ~_umask())
        os.replace(part, path)
    except OSError as error:
        raise InputError(
            f"{path} could not be written ({error.strerror or error}): make room and run the "
            "command again"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` (UTF-8) atomically."""
    with atomic_path(path) as part:
        part.write_text(text, encoding="utf-8")


def write_array(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write an `.npy` file atomically."""
    # Given a name, numpy would add `.npy` to one that lacks it.
    with atomic_path(path) as part, open(part, "wb") as file:
        np.save(file, array, allow_pickle=False)


def read_array(path: str | os.PathLike, remedy: str) -> np.ndarray:
    """Read an `.npy` file that holds numbers; raise `InputError` with `remedy` otherwise."""
    path = require_file(path, remedy)
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"{path} is not a readable array file: {remedy}") from error


def write_h5(path: str | os.PathLike, **datasets: np.ndarray) -> None:
    """Write named arrays to an h5 file (gzip) atomically."""
    with atomic_path(path) as part, h5py.File(part, "w") as file:
        for name, array in datasets.items():
            compression = "gzip" if np.size(array) else None
            file.create_dataset(name, data=array, compression=compression)


def read_h5(path: str | os.PathLike, name: str, remedy: str) -> np.ndarray:
    """Read one dataset of an h5 file; raise `InputError` when it is missing or cut short."""
    path = require_file(path, remedy)
    try:
        with h5py.File(path, "r") as file:
            if name not in file:
                raise InputError(f"{path} has no dataset '{name}': {remedy}")
            return file[name][()]
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path} is damaged or no h5 file: {remedy}") from error
