"""Lloyd's k-means when only inner products of the samples are known.

With the Gram matrix G of the samples, a sample's squared distance to the centre of cluster J is
G_ii − 2 Σ_{l ∈ J} G_il / |J| + Σ_{l, m ∈ J} G_lm / |J|². The first sum is kept for every sample and
cluster, and changed only by what the samples that moved bring and take: after a few iterations an
iteration costs next to nothing, whatever the dimension.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from crowd.io.compiled import njit

_OPTIONS = {"nogil": True, "error_model": "numpy", "cache": True}


def best_partition(
    gram: np.ndarray, k: int, seed: int, restarts: int, start: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """The best of several runs of k-means on `torch.get_num_threads()` threads.

    Starts are greedy k-means++ (Arthur & Vassilvitskii 2007), drawn from `seed` in the order in
    which scikit-learn draws them, so that the same samples and seed give its partition.

    Args:
        gram: inner products of the centred samples, float64 `[n, n]`.
        k: number of clusters, at most the number of distinct samples.
        seed: of the starts.
        restarts: number of starts.
        start: one more start, int64 `[n]` with values 0 … k − 1.

    Returns:
        int64 `[n]`, the cluster of every sample, and the inertia.
    """
    random = np.random.RandomState(seed)
    n, trials = len(gram), 2 + int(np.log(k))
    uniform = np.full(n, 1 / n)
    draws = [
        (random.choice(n, p=uniform), random.uniform(size=(k - 1, trials))) for _ in range(restarts)
    ]

    def run(draw):
        labels = draw if isinstance(draw, np.ndarray) else nearest_seed(gram, *draw)
        return labels, lloyd(gram, labels, k)

    starts = draws if start is None else [*draws, start.copy()]
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        return min(pool.map(run, starts), key=lambda result: result[1])


def nearest_seed(gram: np.ndarray, first: int, draws: np.ndarray) -> np.ndarray:
    """Choose k samples far apart; return for every sample the nearest of them, int64 `[n]`.

    Args:
        gram: float64 `[n, n]`.
        first: the first of them.
        draws: `[k − 1, trials]`, in [0, 1). Each further one is the best of `trials` candidates,
            drawn with probabilities in proportion to the squared distance to those before.
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


@njit(**_OPTIONS)
def lloyd(gram, labels, k):
    """Iterate `labels` int64 `[n]` in place until none changes; return the inertia.

    Of at least k samples no cluster stays empty.
    """
    n = len(gram)
    sums, counts = np.zeros((k, n)), np.zeros(k, np.int64)
    for i in range(n):
        _add(sums[labels[i]], gram[i], 1.0)
        counts[labels[i]] += 1
    proposed, own = labels.copy(), np.empty(n)
    lowest, largest = np.inf, 0.0
    for i in range(n):
        largest = max(largest, gram[i, i])
    while True:
        inertia = _propose(gram, labels, sums, counts, proposed, own, 1e-13 * largest)
        # Moves that no longer lower it are rounding's and could go on for ever.
        if not inertia < lowest:
            proposed[:] = labels
        lowest = min(lowest, inertia)
        fill_empty(labels, own, counts, proposed)
        changed = 0
        for i in range(n):
            old, new = labels[i], proposed[i]
            if old != new:
                _add(sums[old], gram[i], -1.0)
                _add(sums[new], gram[i], 1.0)
                counts[old] -= 1
                counts[new] += 1
                labels[i] = new
                changed += 1
        if changed == 0:
            return inertia


@njit(**_OPTIONS)
def _propose(gram, labels, sums, counts, proposed, own, least):
    """Write each sample's nearest cluster to `proposed`; return the inertia of `labels`.

    A sample moves only where that gains more than `least`, rounding. `own` receives the squared
    distances to the present centres.
    """
    n, k = len(gram), len(sums)
    spread = np.zeros(k)
    for i in range(n):
        spread[labels[i]] += sums[labels[i], i]
    inertia = 0.0
    for i in range(n):
        label = labels[i]
        best, choice = np.inf, label
        for j in range(k):
            if counts[j]:
                distance = spread[j] / counts[j] - 2.0 * sums[j, i]
                distance = gram[i, i] + distance / counts[j]
                if j == label:
                    own[i] = distance
                if distance < best:
                    best, choice = distance, j
        proposed[i] = choice if best < own[i] - least else label
        inertia += own[i]
    return inertia


@njit(**_OPTIONS)
def fill_empty(labels, distances, counts, proposed):
    """Write to `proposed`, for each empty cluster, the sample farthest from its own centre.

    No cluster gives its last sample, and no sample is given twice: samples that only rounding
    tells apart would make as many holes as they fill.

    Args:
        labels: present clusters, int64 `[n]`.
        distances: to the own centre, float64 `[n]`.
        counts: samples of each cluster, int64 `[k]`.
        proposed: int64 `[n]`, changed in place; may be `labels`.

    Returns:
        The number of clusters filled.
    """
    left, given = counts.copy(), np.zeros(len(labels), np.bool_)
    filled = 0
    for j in range(len(counts)):
        if counts[j]:
            continue
        farthest = -1
        for i in range(len(labels)):
            free = not given[i] and left[labels[i]] > 1
            if free and (farthest < 0 or distances[i] > distances[farthest]):
                farthest = i
        if farthest >= 0:
            left[labels[farthest]] -= 1
            given[farthest] = True
            proposed[farthest] = j
            filled += 1
    return filled


@njit(**_OPTIONS)
def _add(total, row, factor):
    for i in range(len(total)):
        total[i] += factor * row[i]
