"""h5 files: written whole or not at all, read without a lock, a part of another file refused."""

import contextlib
import os
from collections.abc import Iterator

import h5py
import numpy as np

from crowd.io.errors import InputError
from crowd.io.files import LARGEST_ARRAY, require_file, unreadable, write_bytes


def write_h5(path: str | os.PathLike, **datasets: np.ndarray) -> None:
    """Write named arrays to an h5 file (gzip) atomically."""
    # In memory first: where the disk is full, closing an h5 file crashes Python.
    with h5py.File(os.fspath(path), "w", driver="core", backing_store=False) as file:
        for name, array in datasets.items():
            compression = "gzip" if np.size(array) else None
            file.create_dataset(name, data=array, compression=compression)
        file.flush()
        content = file.id.get_file_image()
    write_bytes(path, content)


def read_h5(path: str | os.PathLike, name: str, remedy: str) -> np.ndarray:
    """Read one dataset of an h5 file.

    Raises `InputError` when it is missing, cut short, no array of numbers, or above 2 GiB.
    """
    with open_h5(path, remedy) as file:
        return read_dataset(file, name, remedy)


@contextlib.contextmanager
def open_h5(path: str | os.PathLike, remedy: str) -> Iterator[h5py.File]:
    """Open an h5 file for reading; raise `InputError` when it, or what is read, is damaged."""
    with h5_to_read(path, remedy) as file, reading(path, remedy):
        yield file


@contextlib.contextmanager
def reading(path: str | os.PathLike, remedy: str) -> Iterator[None]:
    """Turn what h5py makes of a damaged structure, almost any exception, into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise unreadable(path, error, f"is damaged or no h5 file: {remedy}") from error


def h5_to_read(path: str | os.PathLike, remedy: str) -> h5py.File:
    """Open an h5 file for reading, without a lock; raise `InputError` when it is damaged.

    Files are replaced whole (`atomic_path`), never written while they are read: a lock would only
    fail where another program holds the file open, or where the disk grants none.
    """
    path = require_file(path, remedy)
    with reading(path, remedy):
        return h5py.File(path, "r", locking=False)


def read_dataset(file: h5py.File, name: str, remedy: str) -> np.ndarray:
    """Read a dataset of numbers of an open file; raise `InputError` as `read_h5` does."""
    if name not in file:
        raise InputError(f"{file.filename} has no dataset '{name}': {remedy}")
    require_own(file, name, remedy)
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.dtype.kind not in "iufb":
        raise InputError(f"{file.filename}: '{name}' holds values that are not numbers: {remedy}")
    # A few bytes of compressed or absent chunks may stand for any size.
    if dataset.nbytes > LARGEST_ARRAY:
        raise InputError(
            f"{file.filename}: '{name}' would take {dataset.nbytes / 2**30:.0f} GiB, more than any "
            f"such array needs: {remedy}"
        )
    return dataset[()]


def require_own(file: h5py.File, name: str, remedy: str) -> None:
    """Raise `InputError` for a dataset whose values lie in another file that this one names."""
    dataset = file.get(name, getlink=True)
    away = isinstance(dataset, h5py.ExternalLink)
    if not away and isinstance(file[name], h5py.Dataset):
        away = file[name].external is not None or file[name].is_virtual
    if away:
        raise InputError(f"{file.filename}: '{name}' lies in another file: {remedy}")
