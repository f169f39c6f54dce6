"""Pictures of what the methods do: the kernel's colours, curves of a training, sheets of photos.

Curves and sheets are one JPEG or PNG of at most 300 kB, at a README's width; colours are those of
Okabe and Ito, safe for the colour-blind.
"""

import os
import textwrap
from collections.abc import Sequence

import numpy as np

from crowd.io.errors import InputError, extra
from crowd.pictures.overlays import write_figure

with extra("commands", "drawing"):
    import cv2
    from matplotlib.figure import Figure

PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7")
_WIDTH, _DPI, _TEXT = 10.0, 120, 12
_LONGEST_SIDE = 1400


def kernel_colours(heads: np.ndarray) -> np.ndarray:
    """Colours [h, w, 4] in 0-1 of cells, by the kernel's head [N, h, w] they are sent to."""
    overlay = np.zeros((*heads.shape[1:], 4))
    if len(heads):
        overlay[..., :3] = _distinct_colours(heads)[heads.argmax(axis=0)]
        overlay[..., 3] = 0.75 * heads.max(axis=0).clip(0, 1)
    return overlay


def draw_curve(path: str | os.PathLike, log: list[dict], names: Sequence[str], title: str) -> None:
    """Draw errors and losses of a training over its epochs, a panel a name, the lowest marked.

    Lines of the log, such as {"epoch": 3, "loss": 0.5}, may lack a name. Raises `InputError` where
    all of them do, or there are no names.
    """
    if not names:
        raise InputError("the log has no epoch yet: train on")
    columns = min(len(names), 3)
    rows = -(-len(names) // columns)
    figure = Figure((_WIDTH, 0.8 + 3.2 * rows), dpi=_DPI, layout="constrained")
    figure.suptitle(title, fontsize=_TEXT + 2)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis, name in zip(axes, names, strict=False):
        _draw_one_curve(axis, log, name)
    for axis in axes[len(names) :]:
        axis.set_axis_off()
    write_figure(path, figure)


def _draw_one_curve(axis, log: list[dict], name: str) -> None:
    pairs = [(line["epoch"], line[name]) for line in log if line.get(name) is not None]
    pairs = [(epoch, value) for epoch, value in pairs if np.isfinite(value)]
    if not pairs:
        known = sorted({key for line in log for key in line} - {"epoch"})
        raise InputError(
            f"the log has no figures for '{name}': it has {', '.join(known) or 'none'}"
        )
    epochs, values = np.array(pairs, dtype=np.float64).T
    axis.plot(epochs, values, "-" if len(epochs) > 1 else "o", color=PALETTE[4], lw=1.8)
    if values.min() > 0 and values.max() > 20 * values.min():
        axis.set_yscale("log")
    best = int(values.argmin())
    axis.axvline(epochs[best], color=PALETTE[5], lw=1, ls=":")
    axis.plot(epochs[best], values[best], "o", ms=8, mfc="none", mec=PALETTE[5], mew=2)
    label = f"{name}: best {values[best]:.4g} at epoch {epochs[best]:g}"
    axis.set_title("\n".join(textwrap.wrap(label, 34)), fontsize=_TEXT)
    axis.set_xlabel("epoch", fontsize=_TEXT)
    axis.tick_params(labelsize=_TEXT - 1)
    axis.grid(alpha=0.3)


def contact_sheet(
    path: str | os.PathLike, images: Sequence[np.ndarray], captions: Sequence[str], columns: int
) -> None:
    """Draw pictures, uint8 [H, W, 3] of any sizes, in rows, each above its caption."""
    columns = min(columns, len(images))
    letters = max(int(105 / columns), 8)
    wrapped = ["\n".join(textwrap.wrap(caption, letters)) for caption in captions]
    lines = max(caption.count("\n") + 1 for caption in wrapped)
    tall = [image.shape[0] / image.shape[1] for image in images]
    heights = [  # of each row its own: one upright photo would stretch all
        _WIDTH / columns * max(tall[first : first + columns]) + 0.22 * lines + 0.1
        for first in range(0, len(images), columns)
    ]
    figure = Figure((_WIDTH, sum(heights)), dpi=_DPI, layout="constrained")
    axes = figure.subplots(len(heights), columns, squeeze=False, height_ratios=heights).ravel()
    for axis, image, caption in zip(axes, images, wrapped, strict=False):
        shrink = min(_LONGEST_SIDE / max(image.shape[:2]), 1)
        axis.imshow(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA))
        axis.set_xlabel(caption, fontsize=_TEXT, labelpad=3)
    for axis in axes:
        axis.set(xticks=[], yticks=[], frame_on=False, anchor="S")
    write_figure(path, figure)


def faded(image: np.ndarray) -> np.ndarray:
    """Return the photo, uint8 [H, W, 3], in a light grey on which colours stand out."""
    grey = image.mean(axis=2, keepdims=True)
    return np.repeat((60 + 0.65 * grey).astype(np.uint8), 3, axis=2)


def _distinct_colours(heads: np.ndarray) -> np.ndarray:
    """Return a palette colour [N, 3] for each map [N, h, w], differing from its neighbours'."""
    from matplotlib.colors import to_rgb
    from scipy.spatial import cKDTree

    rows, columns = np.indices(heads.shape[1:]).reshape(2, -1)
    weights = heads.reshape(len(heads), -1) + 1e-9
    centres = np.stack([weights @ columns, weights @ rows], 1) / weights.sum(1, keepdims=True)
    near = cKDTree(centres).query(centres, k=min(len(PALETTE), len(centres)))[1]
    chosen = np.full(len(heads), -1)
    for i, neighbours in enumerate(near.reshape(len(heads), -1)):
        taken = chosen[neighbours[neighbours != i]]
        free = [colour for colour in range(len(PALETTE)) if colour not in taken]
        chosen[i] = (free or [i % len(PALETTE)])[0]
    return np.array([to_rgb(colour) for colour in PALETTE])[chosen]
