"""k-means over patch distributions, and the elbow.

Lloyd's iterations need the samples' inner products G alone. A sample's squared distance to the
centre of cluster J is G_ii − 2 Σ_{l ∈ J} G_il / |J| + Σ_{l, m ∈ J} G_lm / |J|². The first sum is
kept for every sample and cluster, and changed only by what the samples that moved bring and take:
after a few iterations an iteration costs next to nothing, whatever the dimension.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from crowd.io.arrays import to_numpy
from crowd.io.errors import InputError
from crowd.io.progress import progress

# Held at once (1.6 GB of patches), with their Gram matrix (0.5 GB); of more, blocks are read anew.
GRAM_SAMPLES = 8192
BLOCK = 256
# A pass over samples that are read from disk must lower the inertia by this share to be repeated.
STREAM_TOLERANCE = 1e-7


@dataclass(frozen=True)
class Clustering:
    """A partition of the samples: the cluster of each, int64 `[n]`, the means of the clusters'
    members, float32 `[k, d]` (for more than 8192 samples the members of the last pass but one,
    equal up to the tolerance), and the sum of squared Euclidean distances to the own centre.
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
    return next(read_blocks(features, len(features)))[1]


def kmeans(features, k: int, seed: int = 0, restarts: int = 10, name="k-means") -> Clustering:
    """Euclidean k-means (k-means++ starts, Lloyd's iterations, the best of `restarts`).

    The iterations run on the samples' inner products in float64: the same partition for a fraction
    of the work. Of more than 8192 samples a random part is clustered so, and its centres are the
    start of iterations that read all samples block by block; memory stays the same.

    Features are `[n, ...]`, flattened to `[n, d]`: numpy, torch, an h5 dataset, or anything with
    `shape` whose slices are arrays of finite numbers. `seed` draws the starts. Raises `InputError`,
    in which the features have `name`, for fewer distinct samples than clusters, no cluster, or
    values that are not finite.
    """
    return _Samples(features, seed, name).cluster(k, restarts)


def elbow(
    features, ks: Iterable[int] = range(2, 11), seed: int = 0, restarts: int = 10, name="k-means"
) -> list[Clustering]:
    """Cluster for several k, in ascending order; the inertia never rises from one to the next.

    Beside its own restarts each k starts from the solution before it, with the sample farthest
    from its centre as a new cluster. Ends before the first k that is more than there are distinct
    samples, where it is not the first of all. Other arguments and errors as for `kmeans`.
    """
    samples, solutions = _Samples(features, seed, name), []
    for k in progress(sorted(set(ks)), "k-means", unit="k"):
        if solutions and k > samples.distinct:
            break
        start = samples.split_farthest(solutions[-1].labels, k) if solutions else None
        solutions.append(samples.cluster(k, restarts, start))
    return solutions


