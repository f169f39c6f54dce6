"""Files of features and of their clusters, as the commands and the released code write them.

Features are `features [n, 1, 1, 224, 224]` and `paths` (h5), clusters their centres
`cluster_center [k, 50176]` (h5) and members (npy). Centres from k_means.py also hold the hashes of
the features and of the members, `features_sha256` and `members_sha256`. The released files of
members are pickled object arrays, which `numpy.load` reads only by trusting them with running any
code. Here such a file is read by an unpickler that knows nothing but lists, integers and the shells
of numpy's objects.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
import os
import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from crowd.io.errors import InputError
from crowd.io.files import LARGEST_ARRAY, atomic_path, content_hash, require_file, unreadable
from crowd.io.h5 import h5_to_read, open_h5, read_dataset, reading, require_own
from mgot.maps import PATCH_SIDE, check_maps

SHAPE = (1, 1, PATCH_SIDE, PATCH_SIDE)
REMEDY = "write it with python -m mgot.features"
CENTERS = "write it with k_means.py"
CLUSTERED, PAIRED = "features_sha256", "members_sha256"
MEMBERS = "name the cluster index file that k_means.py (or the released code) wrote"


class Features:
    """Patches of an open feature file, `[n, 1, 1, 224, 224]`, read a slice at a time.

    `names` are those of all patches of the file, `shape` is that of these.
    """

    def __init__(self, path: Path, names: list[str], values: h5py.Dataset, indices: Sequence[int]):
        self.path, self.names, self.values = path, names, values
        self.indices = np.asarray(indices, dtype=np.int64)
        self.shape = (len(indices), *SHAPE)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: slice) -> np.ndarray:
        return self.read(self.indices[place]).reshape(-1, *SHAPE)

    def rows(self, indices: Sequence[int]) -> Features:
        """View some patches of the file without reading them."""
        return Features(self.path, self.names, self.values, indices)

    def read(self, indices: Sequence[int]) -> np.ndarray:
        """Read patches of the file, float32 `[n, 50176]`.

        Raises `InputError` naming the first patch whose values are not finite or far outside a
        FIDT map's range.
        """
        values = np.empty((len(indices), PATCH_SIDE**2), np.float32)
        with reading(self.path, REMEDY):
            for row, index in zip(values, indices, strict=True):
                row[:] = self.values[index].reshape(-1)
        check_maps(values, [self.names[index] for index in indices], f"{self.path} holds")
        return values


@contextlib.contextmanager
def open_features(path: str | os.PathLike) -> Iterator[Features]:
    """Open a feature file for reading.

    Raises `InputError` when it is missing or damaged, or a dataset is missing, empty, or of another
    shape or type; as many paths as features are needed.
    """
    with h5_to_read(path, REMEDY) as file:
        with reading(path, REMEDY):
            for name in ("features", "paths"):
                if name not in file:
                    raise InputError(f"{path} has no dataset '{name}': {REMEDY}")
                require_own(file, name, REMEDY)
            values, names = file["features"], names_in(file)
            fits = math.prod(values.shape[1:]) == PATCH_SIDE**2 and values.dtype.kind == "f"
        if not fits or not names or len(names) != len(values):
            raise InputError(
                f"{path} holds features {values.dtype} {list(values.shape)} of {len(names)} paths, "
                f"not float32 [n, 1, 1, {PATCH_SIDE}, {PATCH_SIDE}] of n: {REMEDY}"
            )
        yield Features(Path(path), names, values, range(len(names)))


def names_in(file: h5py.File) -> list[str]:
    """Names of the patches; none where `paths` holds something else than strings."""
    paths = file["paths"]
    values = () if paths.nbytes > LARGEST_ARRAY else np.ravel(paths[()])
    return [os.fsdecode(name) for name in values if isinstance(name, bytes)]


class Clusters(NamedTuple):
    """A partition of a feature file: centres float32 `[k, 50176]`, and k arrays of the members'
    indices, int64 `[n_i]`.
    """

    centers: np.ndarray
    members: list[np.ndarray]


def read_clusters(
    centers_file: str | os.PathLike,
    index_file: str | os.PathLike,
    count: int,
    features: str | os.PathLike | None = None,
) -> Clusters:
    """Read the clusters of `count` features, written by k_means.py or the released code.

    Raises `InputError` when a file is missing, damaged or of other content, the two are not of one
    run, a cluster is empty, they do not divide `count` features among them, or the
    centres name another file than `features`; those of the released code name none.
    """
    with open_h5(centers_file, CENTERS) as file:
        centers = read_dataset(file, "cluster_center", CENTERS)
        named, paired = (
            read_dataset(file, name, CENTERS) if name in file else None
            for name in (CLUSTERED, PAIRED)
        )
    shape = list(centers.shape)
    if math.prod(shape[1:]) != PATCH_SIDE**2 or not np.isfinite(centers).all():
        raise InputError(
            f"{centers_file}: {shape} centres are not [k, {PATCH_SIDE**2}] finite numbers: "
            f"{CENTERS}"
        )
    members = read_index_lists(index_file)
    of_members = paired is None or np.array_equal(paired, members_hash(members))
    if len(members) != len(centers) or not of_members:
        raise InputError(
            f"{centers_file} holds {len(centers)} clusters and {index_file} {len(members)}, not of "
            "one run: name two files of one run"
        )
    if not np.array_equal(np.sort(np.concatenate([[], *members])), np.arange(count)):
        raise InputError(
            f"{index_file} does not divide {count} features, 0 to {count - 1}, among its clusters: "
            "name the clusters of these features"
        )
    if not all(map(len, members)):
        raise InputError(f"{index_file} has an empty cluster: cluster anew, into fewer clusters")
    if named is not None and features and not np.array_equal(named, feature_hash(features)):
        raise InputError(
            f"{centers_file} holds clusters of other features than those of {features}: run "
            "k_means.py again"
        )
    return Clusters(centers.reshape(len(centers), -1).astype(np.float32), members)


def feature_hash(path: str | os.PathLike) -> np.ndarray:
    """SHA-256 of a feature file, uint8 `[32]`: a file of centres names by it what was clustered."""
    return np.frombuffer(bytes.fromhex(content_hash(path)), np.uint8)


def members_hash(lists: Sequence[Sequence[int]]) -> np.ndarray:
    """SHA-256 of clusters' members, uint8 `[32]`: a file of centres names by it its other half."""
    text = json.dumps([[int(index) for index in indices] for indices in lists])
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)


