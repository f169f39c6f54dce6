"""k-means over patch distributions, and the elbow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jsonargparse.typing import restricted_number_type

from crowd.io.arrays import to_numpy
from crowd.io.errors import InputError
from crowd.io.progress import progress

# So many samples are held at once (1.6 GB of patches), with their Gram matrix (0.5 GB); of more,
# blocks are read again and again.
GRAM_SAMPLES = 8192
GRAM_COLUMNS = 4096
BLOCK = 256
# A pass over samples that are read from disk must lower the inertia by this share to be repeated.
STREAM_TOLERANCE = 1e-7
# What numpy's RandomState, which draws the starts as scikit-learn does, takes for a seed.
Seed = restricted_number_type("Seed", int, [(">=", 0), ("<=", 2**32 - 1)])


@dataclass(frozen=True)
class Clustering:
    """A partition of the samples.

    Attributes:
        labels: int64 `[n]`, the cluster of every sample.
        centers: float32 `[k, d]`, the mean of every cluster's members.
        inertia: sum of squared Euclidean distances to the own centre.
    """

    labels: np.ndarray
    centers: np.ndarray
    inertia: float

    @property
    def index_lists(self) -> list[list[int]]:
        """The members of every cluster, in ascending order."""
        return [np.flatnonzero(self.labels == k).tolist() for k in range(len(self.centers))]


def in_memory(features):
    """Read up to 8192 samples as an array `[n, d]`; return more than that as they were given."""
    if len(features) > GRAM_SAMPLES:
        return features
    if isinstance(features, np.ndarray | torch.Tensor):
        flat = to_numpy(features).reshape(len(features), -1)
        return flat if flat.dtype.kind == "f" else flat.astype(np.float64)
    flat = np.empty((len(features), int(np.prod(features.shape[1:]))), np.float32)
    for first, last, block in progress(read_blocks(features), "reading", unit="block"):
        flat[first:last] = block
    return flat


def kmeans(features, k: int, seed: int = 0, restarts: int = 10, start=None) -> Clustering:
    """Euclidean k-means (k-means++ starts, Lloyd's iterations, the best of `restarts`).

    The iterations run on the samples' inner products in float64: the same partition for a fraction
    of the work. Of more than 8192 samples a random part is clustered so, and its centres are the
    start of iterations that read all samples block by block; memory stays the same.

    Args:
        features: `[n, ...]`, flattened to `[n, d]`; numpy, torch, an h5 dataset, or anything with
            `shape` whose slices are arrays.
        k: number of clusters, at least 1.
        seed: of the k-means++ starts.
        restarts: number of starts.
        start: one more start, the cluster of every sample, int `[n]` with values 0 … k − 1.

    Raises:
        InputError: fewer samples, or fewer distinct ones, than clusters; NaN or infinite values.
    """
    return _samples(features).cluster(k, seed, restarts, start)


def count_distinct(features) -> int:
    """Return how many samples can be told apart, the most clusters that they can form.

    Raises `InputError` for NaN or infinite values.
    """
    return _Samples(features).distinct


def elbow(
    features, ks: Iterable[int] = range(2, 11), seed: int = 0, restarts: int = 10
) -> list[Clustering]:
    """Cluster for several k, in ascending order; the inertia never rises from one to the next.

    Beside its own restarts each k starts from the solution before it, with the sample farthest
    from its centre as a new cluster. Lloyd's iterations only lower the inertia from there.
    Other arguments and errors as for `kmeans`.
    """
    samples = _samples(features)
    solutions: list[Clustering] = []
    for k in progress(sorted(set(ks)), "k-means", unit="k"):
        start = samples.split_farthest(solutions[-1].labels, k) if solutions else None
        solutions.append(samples.cluster(k, seed, restarts, start))
    return solutions


def _samples(features) -> _Held | _Streamed:
    if not hasattr(features, "shape"):
        features = np.asarray(features)
    if not len(features) or not int(np.prod(features.shape)):
        raise InputError("there are no samples to cluster: extract the features first")
    return (_Held if len(features) <= GRAM_SAMPLES else _Streamed)(features)


class _Samples:
    """Samples `[n, d]`, their mean, and how many are distinct."""

    def __init__(self, features):
        self.features, self.count = features, len(features)
        distinct, total = set(), 0.0
        for first, _, block in read_blocks(features):
            finite = np.isfinite(block).all(axis=1)
            if not finite.all():
                raise InputError(
                    f"sample {first + int(np.argmin(finite))} holds NaN or infinite values: "
                    "extract the features again with a model that has not diverged"
                )
            # Adding 0 makes -0.0 a 0.0, which has other bytes and the same value.
            distinct.update(hash(row.tobytes()) for row in block + 0)
            total = total + block.sum(axis=0, dtype=np.float64)
        self.distinct, self.mean = len(distinct), total / self.count

    def cluster(self, k: int, seed: int, restarts: int, start=None) -> Clustering:
        """Return the best partition from `restarts` starts and, where given, from `start`.

        Raises `InputError` where the samples cannot form k clusters, or `start` is none.
        """
        if k < 1:
            raise InputError(f"the number of clusters must be at least 1, not {k}")
        if self.count < k:
            raise InputError(f"{self.count} samples cannot form {k} clusters: choose fewer")
        if self.distinct < k:
            raise InputError(
                f"only {self.distinct} of {self.count} samples are distinct, too few for {k} "
                "clusters: choose fewer, or check the model that made the features"
            )
        if start is not None:
            start = to_numpy(start).astype(np.int64)
            if start.shape != (self.count,) or sorted(set(start.tolist())) != list(range(k)):
                raise InputError(f"a start must give every sample one of the clusters 0 … {k - 1}")
        return self._cluster(k, seed, restarts, start)

    def split_farthest(self, labels: np.ndarray, k: int) -> np.ndarray:
        """Give the samples farthest from their centres clusters of their own, up to `k`."""
        labels = labels.copy()
        for new in range(labels.max() + 1, min(k, self.distinct)):
            _fill_empty(labels, self.distances(labels, new), new + 1)
        return labels


class _Held(_Samples):
    """Samples in memory with their inner products."""

    def __init__(self, features):
        super().__init__(in_memory(features))
        self.gram = _gram(self.features, self.mean)

    def _cluster(self, k: int, seed: int, restarts: int, start) -> Clustering:
        # Imported here: numba takes a second, and only clustering needs it.
        from mgot.gram_kmeans import best_partition

        labels, inertia = best_partition(self.gram, k, seed, restarts, start)
        centers = means(self.features, labels, k)
        # Sums of inner products that cancel may end below 0.
        return Clustering(labels, centers.astype(np.float32), max(float(inertia), 0.0))

    def distances(self, labels: np.ndarray, k: int) -> np.ndarray:
        """Squared distances `[n]` to the own centre."""
        members = np.eye(k)[labels] / np.bincount(labels, minlength=k)
        sums = self.gram @ members
        within = np.einsum("ij,ij->j", members, sums)[labels]
        return np.diag(self.gram) - 2 * sums[np.arange(self.count), labels] + within


class _Streamed(_Samples):
    """Samples of which only a block is in memory at a time."""

    def _cluster(self, k: int, seed: int, restarts: int, start) -> Clustering:
        part = self._part(seed)
        starts = [part.cluster(k, seed, restarts).centers]
        if start is not None:
            starts.append(means(self.features, start, k))
        return min(map(self._iterate, starts), key=lambda result: result.inertia)

    def distances(self, labels: np.ndarray, k: int) -> np.ndarray:
        """Squared distances `[n]` to the own centre."""
        return self._assign(means(self.features, labels, k), labels)[1]

    def _part(self, seed: int) -> _Held:
        random = np.random.default_rng(seed)
        chosen = np.sort(random.choice(self.count, GRAM_SAMPLES, replace=False))
        parts = [
            block[chosen[(chosen >= first) & (chosen < last)] - first]
            for first, last, block in read_blocks(self.features)
        ]
        return _Held(np.concatenate(parts))

    def _iterate(self, centers: np.ndarray) -> Clustering:
        """Lloyd's iterations from `centers` until they gain next to nothing."""
        labels, distances = self._assign(centers)
        inertia, k = np.inf, len(centers)
        with progress(what="k-means", unit="pass") as bar:
            while distances.sum() < inertia * (1 - STREAM_TOLERANCE):
                inertia = distances.sum()
                _fill_empty(labels, distances, k)
                centers = means(self.features, labels, k)
                labels, distances = self._assign(centers)
                bar.update()
        if _fill_empty(labels, distances, k):
            centers = means(self.features, labels, k)
            distances = self._assign(centers, labels)[1]
        return Clustering(labels, centers.astype(np.float32), float(distances.sum()))

    def _assign(self, centers: np.ndarray, labels=None) -> tuple[np.ndarray, np.ndarray]:
        """Nearest centre of every sample, or the given one, and the squared distance to it."""
        centers = centers - self.mean
        squares = np.square(centers).sum(axis=1)
        found, distances = np.empty(self.count, np.int64), np.empty(self.count)
        for first, last, block in read_blocks(self.features):
            block = block - self.mean
            all_distances = squares - 2 * (block @ centers.T)
            own = all_distances.argmin(axis=1) if labels is None else labels[first:last]
            rows = np.einsum("ij,ij->i", block, block)
            found[first:last] = own
            distances[first:last] = rows + all_distances[np.arange(len(block)), own]
        return found, distances.clip(0)


def _fill_empty(labels: np.ndarray, distances: np.ndarray, k: int) -> int:
    """Fill empty clusters of `labels` in place; return how many there were."""
    from mgot.gram_kmeans import fill_empty

    return fill_empty(labels, distances, np.bincount(labels, minlength=k), labels)


def read_blocks(features) -> Iterator[tuple[int, int, np.ndarray]]:
    """Samples first … last − 1 as floating-point blocks, (first, last, `[last − first, d]`)."""
    for first in range(0, len(features), BLOCK):
        last = min(first + BLOCK, len(features))
        block = to_numpy(features[first:last]).reshape(last - first, -1)
        yield first, last, block if block.dtype.kind == "f" else block.astype(np.float64)


def _gram(flat: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Inner products `[n, n]` of the centred samples, in float64, a slice of columns at a time."""
    gram = np.zeros((len(flat), len(flat)))
    starts = range(0, flat.shape[1], GRAM_COLUMNS)
    for first in progress(starts, "inner products", unit="slice"):
        part = flat[:, first : first + GRAM_COLUMNS] - mean[first : first + GRAM_COLUMNS]
        gram += part @ part.T
    return gram


def means(features, labels: np.ndarray, k: int) -> np.ndarray:
    """Means of the clusters' samples, float64 `[k, d]`."""
    total = np.zeros((k, int(np.prod(features.shape[1:]))))
    for first, last, block in read_blocks(features):
        for cluster in range(k):
            total[cluster] += block[labels[first:last] == cluster].sum(axis=0, dtype=np.float64)
    return total / np.bincount(labels, minlength=k)[:, None]
