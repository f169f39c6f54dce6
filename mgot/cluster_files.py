"""Files of clusters: centres (`cluster_center [k, 50176]`, h5), members (npy); of selections.

The released index files are pickled object arrays, which `numpy.load` reads only by trusting them
with running any code. Here such a file is read by an unpickler that knows nothing but lists,
integers and the shell of an array.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass

import numpy as np

from crowd.io.errors import InputError
from crowd.io.files import atomic_path, read_array, require_file, unreadable, write_array
from crowd.io.h5 import read_h5, write_h5
from mgot.clustering import Clustering
from mgot.ssim_cost import PATCH_SIDE

REMEDY = "write it with k_means.py"
_REMEDY = "name the cluster index file that k_means.py (or the released code) wrote"


@dataclass(frozen=True)
class Clusters:
    """A partition of a feature file.

    Attributes:
        centers: float32 `[k, 50176]`.
        members: k arrays, int64 `[n_i]`, of indices into the features.
    """

    centers: np.ndarray
    members: list[np.ndarray]

    @property
    def sizes(self) -> list[int]:
        """Number of members of every cluster."""
        return [len(indices) for indices in self.members]


def write_clusters(
    centers_file: str | os.PathLike, index_file: str | os.PathLike, clustering: Clustering
) -> None:
    """Write the two files that `read_clusters` (and the released code) reads."""
    write_h5(centers_file, cluster_center=clustering.centers)
    write_index_lists(index_file, clustering.index_lists)


def read_clusters(
    centers_file: str | os.PathLike, index_file: str | os.PathLike, count: int
) -> Clusters:
    """Read the clusters of `count` features, written by `write_clusters` or the released code.

    Raises:
        InputError: a file is missing, damaged or of other content; the two disagree on the number
            of clusters; a cluster is empty; or they do not divide `count` features among them.
    """
    centers = read_h5(centers_file, "cluster_center", REMEDY)
    if centers.ndim < 2 or int(np.prod(centers.shape[1:])) != PATCH_SIDE**2:
        raise InputError(
            f"{centers_file}: centres are {list(centers.shape)}, not [k, {PATCH_SIDE**2}]: {REMEDY}"
        )
    if centers.dtype.kind != "f" or not np.isfinite(centers).all():
        raise InputError(f"{centers_file} holds centres that are no finite numbers: {REMEDY}")
    members = read_index_lists(index_file, count)
    if len(members) != len(centers):
        raise InputError(
            f"{centers_file} holds {len(centers)} clusters and {index_file} {len(members)}: name "
            "two files of one run"
        )
    empty = [number for number, indices in enumerate(members) if not len(indices)]
    if empty:
        raise InputError(
            f"cluster {empty[0]} of {index_file} is empty: cluster anew, into fewer clusters"
        )
    listed = sum(map(len, members))
    if listed != count:
        raise InputError(
            f"{index_file} divides {listed} features, but there are {count}: name the clusters of "
            "these features"
        )
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


def read_index_lists(path: str | os.PathLike, count: int | None = None) -> list[np.ndarray]:
    """Read k lists of indices without running anything the file may contain.

    Args:
        path: an `.npy` object array of k lists, as `write_index_lists` or the released code wrote.
        count: number of features that the indices point into; not checked when None.

    Returns:
        k arrays, int64 `[n_i]`.

    Raises:
        InputError: no such file; damaged; content other than lists of integers; an index that is
            negative, repeated or at least `count`.
    """
    path = require_file(path, _REMEDY)
    try:
        with open(path, "rb") as file:
            _read_object_header(file)
            content = _IndexUnpickler(file).load()
        lists = [_indices(entry) for entry in _entries(content)]
    except InputError as error:
        raise InputError(f"{path} {error}: {_REMEDY}") from None
    except Exception as error:  # a damaged pickle may raise anything
        damage = f"is damaged or holds no lists of integers: {_REMEDY}"
        raise unreadable(path, error, damage) from error
    _check_indices(path, lists, count)
    return lists


def write_selection(paths_file: str | os.PathLike, weights_file: str | os.PathLike, paths, weights):
    """Write the selected source patches (array of strings) and their weights (float64), unpickled.

    Raises:
        InputError: as many paths as weights are needed.
    """
    paths, weights = np.asarray(paths, dtype=str), np.asarray(weights, dtype=np.float64)
    if paths.ndim != 1 or paths.shape != weights.shape:
        raise InputError(f"{paths.size} selected patches need as many weights, not {weights.size}")
    write_array(paths_file, paths)
    write_array(weights_file, weights)


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
    if weights.ndim != 1 or weights.dtype.kind not in "fiu":
        raise InputError(f"{weights_file} is no list of weights: {remedy}")
    if len(paths) != len(weights):
        raise InputError(
            f"{paths_file} lists {len(paths)} patches and {weights_file} {len(weights)} weights: "
            "name two files of one run"
        )
    weights = weights.astype(np.float64)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise InputError(f"{weights_file} holds weights that are negative or not finite: {remedy}")
    return paths.tolist(), weights


class _Array:
    """What a pickled array says about itself: shape, element type and content."""

    def __setstate__(self, state):
        _, self.shape, self.dtype, _, self.content = state


class _Dtype:
    """A pickled element type: its name and, once known, its byte order."""

    def __init__(self, name, *_):
        self.name = name
        self.order = "<"

    def __setstate__(self, state):
        self.order = state[1] if state[1] in "<>" else "<"

    def as_integer(self) -> np.dtype:
        if self.name not in ("i1", "i2", "i4", "i8", "u1", "u2", "u4"):
            raise InputError(f"holds values of type {self.name}, not integers")
        return np.dtype(self.order + self.name)


def _reconstruct(*_):
    return _Array()


def _scalar(dtype: _Dtype, content: bytes) -> int:
    return int(np.frombuffer(content, dtype.as_integer(), count=1)[0])


class _IndexUnpickler(pickle.Unpickler):
    """Builds our own stand-ins for the three numpy objects in such a file, and nothing else."""

    _KNOWN = {  # noqa: RUF012 - never changed
        ("multiarray", "_reconstruct"): _reconstruct,
        ("multiarray", "scalar"): _scalar,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }

    def find_class(self, module: str, name: str):
        if module in ("numpy.core.multiarray", "numpy._core.multiarray"):
            module = "multiarray"
        if (module, name) not in self._KNOWN:
            raise InputError(f"asks to load {module}.{name}, which no index file needs")
        return self._KNOWN[module, name]

    def persistent_load(self, pid):  # noqa: ARG002 - the signature is pickle's
        raise InputError("refers to objects outside itself")


def _read_object_header(file) -> None:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    if read(file)[2] != np.dtype(object):
        raise InputError("is an array of another type than lists")


def _entries(content) -> list:
    """The k entries of the outer array; equally long lists were stored as one `[k, n]` array."""
    if not isinstance(content, _Array) or not isinstance(content.content, list):
        raise InputError("holds no array of lists")
    if len(content.shape) == 2:
        k, n = content.shape
        return [content.content[n * row : n * (row + 1)] for row in range(k)]
    return content.content


def _indices(entry) -> np.ndarray:
    if isinstance(entry, _Array):
        if isinstance(entry.content, bytes):
            return np.frombuffer(entry.content, entry.dtype.as_integer()).astype(np.int64)
        entry = entry.content
    if not isinstance(entry, list) or not all(type(index) is int for index in entry):
        raise InputError("holds something else than lists of integers")
    return np.array(entry, dtype=np.int64)


def _check_indices(path, lists: list[np.ndarray], count: int | None) -> None:
    flat = np.concatenate([*lists, np.zeros(0, np.int64)])
    if flat.size and flat.min() < 0:
        raise InputError(f"{path} holds the negative index {flat.min()}: {_REMEDY}")
    if len(np.unique(flat)) < len(flat):
        raise InputError(f"{path} lists an index more than once: {_REMEDY}")
    if count is not None and flat.size and flat.max() >= count:
        raise InputError(
            f"{path} holds the index {flat.max()}, but there are only {count} features: name the "
            "index file and the feature file of one run"
        )
