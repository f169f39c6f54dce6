"""Pictures of MGOT: elbow, clusters in their principal plane, matched patches, predicted heads.

Every picture is one JPEG or PNG of at most 300 kB, drawn to be read at the width of a README.
Points are (x, y) in pixels of the photo.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.io.errors import extra
from crowd.io.progress import progress
from crowd.pictures.drawing import PALETTE
from crowd.pictures.small_files import write_figure
from mgot.clustering import means, read_blocks
from mgot.feature_files import Features
from mgot.features import read_patch
from mgot.options import PATCH_SIDE
from mgot.selection import Alignment

with extra("commands", "drawing"):
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

_WIDTH, _DPI, _TEXT = 10.0, 120, 12
_MAP_COLOURS = "inferno"
EXAMPLES = 8
POWER_ITERATIONS = 4


def draw_elbow(path: str | os.PathLike, ks: Sequence[int], inertias: Sequence[float], elbow: int):
    """Draw the inertia over the number of clusters.

    Args:
        path: picture to write.
        ks: numbers of clusters.
        inertias: sum of squared distances to the own centre for each k.
        elbow: the k to mark.
    """
    figure = Figure((7, 4.2), dpi=_DPI, layout="constrained")
    axis = figure.subplots()
    axis.plot(ks, inertias, "o-", color=PALETTE[4], lw=1.8)
    axis.axvline(elbow, color=PALETTE[5], lw=1, ls=":")
    axis.plot(elbow, inertias[list(ks).index(elbow)], "o", ms=12, mfc="none", mec=PALETTE[5], mew=2)
    axis.set_title(f"elbow at k = {elbow}", fontsize=_TEXT + 1)
    axis.set_xlabel("clusters k", fontsize=_TEXT)
    axis.set_ylabel("inertia", fontsize=_TEXT)
    axis.set_xticks(list(ks))
    axis.set_ylim(bottom=0)
    axis.tick_params(labelsize=_TEXT - 1)
    axis.grid(alpha=0.3)
    write_figure(path, figure)


def pca_projection(features, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project samples and centres on the samples' first two principal axes.

    One projection for both, so that a centre lies at the mean of its members' points.

    Args:
        features: `[n, ...]`, flattened to `[n, d]`, of at least 2 values a sample; read in blocks.
        centers: `[k, d]`.

    Returns:
        `[n, 2]` and `[k, 2]`.
    """
    mean = means(features, np.zeros(len(features), np.int64), 1)[0]
    axes = np.random.default_rng(0).normal(size=(len(mean), min(8, len(mean))))
    for _ in progress(range(POWER_ITERATIONS), "principal axes", unit="pass"):
        axes = np.linalg.qr(axes)[0].astype(np.float32)
        product = np.zeros(axes.shape)
        for _, block in read_blocks(features):
            block = block - mean.astype(block.dtype)
            product += block.T @ (block @ axes)
        axes = product
    axes = np.linalg.svd(product, full_matrices=False)[0][:, :2]
    points = [(block - mean) @ axes for _, block in read_blocks(features)]
    return np.concatenate(points), (centers - mean) @ axes


def draw_clusters(
    path: str | os.PathLike,
    samples: np.ndarray,
    centers: np.ndarray,
    labels: np.ndarray,
    maps: np.ndarray,
) -> None:
    """Draw samples and centres in one projection, and above them what each centre looks like.

    Args:
        path: picture to write.
        samples: projected samples [n, 2].
        centers: projected centres [k, 2], by the same projection.
        labels: cluster of every sample [n].
        maps: centres as maps [k, H, W].
    """
    k = len(centers)
    columns = max(k, 4)
    figure = Figure((_WIDTH, _WIDTH / columns + 6.3), dpi=_DPI, layout="constrained")
    grid = figure.add_gridspec(2, columns, height_ratios=[_WIDTH / columns, 6])
    axis = figure.add_subplot(grid[1, :])
    top = max(float(np.max(maps)), 1e-6)
    for number in range(k):
        colour, members = PALETTE[number % len(PALETTE)], samples[labels == number]
        panel = figure.add_subplot(grid[0, number])
        panel.imshow(maps[number], cmap=_MAP_COLOURS, norm=PowerNorm(0.5, 0, top))
        panel.set(xticks=[], yticks=[])
        panel.set_title(f"{number}: {len(members)} patches", fontsize=_TEXT - 1)
        for side in panel.spines.values():
            side.set(color=colour, linewidth=4)
        axis.scatter(*members.T, s=22, color=colour, alpha=0.6, linewidths=0)
    for number, center in enumerate(centers):
        colour = PALETTE[number % len(PALETTE)]
        axis.plot(*center, "o", ms=17, mfc=colour, mec="black", mew=1.5)
        axis.text(*center, str(number), ha="center", va="center", fontsize=_TEXT - 1, weight="bold")
    axis.set_xlabel("first principal axis of the samples", fontsize=_TEXT)
    axis.set_ylabel("second", fontsize=_TEXT)
    axis.tick_params(labelsize=_TEXT - 1)
    axis.set_aspect("equal", adjustable="datalim")
    write_figure(path, figure)


