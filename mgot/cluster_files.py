"""Files of clusters: centres (`cluster_center [k, 50176]`, h5), members (npy); of selections.

The released index files are pickled object arrays, which `numpy.load` reads only by trusting them
with running any code. Here such a file is read by an unpickler that knows nothing but lists,
integers and the shells of numpy's objects.
"""

from __future__ import annotations

import itertools
import math
import os
import pickle
from typing import NamedTuple

import numpy as np

from crowd.io.errors import InputError
from crowd.io.files import atomic_path, read_array, require_file, unreadable, write_array
from crowd.io.h5 import read_h5
from mgot.options import PATCH_SIDE

REMEDY = "write it with k_means.py"
_REMEDY = "name the cluster index file that k_means.py (or the released code) wrote"


class Clusters(NamedTuple):
    """A partition of a feature file.

    Attributes:
        centers: float32 `[k, 50176]`.
        members: k arrays, int64 `[n_i]`, of indices into the features.
    """

    centers: np.ndarray
    members: list[np.ndarray]


def read_clusters(
    centers_file: str | os.PathLike, index_file: str | os.PathLike, count: int
) -> Clusters:
    """Read the clusters of `count` features, written by k_means.py or the released code.

    Raises:
        InputError: a file is missing, damaged or of other content; the two disagree on the number
            of clusters; a cluster is empty; or they do not divide `count` features among them.
    """
    centers = read_h5(centers_file, "cluster_center", REMEDY)
    if centers.ndim < 2 or math.prod(centers.shape[1:]) != PATCH_SIDE**2:
        raise InputError(
            f"{centers_file}: centres are {list(centers.shape)}, not [k, {PATCH_SIDE**2}]: {REMEDY}"
        )
    if not np.isfinite(centers).all():
        raise InputError(f"{centers_file} holds centres that are no finite numbers: {REMEDY}")
    members = read_index_lists(index_file)
    if len(members) != len(centers):
        raise InputError(
            f"{centers_file} holds {len(centers)} clusters and {index_file} {len(members)}: name "
            "two files of one run"
        )
    if not np.array_equal(np.sort(np.concatenate([[], *members])), np.arange(count)):
        raise InputError(
            f"{index_file} does not divide {count} features, 0 to {count - 1}, among its clusters: "
            "name the clusters of these features"
        )
    if not all(map(len, members)):
        raise InputError(f"{index_file} has an empty cluster: cluster anew, into fewer clusters")
    return Clusters(centers.reshape(len(centers), -1).astype(np.float32), members)


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
    """Read k lists of indices without running anything the file may contain.

    Args:
        path: an `.npy` object array of k lists, as `write_index_lists` or the released code wrote.

    Returns:
        k arrays, int64 `[n_i]`.

    Raises:
        InputError: no such file; damaged; content other than lists of integers.
    """
    path = require_file(path, _REMEDY)
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
        raise InputError(f"{path} {error}: {_REMEDY}") from None
    except Exception as error:  # a damaged pickle may raise anything
        damage = f"is damaged or holds no lists of integers: {_REMEDY}"
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


def write_selection(paths_file: str | os.PathLike, weights_file: str | os.PathLike, paths, weights):
    """Write the selected source patches (array of strings) and their weights (float64), unpickled.

    There are as many paths as weights.
    """
    write_array(paths_file, np.asarray(paths, dtype=str))
    write_array(weights_file, np.asarray(weights, dtype=np.float64))


def read_selection(
    paths_file: str | os.PathLike, weights_file: str | os.PathLike
) -> tuple[list[str], np.ndarray]:
    """Read what `write_selection` (or the released code) wrote.

    Returns:
        The patch paths and float64 `[n]`, their weights.

    Raises:
        InputError: missing or damaged files, other content, different lengths, weights that are
            negative or not finite.
    """
    remedy = "name the files that k_means_ot_weight.py wrote"
    paths, weights = read_array(paths_file, remedy), read_array(weights_file, remedy)
    if paths.ndim != 1 or paths.dtype.kind != "U":
        raise InputError(f"{paths_file} is no list of patch paths: {remedy}")
    if weights.dtype.kind not in "fiu" or not (np.isfinite(weights) & (weights >= 0)).all():
        raise InputError(f"{weights_file} holds weights that are negative or not finite: {remedy}")
    if paths.shape != weights.shape:
        raise InputError(
            f"{paths_file} lists {len(paths)} patches and {weights_file} {weights.size} weights: "
            "name two files of one run"
        )
    return paths.tolist(), weights.astype(np.float64)