class _Samples:
    """Samples `[n, d]`: few with their inner products, or many, read in blocks, with a part."""

    def __init__(self, features, seed: int, name: str):
        if not len(features):
            raise InputError(f"{name}: there are no samples to cluster: cut patches first")
        self.features, self.count = in_memory(features), len(features)
        self.seed, self.name = seed, name
        blocks = read_blocks(self.features)
        # How many can be told apart, and so the most clusters that they can form. Adding 0 makes
        # -0.0 a 0.0, which has other bytes and the same value.
        self.distinct = len({hash(row.tobytes()) for _, block in blocks for row in block + 0})
        self.mean = means(self.features, np.zeros(self.count, np.int64), 1)[0]
        if not np.isfinite(self.mean).all():
            raise InputError(f"{name}: the samples hold values that are not finite: leave them out")
        self.gram = self.part = None
        if self.count <= GRAM_SAMPLES:
            self.gram = _gram(self.features, self.mean)
        else:
            part = np.random.default_rng(seed).choice(self.count, GRAM_SAMPLES, replace=False)
            chosen = np.isin(np.arange(self.count), part)
            blocks = [block[chosen[place]] for place, block in read_blocks(self.features)]
            self.part = _Samples(np.concatenate(blocks), seed, f"{name}, a part")

    def cluster(self, k: int, restarts: int, start=None) -> Clustering:
        """Return the best partition from `restarts` starts and, where given, from labels `start`.

        Raises `InputError` where the samples cannot form k clusters.
        """
        if not 1 <= k <= self.distinct:
            raise InputError(
                f"{self.name}: only {self.distinct} of {self.count} samples are distinct, which "
                f"cannot form {k} clusters: choose fewer, cut more patches, or check the model"
            )
        if self.gram is not None:
            labels, inertia = _best_partition(self.gram, k, self.seed, restarts, start)
            centers = means(self.features, labels, k).astype(np.float32)
            # Sums of inner products that cancel may end below 0.
            return Clustering(labels, centers, max(float(inertia), 0.0))
        starts = [self.part.cluster(min(k, self.part.distinct), restarts).centers]
        if len(starts[0]) < k:
            labels = self.split_farthest(self._assign(starts[0])[0], k)
            starts = [means(self.features, labels, k)]
        if start is not None:
            starts.append(means(self.features, start, k))
        return min(map(self._iterate, starts), key=lambda result: result.inertia)

    def split_farthest(self, labels: np.ndarray, k: int) -> np.ndarray:
        """Give the samples farthest from their centres clusters of their own, up to `k`."""
        labels = labels.copy()
        for new in range(labels.max() + 1, min(k, self.distinct)):
            if self.gram is None:
                distances = self._assign(means(self.features, labels, new), labels)[1]
            else:
                distances = _distances(self.gram, labels, np.eye(new)[:, labels] @ self.gram)
                distances = distances[labels, np.arange(self.count)]
            _fill_empty(labels, distances, new + 1, labels)
        return labels

    def _iterate(self, centers: np.ndarray) -> Clustering:
        """Lloyd's iterations from `centers` until they gain next to nothing."""
        labels, distances = self._assign(centers)
        inertia, k = np.inf, len(centers)
        with progress(what="k-means", unit="pass") as bar:
            while distances.sum() < inertia * (1 - STREAM_TOLERANCE):
                inertia = distances.sum()
                _fill_empty(labels, distances, k, labels)
                centers = means(self.features, labels, k)
                labels, distances = self._assign(centers)
                bar.update()
        if _fill_empty(labels, distances, k, labels):
            centers = means(self.features, labels, k)
            distances = self._assign(centers, labels)[1]
        return Clustering(labels, centers.astype(np.float32), float(distances.sum()))

    def _assign(self, centers: np.ndarray, labels=None) -> tuple[np.ndarray, np.ndarray]:
        """Nearest centre of every sample, or the given one, and the squared distance to it."""
        centers = centers - self.mean
        squares = np.square(centers).sum(axis=1)
        found, distances = np.empty(self.count, np.int64), np.empty(self.count)
        for place, block in read_blocks(self.features):
            block = block - self.mean
            all_distances = squares - 2 * (block @ centers.T)
            own = all_distances.argmin(axis=1) if labels is None else labels[place]
            rows = np.einsum("ij,ij->i", block, block)
            found[place] = own
            distances[place] = rows + all_distances[np.arange(len(block)), own]
        return found, distances.clip(0)


def _best_partition(
    gram: np.ndarray, k: int, seed: int, restarts: int, start: np.ndarray | None
) -> tuple[np.ndarray, float]:
    """The best of several runs of k-means on `torch.get_num_threads()` threads: labels, inertia.

    Starts are greedy k-means++ (Arthur & Vassilvitskii 2007), drawn from `seed` in the order in
    which scikit-learn draws them, so that the same samples and seed give its partition.
    """
    random = np.random.RandomState(seed)
    n, trials = len(gram), 2 + int(np.log(k))
    uniform = np.full(n, 1 / n)
    draws = [
        (random.choice(n, p=uniform), random.uniform(size=(k - 1, trials))) for _ in range(restarts)
    ]

    def run(draw):
        labels = draw if isinstance(draw, np.ndarray) else _nearest_seed(gram, *draw)
        return _lloyd(gram, labels, k)

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        starts = draws if start is None else [*draws, start]
        return min(pool.map(run, starts), key=lambda result: result[1])