def draw_matches(
    path: str | os.PathLike,
    alignment: Alignment,
    weights: np.ndarray,
    features: tuple[Features, Features],
    photos: tuple[Sequence[Path] | None, Sequence[Path] | None],
) -> None:
    """Draw a few matched pairs of patches, a pair a column, with their maps, weight and cost.

    They are evenly spread over the clusters and, within each, from near to far.

    Args:
        path: picture to write.
        alignment: what was selected.
        weights: as written to the file, float64 `[p]`.
        features: of target and source.
        photos: the patches of both; None: their predicted maps alone.
    """
    order = np.lexsort([alignment.cost, alignment.group])
    spread = np.linspace(0, len(order) - 1, min(EXAMPLES, len(order)))
    picks = order[spread.round().astype(int)]
    rows = {}
    for name, side, pictures in zip(("target", "source"), features, photos, strict=True):
        indices = getattr(alignment, name)[picks]
        if pictures:
            rows[f"{name} patch"] = [read_patch(pictures[index]) for index in indices]
        rows[f"{name} map"] = side.read(indices).reshape(-1, PATCH_SIDE, PATCH_SIDE)
    side = _WIDTH / max(len(picks), 4)
    size = (side * len(picks) + 0.4, side * len(rows) + 0.6)
    figure = Figure(size, dpi=_DPI, layout="constrained")
    axes = figure.subplots(len(rows), len(picks), squeeze=False)
    for line, (title, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(title, fontsize=_TEXT - 1)
        for axis, image in zip(line, images, strict=True):
            axis.imshow(image, cmap=_MAP_COLOURS, norm=PowerNorm(0.5, 0, 1))
            axis.set(xticks=[], yticks=[])
    for axis, pick in zip(axes[0], picks, strict=True):
        title = f"weight {weights[pick]:.2f}\ncost {alignment.cost[pick]:.3f}"
        axis.set_title(title, fontsize=_TEXT - 2)
    write_figure(path, figure)


def draw_peaks(
    path: str | os.PathLike,
    image: np.ndarray,
    peaks: np.ndarray,
    actual: np.ndarray | None = None,
) -> None:
    """Mark the predicted heads on a photo, and the annotated ones where they are known.

    Args:
        path: picture to write.
        image: photo, uint8 [H, W, 3].
        peaks: predicted heads (x, y) [M, 2], pixels.
        actual: annotated heads (x, y) [N, 2], pixels.
    """
    height, width = image.shape[:2]
    figure = Figure((_WIDTH, _WIDTH * height / width + 0.5), dpi=_DPI, layout="constrained")
    axis = figure.subplots()
    axis.imshow(image, extent=(0, width, height, 0))
    axis.set_axis_off()
    title = f"predicted {len(peaks)}"
    if actual is not None:
        title += f" (dots)   ·   annotated {len(actual)} (circles)"
        _mark(axis, actual, ms=9, mfc="none", mec=PALETTE[1], mew=1.5)
    _mark(axis, peaks, ms=4, mfc=PALETTE[0], mec="black", mew=0.6)
    axis.set(xlim=(0, width), ylim=(height, 0))
    axis.set_title(title, fontsize=_TEXT + 2)
    write_figure(path, figure)


def _mark(axis, points: np.ndarray, **style) -> None:
    axis.plot(*np.reshape(points, (-1, 2)).T, "o", **style)
