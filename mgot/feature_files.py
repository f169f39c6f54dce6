"""Feature files: the predicted map of every patch, `features [n, 1, 1, 224, 224]`, and `paths`.

`paths` are the patches' file names in ascending order, relative to their folder, so that data may
be moved. The authors' files, which hold whole paths, are read too.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import h5py
import numpy as np
import torch

from crowd.io.errors import InputError
from crowd.io.files import LARGEST_ARRAY, is_refusal, lock_fault, unreadable
from crowd.io.h5 import h5_to_read, require_own
from crowd.io.progress import note, progress
from crowd.train.distributed import (
    all_reduce_sum,
    is_main_process,
    rank_and_world_size,
    wait_for_all,
)
from mgot.ssim_cost import LARGEST_VALUE, PATCH_SIDE, within_range

SHAPE = (1, 1, PATCH_SIDE, PATCH_SIDE)
ROW = 4 * PATCH_SIDE**2  # bytes of a patch
REMEDY = "write it with python -m mgot.features"


class Features:
    """An open feature file: its path, the patches' names, and their values as an h5 dataset."""

    def __init__(self, path: Path, names: list[str], values: h5py.Dataset):
        self.path, self.names, self.values = path, names, values

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, indices: Sequence[int]) -> Rows:
        """View some patches without reading them."""
        return Rows(self, indices)

    def all(self) -> Rows:
        """View all patches without reading them."""
        return Rows(self, range(len(self)))

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Read patches, float32 `[n, 50176]`.

        Raises `InputError` naming the first patch whose values are not finite or far outside a
        FIDT map's range.
        """
        values = np.empty((len(indices), PATCH_SIDE**2), np.float32)
        with _reading(self.path):
            for row, index in zip(values, indices, strict=True):
                row[:] = self.values[index].reshape(-1)
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

    def __init__(self, features: Features, indices: Sequence[int]):
        self.features, self.indices = features, np.asarray(indices, dtype=np.int64)
        self.shape = (len(indices), *SHAPE)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: slice) -> np.ndarray:
        return self.features.read(self.indices[place]).reshape(-1, *SHAPE)


@contextlib.contextmanager
def open_features(path: str | os.PathLike) -> Iterator[Features]:
    """Open a feature file for reading.

    Raises:
        InputError: no such file; no h5 file or one cut short; a dataset missing, empty, of another
            shape or type; as many paths as features are needed.
    """
    with h5_to_read(path, REMEDY) as file:
        with _reading(path):
            for name in ("features", "paths"):
                if name not in file:
                    raise InputError(f"{path} has no dataset '{name}': {REMEDY}")
                require_own(file, name, REMEDY)
            values, names = file["features"], _names(file)
        if math.prod(values.shape[1:]) != PATCH_SIDE**2 or values.dtype.kind != "f":
            raise InputError(
                f"{path}: features are {values.dtype} {list(values.shape)}, not float32 "
                f"[n, 1, 1, {PATCH_SIDE}, {PATCH_SIDE}]: {REMEDY}"
            )
        if not names or len(names) != len(values):
            raise InputError(
                f"{path} holds {len(values)} features and {len(names)} paths: {REMEDY}"
            )
        yield Features(Path(path), names, values)


@contextlib.contextmanager
def _reading(path: str | os.PathLike) -> Iterator[None]:
    """Turn what h5py makes of a damaged structure, almost any exception, into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise unreadable(path, error, f"is damaged or no h5 file: {REMEDY}") from error


