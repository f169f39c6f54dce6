"""Cluster files: centres (`cluster_center [k, 50176]`, h5) and members (k index lists, npy)."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from crowd.io.errors import InputError
from crowd.io.h5 import read_h5, write_h5
from mgot.arrays import PATCH_SIDE
from mgot.clustering import Clustering
from mgot.index_lists import read_index_lists, write_index_lists

REMEDY = "write it with k_means.py"


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
