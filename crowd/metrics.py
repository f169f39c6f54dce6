"""How far counts and places are off: MAE, RMSE, NAE; precision, recall, F1."""

from collections.abc import Iterable

import numpy as np


def counting_errors(predicted, actual) -> dict[str, float]:
    """Compare predicted with annotated counts over a set of images.

    Args:
        predicted: [n] predicted counts, numpy, torch or a sequence.
        actual: [n] annotated counts.

    Returns:
        `mae`: mean absolute error; `rmse`: root of the mean squared error, which crowd counting
        papers print as "MSE"; `nae`: mean of |predicted − actual| / actual over the images with
        heads (NWPU-Crowd's definition), NaN when no image has any.

    Raises:
        ValueError: the two differ in length, or are empty.
    """
    predicted, actual = _numbers(predicted).ravel(), _numbers(actual).ravel()
    if len(predicted) != len(actual) or not len(actual):
        raise ValueError(f"{len(predicted)} predicted counts for {len(actual)} annotated ones")
    error = np.abs(predicted - actual)
    occupied = actual > 0
    return {
        "mae": float(error.mean()),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "nae": float(np.mean(error[occupied] / actual[occupied])) if occupied.any() else np.nan,
    }


def localization(predicted_points, actual_points, radius) -> dict[str, float]:
    """Match predicted with annotated heads of one image, one to one and as many as possible.

    Args:
        predicted_points: [M, 2] points in pixels, numpy or torch.
        actual_points: [N, 2] points in pixels.
        radius: a number, or [N] one for each annotated head; a pair may match when its distance
            is at most the radius.

    Returns:
        `tp`, `fp`, `fn` and, as in `localization_scores`, `precision`, `recall`, `f1`.

    Raises:
        ValueError: arrays of another shape, points that are not finite, a negative radius.
    """
    predicted, actual = _point_array(predicted_points), _point_array(actual_points)
    radius = _numbers(radius)
    if radius.ndim > 1 or (radius.ndim == 1 and len(radius) != len(actual)):
        raise ValueError(f"radius of shape {radius.shape} for {len(actual)} annotated heads")
    if not (radius >= 0).all():
        raise ValueError("a radius must be a number of at least 0")
    matched = 0
    if len(predicted) and len(actual):
        from scipy.sparse.csgraph import maximum_bipartite_matching

        pairs = _candidate_pairs(predicted, actual, np.broadcast_to(radius, len(actual)))
        matched = int((maximum_bipartite_matching(pairs) >= 0).sum())
    return localization_scores(matched, len(predicted) - matched, len(actual) - matched)


def localization_scores(tp: int, fp: int, fn: int) -> dict[str, float]:
    """Precision, recall and F1 from numbers of heads; where a denominator is 0 the score is 0.

    Nothing predicted where nothing is annotated (tp = fp = fn = 0) is right: all three are 1.
    """
    right = float(tp + fp + fn == 0)
    return {
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "precision": tp / (tp + fp) if tp + fp else right,
        "recall": tp / (tp + fn) if tp + fn else right,
        "f1": 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else right,
    }


def pool_localization(results: Iterable[dict[str, float]]) -> dict[str, float]:
    """Scores of a set: `tp`, `fp`, `fn` added up over its images, as the FIDT authors do."""
    results = list(results)
    return localization_scores(*(sum(one[name] for one in results) for name in ("tp", "fp", "fn")))


def _candidate_pairs(predicted: np.ndarray, actual: np.ndarray, radius: np.ndarray):
    """Pairs within reach, a sparse [N, M] with rows the annotated heads.

    The tree compares squares; a hair more reach there and the plain distance here keep "at most"
    exact. No distance exceeds the sum of all coordinates, which bounds an infinite radius.
    """
    from scipy.sparse import csr_array
    from scipy.spatial import cKDTree

    reach = min(radius.max(), np.abs(predicted).sum() + np.abs(actual).sum())
    reach = np.minimum(radius, reach) * (1 + 1e-9)
    near = cKDTree(predicted).query_ball_point(actual, reach)
    rows = np.repeat(np.arange(len(actual)), [len(one) for one in near])
    columns = np.concatenate([np.asarray(one, dtype=np.int64) for one in near])
    distance = np.hypot(*(predicted[columns] - actual[rows]).T)
    keep = distance <= radius[rows]
    ones = np.ones(int(keep.sum()), dtype=np.int8)
    return csr_array((ones, (rows[keep], columns[keep])), shape=(len(actual), len(predicted)))


def _numbers(values) -> np.ndarray:
    """Numpy float64 of numpy, sequences, and torch tensors on any device."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().double().numpy()
    return np.asarray(values, dtype=np.float64)


def _point_array(points) -> np.ndarray:
    points = _numbers(points)
    if points.size == 0:
        return points.reshape(0, 2)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points of shape {points.shape}; expected [N, 2]")
    if not np.isfinite(points).all():
        raise ValueError("points must be finite")
    return points
