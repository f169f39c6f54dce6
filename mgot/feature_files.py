"""Feature files: the predicted map of every patch, `features [n, 1, 1, 224, 224]`, and `paths`.

`paths` are the patches' file names in ascending order, relative to their folder, so that data may
be moved. The authors' files, which hold whole paths, are read too.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np

from crowd.errors import InputError
from crowd.files import LARGEST_ARRAY, require_file, require_own
from crowd.progress import progress
from mgot.arrays import LARGEST_VALUE, PATCH_SIDE, within_range

SHAPE = (1, 1, PATCH_SIDE, PATCH_SIDE)
REMEDY = "write it with python -m mgot.features"
READ_BLOCK = 256


class Features:
    """An open feature file.

    Attributes:
        path: of the file.
        names: of the patches.
        values: the h5 dataset, read when it is indexed.
    """

    def __init__(self, path: Path, names: list[str], values: h5py.Dataset):
        self.path, self.names, self.values = path, names, values

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, indices: Sequence[int]) -> Rows:
        """View some patches without reading them."""
        return Rows(self, np.asarray(indices, dtype=np.int64))

    def all(self) -> Rows:
        """View all patches without reading them."""
        return self.rows(np.arange(len(self)))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Read patches, float32 `[n, 50176]`.

        Raises `InputError` naming the first patch whose values are not finite or far outside a
        FIDT map's range.
        """
        indices = np.asarray(indices, dtype=np.int64)
        values = np.empty((len(indices), PATCH_SIDE**2), np.float32)
        starts = range(0, len(indices), READ_BLOCK)
        for first in progress(starts, f"reading {self.path.name}", "block"):
            part = indices[first : first + READ_BLOCK]
            values[first : first + len(part)] = self.block(part)
        return values

    def block(self, indices: np.ndarray) -> np.ndarray:
        """As `read`, without a progress bar."""
        # One read for neighbours, one a patch otherwise: h5py is slow at lists of indices.
        together = len(indices) and (np.diff(indices) == 1).all()
        parts = [slice(indices[0], indices[-1] + 1)] if together else indices
        try:
            blocks = [self.values[part].reshape(-1, PATCH_SIDE**2) for part in parts]
        except (OSError, RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise InputError(f"{self.path} is damaged: {REMEDY}") from error
        values = np.concatenate(blocks) if blocks else np.zeros((0, PATCH_SIDE**2), np.float32)
        within = within_range(values)
        if not within.all():
            name = self.names[indices[int(np.argmin(within))]]
            raise InputError(
                f"{self.path} holds NaN or values beyond ±{LARGEST_VALUE:.0f} for {name}: extract "
                "the features again with a model that has not diverged"
            )
        return values


class Rows:
    """Some patches of a feature file, `[n, 1, 1, 224, 224]`, read a slice at a time."""

    def __init__(self, features: Features, indices: np.ndarray):
        self.features, self.indices = features, indices
        self.shape = (len(indices), *SHAPE)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: slice) -> np.ndarray:
        return self.features.block(self.indices[place]).reshape(-1, *SHAPE)


@contextlib.contextmanager
def open_features(path: str | os.PathLike) -> Iterator[Features]:
    """Open a feature file for reading.

    Raises:
        InputError: no such file; no h5 file or one cut short; a dataset missing, empty, of another
            shape or type; as many paths as features are needed.
    """
    path = require_file(path, REMEDY)
    with contextlib.ExitStack() as stack:
        try:
            features = _features(path, stack.enter_context(h5py.File(path, "r")))
        except InputError:
            raise
        # h5py turns a damaged structure into almost any exception.
        except Exception as error:
            raise InputError(f"{path} is cut short or no h5 file: {REMEDY}") from error
        yield features


def _features(path: Path, file: h5py.File) -> Features:
    missing = [name for name in ("features", "paths") if name not in file]
    if missing:
        raise InputError(f"{path} has no dataset '{missing[0]}': {REMEDY}")
    for name in ("features", "paths"):
        require_own(file, name, REMEDY)
    values = file["features"]
    if math.prod(values.shape[1:]) != PATCH_SIDE**2 or values.dtype.kind != "f":
        raise InputError(
            f"{path}: features are {values.dtype} {list(values.shape)}, not float32 "
            f"[n, 1, 1, {PATCH_SIDE}, {PATCH_SIDE}]: {REMEDY}"
        )
    names = _names(file)
    if not names or len(names) != len(values):
        raise InputError(f"{path} holds {len(values)} features and {len(names)} paths: {REMEDY}")
    return Features(path, names, values)


