"""Pictures of MGOT: elbow, clusters in their principal plane, matched patches, predicted heads.

Every picture is one JPEG or PNG of at most 300 kB, drawn to be read at the width of a README.
Points are (x, y) in pixels of the photo.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.io.errors import extra
from crowd.io.progress import progress
from crowd.pictures.drawing import PALETTE
from crowd.pictures.overlays import write_figure
from mgot.clustering import means, read_blocks
from mgot.feature_files import Features
from mgot.maps import PATCH_SIDE
from mgot.patches import read_patch
from mgot.selection import Alignment

with extra("commands", "drawing"):
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

WIDTH, TEXT = 10.0, 12
EXAMPLES = 8
POWER_ITERATIONS = 4


def figure_of(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    return Figure((width, height), dpi=120, layout="constrained")


def show_map(axis, values: np.ndarray, top: float = 1.0) -> None:
    """Show a FIDT map [H, W], or a photo, without ticks; its low values are lifted."""
    axis.imshow(values, cmap="inferno", norm=PowerNorm(0.5, 0, top))
    axis.set(xticks=[], yticks=[])


def draw_elbow(path: str | os.PathLike, ks: Sequence[int], inertias: Sequence[float], elbow: int):
    """Draw the inertia (sum of squared distances to the own centre) for each k; mark the elbow."""
    figure = figure_of(7, 4.2)
    axis = figure.subplots()
    axis.plot(ks, inertias, "o-", color=PALETTE[4], lw=1.8)
    axis.axvline(elbow, color=PALETTE[5], lw=1, ls=":")
    axis.plot(elbow, inertias[list(ks).index(elbow)], "o", ms=12, mfc="none", mec=PALETTE[5], mew=2)
    axis.set_title(f"elbow at k = {elbow}", fontsize=TEXT + 1)
    axis.set_xlabel("clusters k", fontsize=TEXT)
    axis.set_ylabel("inertia", fontsize=TEXT)
    axis.set(xticks=list(ks), ylim=(0, None))
    axis.grid(alpha=0.3)
    write_figure(path, figure)


def pca_projection(features, centers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project samples and centres on the samples' first two principal axes.

    One projection for both, so that a centre lies at the mean of its members' points. Features are
    flattened to `[n, d]`, with d of at least 2, and read in blocks; centres are `[k, d]`.
    Returns `[n, 2]` and `[k, 2]`.
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
    """Draw samples [n, 2] and centres [k, 2] in one projection, and above them the centres' maps.

    `labels` [n] are the samples' clusters, `maps` [k, H, W] what each centre looks like.
    """
    columns = max(len(centers), 4)
    figure = figure_of(WIDTH, WIDTH / columns + 6.3)
    grid = figure.add_gridspec(2, columns, height_ratios=[WIDTH / columns, 6])
    axis = figure.add_subplot(grid[1, :])
    for number, center in enumerate(centers):
        colour, members = PALETTE[number % len(PALETTE)], samples[labels == number]
        panel = figure.add_subplot(grid[0, number])
        show_map(panel, maps[number], max(float(np.max(maps)), 1e-6))
        panel.set_title(f"{number}: {len(members)} patches", fontsize=TEXT - 1)
        for side in panel.spines.values():
            side.set(color=colour, linewidth=4)
        axis.scatter(*members.T, s=22, color=colour, alpha=0.6, linewidths=0)
        axis.plot(*center, "o", ms=17, mfc=colour, mec="black", mew=1.5, zorder=3)
        text = {"ha": "center", "va": "center", "weight": "bold", "zorder": 4}
        axis.text(*center, str(number), fontsize=TEXT - 1, **text)
    axis.set_xlabel("first principal axis of the samples", fontsize=TEXT)
    axis.set_ylabel("second", fontsize=TEXT)
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

    They are evenly spread over the clusters and, within each, from near to far. `weights` are those
    written to the file, float64 `[p]`; features and photos, those of target and source, where
    photos may be None: then their predicted maps are drawn alone.
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
    side = WIDTH / max(len(picks), 4)
    figure = figure_of(side * len(picks) + 0.4, side * len(rows) + 0.6)
    axes = figure.subplots(len(rows), len(picks), squeeze=False)
    for line, (title, images) in zip(axes, rows.items(), strict=True):
        line[0].set_ylabel(title, fontsize=TEXT - 1)
        for axis, image in zip(line, images, strict=True):
            show_map(axis, image)
    for axis, pick in zip(axes[0], picks, strict=True):
        title = f"weight {weights[pick]:.2f}\ncost {alignment.cost[pick]:.3f}"
        axis.set_title(title, fontsize=TEXT - 2)
    write_figure(path, figure)


def draw_peaks(path: str | os.PathLike, image: np.ndarray, peaks: np.ndarray, actual: np.ndarray):
    """Mark predicted [M, 2] and annotated heads [N, 2], x and y in pixels, on a photo [H, W, 3]."""
    height, width = image.shape[:2]
    figure = figure_of(WIDTH, WIDTH * height / width + 0.5)
    axis = figure.subplots()
    axis.imshow(image, extent=(0, width, height, 0))
    axis.set_axis_off()
    axis.plot(*actual.T, "o", ms=9, mfc="none", mec=PALETTE[1], mew=1.5)
    axis.plot(*peaks.T, "o", ms=4, mfc=PALETTE[0], mec="black", mew=0.6)
    axis.set(xlim=(0, width), ylim=(height, 0))
    title = f"predicted {len(peaks)} (dots)   ·   annotated {len(actual)} (circles)"
    axis.set_title(title, fontsize=TEXT + 2)
    write_figure(path, figure)
