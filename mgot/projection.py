"""A projection of samples and cluster centres to look at."""

from __future__ import annotations

import numpy as np

from crowd.io.errors import InputError
from crowd.io.progress import progress
from mgot.arrays import to_numpy
from mgot.clustering import means, read_blocks

POWER_ITERATIONS = 4


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
    shape = len(features), int(np.prod(features.shape[1:]))
    if min(shape) < 2:
        raise InputError(f"a projection needs 2 samples and 2 values a sample, not {shape}")
    mean, _ = means(features, np.zeros(len(features), np.int64), 1)
    axes = np.random.default_rng(0).normal(size=(shape[1], min(8, *shape)))
    for _ in progress(range(POWER_ITERATIONS), "principal axes", unit="pass"):
        axes = np.linalg.qr(axes)[0].astype(np.float32)
        product = np.zeros(axes.shape)
        for _, _, block in read_blocks(features):
            block = block - mean[0].astype(block.dtype)
            product += block.T @ (block @ axes)
        axes = product
    axes = np.linalg.svd(product, full_matrices=False)[0][:, :2]
    points = [(block - mean[0]) @ axes for _, _, block in read_blocks(features)]
    return np.concatenate(points), (to_numpy(centers).reshape(len(centers), -1) - mean[0]) @ axes