@contextlib.contextmanager
def named(path: str | os.PathLike) -> Iterator[None]:
    """Put the file's name before the message of an `InputError` about its values."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def write_features(
    path: str | os.PathLike,
    names: Sequence[str],
    recipe: str,
    compute: Callable[[int, int], np.ndarray],
    block: int = 16,
) -> int:
    """Compute and write features block by block; memory holds one block.

    The values go to `path` + ".part", laid out on disk beforehand with a count of the finished
    patches, so that a process killed at any moment leaves a file from which the next one continues.

    Args:
        path: file to write.
        names: of the patches.
        recipe: what the values depend on beside the names; a file of another recipe is not
            continued but begun again.
        compute: from `first, last` to the values of these patches, 224 × 224 each.
        block: patches at a time.

    Returns:
        The number of patches computed; 0 when the file was there already.

    Raises:
        InputError: the folder is not writable, the disk is full, another process writes the same
            file, or a model put out values that are not finite.
    """
    path = Path(path)
    if is_whole(path, names, recipe):
        return 0
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _open_part(part, names, recipe) as file:
            done = int(file["finished"][()])
            for first in _starts(done, len(names), block):
                last = min(first + block, len(names))
                _write_block(file, first, last, _finite(compute(first, last), names[first:last]))
        os.replace(part, path)
    except BlockingIOError as error:
        raise InputError(f"{part} is being written by another process: wait for it") from error
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise InputError(
            f"{part} could not be written ({reason}): make room and run the command again"
        ) from error
    return len(names) - done


def _starts(done: int, total: int, block: int) -> Iterator[int]:
    with progress(total=total, what="features", unit="patch", initial=done) as bar:
        for first in range(done, total, block):
            yield first
            bar.update(min(block, total - first))


def _write_block(file: h5py.File, first: int, last: int, values: np.ndarray) -> None:
    """Write the values, and only when they are on disk the count that vouches for them."""
    file["features"][first:last] = values.reshape(-1, *SHAPE)
    _flush(file)
    file["finished"][()] = last
    _flush(file)


def _flush(file: h5py.File) -> None:
    file.flush()
    os.fsync(file.id.get_vfd_handle())


def _finite(values: np.ndarray, names: Sequence[str]) -> np.ndarray:
    finite = np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if not finite.all():
        raise InputError(
            f"the model puts out NaN or infinite values for {names[int(np.argmin(finite))]}: use "
            "a checkpoint that has not diverged"
        )
    return values


def _open_part(part: Path, names: Sequence[str], recipe: str) -> h5py.File:
    """Open what an interrupted call left if it fits; begin anew otherwise."""
    try:
        file = h5py.File(part, "r+")
    except BlockingIOError:  # locked by a process that still writes
        raise
    except OSError:
        return _new_part(part, names, recipe)
    if _fits(file, names, recipe):
        return file
    file.close()
    return _new_part(part, names, recipe)


def _new_part(part: Path, names: Sequence[str], recipe: str) -> h5py.File:
    # Before h5py opens it: where the disk is full, closing an h5 file crashes Python.
    _require_room(part, len(names))
    file = h5py.File(part, "w")
    file.attrs["recipe"] = recipe
    file["paths"] = np.array([os.fsencode(name) for name in names])
    file["finished"] = np.int64(0)
    # All space is laid out now, so that writing values later leaves the file's structure alone.
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    space = h5py.h5s.create_simple((len(names), *SHAPE))
    values = h5py.h5d.create(file.id, b"features", h5py.h5t.IEEE_F32LE, space, dcpl=properties)
    _flush(file)
    # Nobody else shall take the room while the values are computed.
    _reserve(file.id.get_vfd_handle(), values.get_offset(), values.get_storage_size())
    return file


def _require_room(part: Path, patches: int) -> None:
    """Raise OSError when the disk has no room for the features of that many patches."""
    with open(part, "wb") as file:
        try:
            _reserve(file.fileno(), 0, 4 * int(np.prod(SHAPE)) * patches + 2**20)
        except OSError:
            part.unlink()
            raise


def _reserve(file: int, offset: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):  # macOS has none
        os.posix_fallocate(file, offset, size)


def is_whole(path: Path, names: Sequence[str], recipe: str) -> bool:
    """Whether `path` holds the features of these patches, all of them, made by this recipe."""
    try:
        with h5py.File(path, "r") as file:
            return _fits(file, names, recipe) and int(file["finished"][()]) == len(names)
    except Exception:  # as in _fits
        return False


def _fits(file: h5py.File, names: Sequence[str], recipe: str) -> bool:
    try:
        whole = all(name in file for name in ("features", "paths", "finished"))
        return whole and file.attrs.get("recipe") == recipe and _names(file) == list(names)
    except Exception:  # h5py's answer to a damaged structure may be any
        return False


def _names(file: h5py.File) -> list[str]:
    """Names of the patches; none where `paths` holds something else than strings."""
    paths = file["paths"]
    if paths.nbytes > LARGEST_ARRAY:
        return []
    names = np.ravel(paths[()])
    return [os.fsdecode(name) for name in names if isinstance(name, bytes)]
