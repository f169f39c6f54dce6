"""k-means over patch distributions, the elbow, and a projection to look at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA

from crowd.errors import InputError
from crowd.progress import progress
from mgot.arrays import to_numpy

GRAM_COLUMNS = 4096


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


def kmeans(features, k: int, seed: int = 0, restarts: int = 10, start=None) -> Clustering:
    """Euclidean k-means (k-means++ starts, Lloyd's iterations, the best of `restarts`).

    With fewer samples than dimensions the iterations run on coordinates that preserve all
    distances, from the Gram matrix in float64: the same partition for a fraction of the work.

    Args:
        features: `[n, ...]`, flattened to `[n, d]`; numpy, torch or an h5 dataset.
        k: number of clusters, at least 1.
        seed: of the k-means++ starts.
        restarts: number of starts.
        start: one more start, the cluster of every sample, int `[n]` with values 0 … k − 1.

    Raises:
        InputError: fewer samples, or fewer distinct ones, than clusters; NaN or infinite values.
    """
    return _Samples(features).cluster(k, seed, restarts, start)


def elbow(
    features, ks: Iterable[int] = range(2, 11), seed: int = 0, restarts: int = 10
) -> list[Clustering]:
    """Cluster for several k; the inertia never rises from one to the next.

    Beside its own restarts each k starts from the solution before it, with the sample farthest
    from its centre as a new cluster. Lloyd's iterations only lower the inertia from there.

    Args:
        features: as for `kmeans`.
        ks: numbers of clusters, taken in ascending order.
        seed: of the k-means++ starts.
        restarts: starts per k.

    Returns:
        One clustering per k, in ascending order of k.

    Raises:
        InputError: as `kmeans`.
    """
    samples = _Samples(features)
    solutions: list[Clustering] = []
    for k in progress(sorted(set(ks)), "k-means", unit="k"):
        start = samples.split_farthest(solutions[-1].labels, k) if solutions else None
        solutions.append(samples.cluster(k, seed, restarts, start))
    return solutions


def pca_projection(features, centers) -> tuple[np.ndarray, np.ndarray]:
    """Project samples and centres on the samples' first two principal axes.

    One projection for both, so that a centre lies at the mean of its members' points.

    Args:
        features: `[n, ...]`, flattened to `[n, d]`.
        centers: `[k, ...]`, flattened to `[k, d]`.

    Returns:
        `[n, 2]` and `[k, 2]`.

    Raises:
        InputError: fewer than 2 samples or values a sample; NaN or infinite values.
    """
    flat = _flatten(features)
    if min(flat.shape) < 2:
        raise InputError(f"a projection needs 2 samples and 2 values a sample, not {flat.shape}")
    pca = PCA(n_components=2, svd_solver="randomized", random_state=0)
    points = pca.fit_transform(flat)
    return points, pca.transform(to_numpy(centers).reshape(len(centers), -1))


class _Samples:
    """Samples `[n, d]`, coordinates that preserve their distances, and how many are distinct."""

    def __init__(self, features):
        self.flat = _flatten(features)
        self.coordinates = _coordinates(self.flat)
        self.distinct = len({hash(row.tobytes()) for row in self.flat})

    def cluster(self, k: int, seed: int, restarts: int, start=None) -> Clustering:
        """Return the best of `restarts` runs and, where given, the one from `start`."""
        self._check_count(k)
        best = self._fit(k, init="k-means++", n_init=restarts, random_state=seed)
        if start is not None:
            centers = _means(self.coordinates, self._checked(start, k), k)
            best = min(best, self._fit(k, init=centers, n_init=1), key=lambda fit: fit.inertia_)
        labels = best.labels_.astype(np.int64)
        centers = _means(self.flat, labels, k).astype(np.float32)
        return Clustering(labels, centers, float(best.inertia_))

    def split_farthest(self, labels: np.ndarray, k: int) -> np.ndarray:
        """Give the samples farthest from their centres clusters of their own, up to `k`."""
        self._check_count(k)
        labels = labels.copy()
        for new in range(labels.max() + 1, k):
            centers = _means(self.coordinates, labels, new)
            distances = np.linalg.norm(self.coordinates - centers[labels], axis=1)
            labels[np.argmax(distances)] = new
        return labels

    def _fit(self, k: int, **options) -> KMeans:
        # tol=0 iterates until no sample changes its cluster, so that inertia is a true minimum.
        return KMeans(k, tol=0.0, max_iter=1000, **options).fit(self.coordinates)

    def _check_count(self, k: int) -> None:
        if k < 1:
            raise InputError(f"the number of clusters must be at least 1, not {k}")
        if len(self.flat) < k:
            raise InputError(f"{len(self.flat)} samples cannot form {k} clusters: choose fewer")
        if self.distinct < k:
            raise InputError(
                f"only {self.distinct} of {len(self.flat)} samples are distinct, too few for {k} "
                "clusters: choose fewer, or check the model that made the features"
            )

    def _checked(self, start, k: int) -> np.ndarray:
        start = to_numpy(start)
        if start.shape != (len(self.flat),) or sorted(set(start.tolist())) != list(range(k)):
            raise InputError(f"a start must give every sample one of the clusters 0 … {k - 1}")
        return start


def _flatten(features) -> np.ndarray:
    flat = to_numpy(features)
    if not flat.size:
        raise InputError("there are no samples to cluster: extract the features first")
    flat = flat.reshape(len(flat), -1)
    if not np.issubdtype(flat.dtype, np.floating):
        flat = flat.astype(np.float64)
    finite = np.isfinite(flat).all(axis=1)
    if not finite.all():
        raise InputError(
            f"sample {int(np.argmin(finite))} holds NaN or infinite values: extract the features "
            "again with a model that has not diverged"
        )
    return flat


def _gram(flat: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Inner products `[n, n]` of the centred samples, in float64, a slice of columns at a time."""
    gram = np.zeros((len(flat), len(flat)))
    starts = range(0, flat.shape[1], GRAM_COLUMNS)
    for first in progress(starts, "inner products", unit="slice"):
        part = flat[:, first : first + GRAM_COLUMNS] - mean[first : first + GRAM_COLUMNS]
        gram += part @ part.T
    return gram


def _coordinates(flat: np.ndarray) -> np.ndarray:
    """Coordinates with the samples' Euclidean distances, at most n of them, in float64.

    With Gram matrix G = L Lᵀ the rows of L are such coordinates. Centring keeps small differences
    of large values; pivoting copes with the singular G that centring and repeated samples give.
    """
    mean = flat.mean(axis=0, dtype=np.float64)
    n, d = flat.shape
    if n >= d:
        return flat - mean
    factor, pivots, rank, _ = lapack.dpstrf(_gram(flat, mean), lower=1)
    coordinates = np.zeros((n, max(rank, 1)))
    coordinates[pivots - 1] = np.tril(factor)[:, : max(rank, 1)]
    return coordinates


def _means(values: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    return np.stack([values[labels == j].mean(axis=0, dtype=np.float64) for j in range(k)])