def write_index_lists(path: str | os.PathLike, lists) -> None:
    """Write k lists of indices as the released code does, for `np.load(..., allow_pickle=True)`."""
    array = np.empty(len(lists), dtype=object)
    array[:] = [[int(index) for index in indices] for indices in lists]
    # Protocol 3 names its globals in plain lines, so that the name numpy 1 knows can stand there.
    content = pickle.dumps(array, protocol=3).replace(b"numpy._core.", b"numpy.core.")
    header = {"descr": "|O", "fortran_order": False, "shape": array.shape}
    with atomic_path(path) as part, open(part, "wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        file.write(content)


def read_index_lists(path: str | os.PathLike) -> list[np.ndarray]:
    """Read k lists of indices, int64 `[n_i]`, without running anything the file may contain.

    `path` is an `.npy` object array, as `write_index_lists` or the released code wrote. Raises
    `InputError` when it is missing or damaged, or holds anything but lists of integers.
    """
    path = require_file(path, MEMBERS)
    try:
        with open(path, "rb") as file:
            if np.lib.format.read_magic(file) == (1, 0):
                np.lib.format.read_array_header_1_0(file)
            else:
                np.lib.format.read_array_header_2_0(file)
            content = _IndexUnpickler(file).load()
        _, shape, _, _, entries = content.state
        if len(shape) == 2:  # equally long lists
            entries = [entries[at : at + shape[1]] for at in range(0, len(entries), shape[1])]
        return [np.array(_integers(entry), dtype=np.int64) for entry in entries]
    except InputError as error:
        raise InputError(f"{path} {error}: {MEMBERS}") from None
    except Exception as error:  # a damaged pickle may raise anything
        damage = f"is damaged or holds no lists of integers: {MEMBERS}"
        raise unreadable(path, error, damage) from error


class _Shell:
    """Stands for whatever of numpy a file names, and keeps what it was made from."""

    def __init__(self, *made_from):
        self.made_from = made_from

    def __setstate__(self, state):
        self.state = state


class _IndexUnpickler(pickle.Unpickler):
    """Makes shells of the numpy objects in such a file, and nothing else."""

    def find_class(self, module: str, name: str):
        known = ("_reconstruct", "ndarray", "dtype", "scalar")
        if module.split(".")[0] != "numpy" or name not in known:
            raise InputError(f"asks to load {module}.{name}, which no index file needs")
        return _Shell


def _integers(entry) -> list[int]:
    if not isinstance(entry, list):
        return _numpy_integers(entry)
    numbers = ([one] if type(one) is int else _numpy_integers(one) for one in entry)
    return list(itertools.chain.from_iterable(numbers))


def _numpy_integers(shell) -> list[int]:
    """The values of an array of integers, or of one integer."""
    if not isinstance(shell, _Shell):
        raise InputError("holds something else than lists of integers")
    dtype, content = shell.state[2::2] if hasattr(shell, "state") else shell.made_from
    name, order = dtype.made_from[0], dtype.state[1]
    if name not in ("i1", "i2", "i4", "i8", "u1", "u2", "u4"):
        raise InputError(f"holds values of type {name}, not integers")
    return np.frombuffer(content, order.replace("|", "<") + name).tolist()
