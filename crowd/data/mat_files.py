"""What a MATLAB file keeps under a key; run where a crash does no harm (`mat_child`)."""

from __future__ import annotations

import h5py
import numpy as np
import scipy.io


class NoSuchKey(KeyError):
    """The file is whole but lacks the key; its argument is the list of keys that are there."""


def read_values(path: str, key: str) -> np.ndarray:
    """Read the array that a MATLAB file of any version keeps under `key`, as it is stored.

    Cells and structs around it (ShanghaiTech's `image_info[0,0][0,0][0]`) are opened: a cell at
    its first element, a struct at its field `location`, or else its first.

    Raises:
        NoSuchKey: the file lacks the key. A damaged file may raise anything.
    """
    return _read_h5(path, key) if h5py.is_hdf5(path) else _read_v5(path, key)


def _read_v5(path: str, key: str) -> np.ndarray:
    content = scipy.io.loadmat(path, appendmat=False, variable_names=[key])
    if key not in content:
        raise NoSuchKey([name for name, *_ in scipy.io.whosmat(path, appendmat=False)])
    value = content[key]
    while isinstance(value, np.ndarray | np.void) and value.dtype.hasobject:
        names = value.dtype.names
        if names:
            value = value["location" if "location" in names else names[0]]
        elif value.size:
            value = value.flat[0]
        else:
            return np.zeros((0, 2))
    return np.asarray(value)


def _read_h5(path: str, key: str) -> np.ndarray:
    """Version 7.3 is HDF5: arrays transposed, cells as references, empty ones as their shape."""
    with h5py.File(path, "r", locking=False) as file:
        if key not in file:
            raise NoSuchKey([name for name in file if not name.startswith("#")])
        node = file[key]
        while True:
            if isinstance(node, h5py.Group):
                node = node["location" if "location" in node else next(iter(node))]
            elif node.attrs.get("MATLAB_empty", 0) or not node.size:
                return np.zeros((0, 2))
            elif h5py.check_ref_dtype(node.dtype):
                node = file[node[()].flat[0]]
            else:
                return node[()].T