def _names(file: h5py.File) -> list[str]:
    """Names of the patches; none where `paths` holds something else than strings."""
    paths = file["paths"]
    if paths.nbytes > LARGEST_ARRAY:
        return []
    return [os.fsdecode(name) for name in np.ravel(paths[()]) if isinstance(name, bytes)]


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

    The file is laid out whole as `path` + ".part", with a byte a patch that says whether its values
    are on disk; values and bytes then go to their places, past h5py. So any process killed at any
    moment leaves a file from which the next one continues, and those that torchrun started write
    their blocks side by side.

    Args:
        path: file to write.
        names: of the patches.
        recipe: what the values depend on beside the names; a file of another recipe is not
            continued but begun again.
        compute: from `first, last` to the values of these patches, 224 × 224 each.
        block: patches at a time.

    Returns:
        The number of patches computed by all processes; 0 when the file was there already.

    Raises:
        InputError: the folder is not writable, the disk is full, another process writes the same
            file, or a model put out values that are not finite.
    """
    path = Path(path)
    part, there = path.with_name(path.name + ".part"), _layout(path, names, recipe)
    if there and (there[0] == 1).all():
        return 0
    try:
        with contextlib.ExitStack() as stack:
            if is_main_process():
                path.parent.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_lay_out(part, names, recipe))
            wait_for_all()
            file = stack.enter_context(open(part, "r+b"))
            computed = _fill(file, _layout(part, names, recipe), names, compute, block)
            computed = int(all_reduce_sum(torch.tensor(computed)))  # waits for all
            if is_main_process():
                os.replace(part, path)
            wait_for_all()
    except BlockingIOError as error:
        raise InputError(f"{part} is being written by another process: wait for it") from error
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise lock_fault(part, error) or InputError(
            f"{part} could not be written ({reason}): make room and run the command again"
        ) from error
    return computed


def _fill(
    file: BinaryIO,
    layout: tuple[np.ndarray, int, int],
    names: Sequence[str],
    compute: Callable[[int, int], np.ndarray],
    block: int,
) -> int:
    """Write this process's share of the blocks that are missing; return how many patches it has."""
    (finished, values_at, finished_at), (rank, size) = layout, rank_and_world_size()
    computed = 0
    for first in progress(range(rank * block, len(names), size * block), "features", "block"):
        last = min(first + block, len(names))
        if (finished[first:last] == 1).all():
            continue
        values = np.asarray(compute(first, last), "<f4").reshape(last - first, -1)
        finite = np.isfinite(values).all(axis=1)
        if not finite.all():
            raise InputError(
                "the model puts out NaN or infinite values for "
                f"{names[first + int(np.argmin(finite))]}: use a checkpoint that has not diverged"
            )
        # Values are on disk before the bytes that vouch for them.
        for place, content in (
            (values_at + first * ROW, values.tobytes()),
            (finished_at + first, bytes([1] * (last - first))),
        ):
            file.seek(place)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        computed += last - first
    return computed


def _lay_out(part: Path, names: Sequence[str], recipe: str) -> BinaryIO:
    """Lock what an interrupted call left, and begin anew unless it fits; raise OSError."""
    file = open(part, "a+b")  # noqa: SIM115 - the lock lasts as long as it is open
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        note(f"the disk of {part} grants no locks: let no second command write it meanwhile")
    if _layout(part, names, recipe):
        return file
    try:
        # Before h5py opens it: where the disk is full, closing an h5 file crashes Python.
        _reserve(file, ROW * len(names) + 2**20)
        with h5py.File(part, "w", locking=False) as new:
            new.attrs["recipe"] = recipe
            new["paths"] = np.array([os.fsencode(name) for name in names])
            new["finished"] = np.zeros(len(names), np.uint8)
            properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
            properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
            space = h5py.h5s.create_simple((len(names), *SHAPE))
            h5py.h5d.create(new.id, b"features", h5py.h5t.IEEE_F32LE, space, dcpl=properties)
        # Nobody else shall take the room while the values are computed.
        _reserve(file, os.path.getsize(part))
    except OSError:
        part.unlink()
        raise
    return file


def _reserve(file: BinaryIO, size: int) -> None:
    if hasattr(os, "posix_fallocate"):  # macOS has none
        os.posix_fallocate(file.fileno(), 0, size)


def _layout(path: Path, names: Sequence[str], recipe: str) -> tuple[np.ndarray, int, int] | None:
    """A byte a patch, 1 where its values are on disk, and the places of values and bytes.

    None where the file is not there, is damaged, or of other patches or another recipe; raises
    `InputError` for one that the system refuses to read, which is not to be begun again.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            finished, values = file["finished"], file["features"]
            fits = file.attrs.get("recipe") == recipe and _names(file) == list(names)
            fits &= values.shape == (len(names), *SHAPE) and finished.shape == (len(names),)
            places = values.id.get_offset(), finished.id.get_offset()
            return (finished[()], *places) if fits and all(places) else None
    except Exception as error:  # h5py's answer to a damaged structure may be any
        if is_refusal(error):
            raise unreadable(path, error, "") from error
        return None