def _nearest_seed(gram: np.ndarray, first: int, draws: np.ndarray) -> np.ndarray:
    """Choose k samples far apart; return for every sample the nearest of them, int64 `[n]`.

    Each after the `first` is the best candidate of a row of `draws`, `[k − 1, trials]` in [0, 1),
    which are picked in proportion to the squared distance to those before.
    """
    squares = np.diag(gram)
    labels = np.zeros(len(gram), np.int64)
    nearest = (squares + squares[first] - 2 * gram[first]).clip(0)
    for new, shares in enumerate(draws, start=1):
        cumulative = nearest.cumsum()
        chosen = np.searchsorted(cumulative, shares * cumulative[-1]).clip(max=len(gram) - 1)
        distances = (squares + squares[chosen, None] - 2 * gram[chosen]).clip(0)
        best = distances[np.minimum(distances, nearest).sum(axis=1).argmin()]
        labels[best < nearest] = new
        nearest = np.minimum(nearest, best)
    return labels


def _lloyd(gram: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, float]:
    """Iterate from `labels`, int64 `[n]`, until none changes; return them and the inertia."""
    sums, samples = np.eye(k)[:, labels] @ gram, np.arange(len(gram))
    # What a sample must gain to move, else it would be rounding that moves it.
    least, lowest = 1e-13 * np.diag(gram).max(initial=0), np.inf
    while True:
        distances = _distances(gram, labels, sums)
        own, proposed = distances[labels, samples], distances.argmin(axis=0)
        inertia = own.sum()
        stays = distances[proposed, samples] >= own - least
        # Moves that no longer lower it are rounding's and could go on for ever.
        if not inertia < lowest:
            stays[:] = True
        proposed[stays], lowest = labels[stays], min(lowest, inertia)
        _fill_empty(labels, own, k, proposed)
        moved = np.flatnonzero(proposed != labels)
        if not len(moved):
            return labels, inertia
        change = np.eye(k)[:, proposed[moved]] - np.eye(k)[:, labels[moved]]
        sums += change @ gram[moved]
        labels = proposed


def _distances(gram: np.ndarray, labels: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """Squared distance of every sample to every centre `[k, n]`, infinite of an empty cluster.

    `sums` `[k, n]` are the inner products of every sample with the sum of every cluster.
    """
    k, n = sums.shape
    counts = np.bincount(labels, minlength=k)[:, None]
    spread = np.bincount(labels, sums[labels, np.arange(n)], k)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.diag(gram) + (spread / counts - 2 * sums) / counts
    return np.where(counts, distances, np.inf)


def _fill_empty(labels: np.ndarray, distances: np.ndarray, k: int, proposed: np.ndarray) -> int:
    """Give each empty cluster of `labels` the sample farthest from its own centre, in `proposed`.

    No cluster gives its last sample, and no sample is given twice: samples that only rounding
    tells apart would make as many holes as they fill. Returns how many are given.
    """
    counts = np.bincount(labels, minlength=k)
    empty, given = np.flatnonzero(counts == 0), []
    if len(empty):
        for sample in np.argsort(-distances, kind="stable"):
            if len(given) < len(empty) and counts[labels[sample]] > 1:
                counts[labels[sample]] -= 1
                given.append(sample)
        proposed[given] = empty[: len(given)]
    return len(given)


def read_blocks(features, size: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
    """Samples as floating-point blocks `[size, d]` (256 when None), with their places."""
    size = size or BLOCK
    for first in range(0, len(features), size):
        place = slice(first, min(first + size, len(features)))
        block = to_numpy(features[place])
        block = block.reshape(len(block), -1)
        yield place, block if block.dtype.kind == "f" else block.astype(np.float64)


def _gram(flat: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Inner products `[n, n]` of the centred samples, in float64, a slice of columns at a time."""
    gram = np.zeros((len(flat), len(flat)))
    columns = [slice(first, first + 4096) for first in range(0, flat.shape[1], 4096)]
    for place in progress(columns, "inner products", unit="slice"):
        part = flat[:, place] - mean[place]
        gram += part @ part.T
    return gram


def means(features, labels: np.ndarray, k: int) -> np.ndarray:
    """Means of the clusters' samples, float64 `[k, d]`."""
    total = np.zeros((k, int(np.prod(features.shape[1:]))))
    for place, block in read_blocks(features):
        for cluster in range(k):
            total[cluster] += block[labels[place] == cluster].sum(axis=0, dtype=np.float64)
    return total / np.bincount(labels, minlength=k)[:, None]
