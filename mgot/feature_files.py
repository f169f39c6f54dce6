"""Feature files: the predicted map of every patch, `features [n, 1, 1, 224, 224]`, and `paths`.

`paths` are the patches' file names in ascending order, relative to their folder, so that data may
be moved. The authors' files, which hold whole paths, are read too.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import torch

from crowd.io.errors import InputError
from crowd.io.files import (
    LARGEST_ARRAY,
    atomic_path,
    is_refusal,
    read_array,
    unreadable,
    write_array,
)
from crowd.io.h5 import h5_to_read, require_own
from crowd.io.progress import note, progress
from crowd.train.distributed import (
    all_reduce_sum,
    is_main_process,
    rank_and_world_size,
    wait_for_all,
)
from mgot.options import PATCH_SIDE
from mgot.ssim import LARGEST_VALUE, within_range

SHAPE = (1, 1, PATCH_SIDE, PATCH_SIDE)
REMEDY = "write it with python -m mgot.features"


class Features:
    """Patches of an open feature file, `[n, 1, 1, 224, 224]`, read a slice at a time.

    Attributes:
        names: of all patches of the file.
        shape: of these.
    """

    def __init__(self, path: Path, names: list[str], values: h5py.Dataset, indices: Sequence[int]):
        self.path, self.names, self.values = path, names, values
        self.indices = np.asarray(indices, dtype=np.int64)
        self.shape = (len(indices), *SHAPE)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: slice) -> np.ndarray:
        indices = self.indices[place]
        return self.read(indices).reshape(len(indices), *SHAPE)

    def rows(self, indices: Sequence[int]) -> Features:
        """View some patches of the file without reading them."""
        return Features(self.path, self.names, self.values, indices)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Read patches of the file, float32 `[n, 50176]`.

        Raises `InputError` naming the first patch whose values are not finite or far outside a
        FIDT map's range.
        """
        values = np.empty((len(indices), PATCH_SIDE**2), np.float32)
        with _reading(self.path):
            for row, index in zip(values, indices, strict=True):
                row[:] = self.values[index].reshape(-1)
        _check(values, [self.names[index] for index in indices], f"{self.path} holds")
        return values


def _check(values: np.ndarray, names: Sequence[str], where: str) -> None:
    within = within_range(values.reshape(-1, PATCH_SIDE**2))
    if not within.all():
        raise InputError(
            f"{where} NaN or values beyond ±{LARGEST_VALUE:.0f} for {names[int(within.argmin())]}: "
            "extract the features with a model that has not diverged"
        )


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
        yield Features(Path(path), names, values, range(len(names)))


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


def write_features(
    path: str | os.PathLike,
    names: Sequence[str],
    recipe: str,
    compute: Callable[[int, int], np.ndarray],
    block: int = 16,
) -> int:
    """Compute and write features block by block; memory holds one block.

    Each block is a file in the folder `path` + ".parts" until all are there, so that any process
    killed at any moment leaves those from which the next one continues, and those that torchrun
    started write side by side.

    Args:
        path: file to write.
        names: of the patches.
        recipe: what the values depend on beside the names; blocks and files of another recipe are
            not continued.
        compute: from `first, last` to the values of these patches, 224 × 224 each.
        block: patches at a time.

    Returns:
        The number of patches computed by all processes; 0 when the file was there already.

    Raises:
        InputError: the folder is not writable, the disk is full, another process writes the same
            file, or a model put out values far outside a FIDT map's range.
    """
    path = Path(path)
    if _is_whole(path, names, recipe):
        return 0
    key = hashlib.sha256("\n".join([recipe, str(block), *names]).encode(errors="replace"))
    folder = path.with_name(f"{path.name}.parts") / key.hexdigest()[:16]
    (rank, size), computed = rank_and_world_size(), 0
    parts = {first: folder / f"{first}.npy" for first in range(0, len(names), block)}
    with _alone(path, folder.parent) if is_main_process() else contextlib.nullcontext():
        for first, part in progress(list(parts.items())[rank::size], "features", "block"):
            if not part.is_file():
                listed = names[first : first + block]
                values = np.asarray(compute(first, first + len(listed)), "<f4").reshape(-1, *SHAPE)
                _check(values, listed, "the model puts out")
                write_array(part, values)
                computed += len(listed)
        computed = int(all_reduce_sum(torch.tensor(computed)))  # waits for all
        if is_main_process():
            _join(path, names, recipe, parts)
            shutil.rmtree(folder.parent)
    wait_for_all()
    return computed


@contextlib.contextmanager
def _alone(path: Path, folder: Path) -> Iterator[None]:
    """Lock the folder of the blocks; raise `InputError` where another process has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise InputError(
            f"cannot write in {path.parent} ({error.strerror}): choose a folder you may write to"
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise InputError(f"{path} is being written by another process: wait for it") from error
    except OSError:
        note(f"the disk of {path} grants no locks: let no second command write it meanwhile")
    try:
        yield
    finally:
        os.close(handle)


def _is_whole(path: Path, names: Sequence[str], recipe: str) -> bool:
    """Whether the file is there and of these patches and this recipe.

    Raises `Refused` for one that the system refuses to read, which is not to be computed again.
    """
    try:
        with h5py.File(path, "r", locking=False) as file:
            fits = file.attrs.get("recipe") == recipe and _names(file) == list(names)
            return fits and file["features"].shape == (len(names), *SHAPE)
    except Exception as error:  # h5py's answer to a damaged structure may be any
        if is_refusal(error):
            raise unreadable(path, error, "") from error
        return False


def _join(path: Path, names: Sequence[str], recipe: str, parts: dict[int, Path]) -> None:
    with atomic_path(path) as whole, open(whole, "r+b") as room:
        # Before h5py opens it: where the disk is full, closing an h5 file crashes Python.
        _reserve(room, 4 * PATCH_SIDE**2 * len(names) + 2**20)
        with h5py.File(whole, "w", locking=False) as file:
            file.attrs["recipe"] = recipe
            file["paths"] = np.array([os.fsencode(name) for name in names])
            shape = (len(names), *SHAPE)
            values = file.create_dataset("features", shape, "<f4", fill_time="never")
            values[-1] = 0.0  # lays the file out, whose room nobody else shall take meanwhile
            file.flush()
            _reserve(room, os.path.getsize(whole))
            for first, part in parts.items():
                block = read_array(part, "remove it and run the command again")
                values[first : first + len(block)] = block


def _reserve(file, size: int) -> None:
    if hasattr(os, "posix_fallocate"):  # macOS has none
        os.posix_fallocate(file.fileno(), 0, size)
