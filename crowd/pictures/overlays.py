"""Counts drawn into photos and frames, quickly enough for a video."""

from __future__ import annotations

import numpy as np

from crowd.io.errors import extra

with extra("commands", "drawing into photos"):
    import cv2

_YELLOW = (240, 228, 66)
_ROWS = 256
NOBODY = np.zeros((0, 2), np.float32)


def density_overlay(
    image: np.ndarray, density: np.ndarray, stride: int = 8, heads: np.ndarray = NOBODY
) -> np.ndarray:
    """Lay a density map over a photo.

    Args:
        image: uint8 [H, W, 3], RGB.
        density: people per cell [h, w]; cells are squares from the corner on.
        stride: side of a cell, pixels.
        heads: (x, y) [N, 2], pixels, marked by small dots.

    Returns:
        uint8 [H, W, 3].
    """
    height, width = image.shape[:2]
    size = (density.shape[1] * stride, density.shape[0] * stride)
    share = cv2.resize(np.asarray(density, np.float32), size, interpolation=cv2.INTER_LINEAR)
    share = cv2.copyMakeBorder(share, 0, max(height - size[1], 0), 0, max(width - size[0], 0), 1)
    share = share[:height, :width] / max(float(density.max(initial=0)), 1e-12)
    drawn = np.empty_like(image)
    for top in range(0, height, _ROWS):  # panoramas are large, and floats four times that
        rows = slice(top, top + _ROWS)
        colours = density_colours(share[rows])
        opacity = colours[..., 3:] * (0.8 / 255)
        drawn[rows] = (image[rows] * (1 - opacity) + colours[..., :3] * opacity).round()
    return _with_heads(drawn, heads, max(height, width) / 600)


def density_colours(share: np.ndarray) -> np.ndarray:
    """Colour a density map [h, w], as share of its peak in [0, 1]; the less, the more transparent.

    Returns uint8 [h, w, 4], RGB and opacity.
    """
    share = share.clip(0, 1)
    colours = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.dstack([colours[..., ::-1], (255 * np.sqrt(share)).round().astype(np.uint8)])


def heads_overlay(image: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """Mark heads (x, y) [N, 2], in pixels, in a photo uint8 [H, W, 3].

    Returns uint8 [H, W, 3].
    """
    return _with_heads(image.copy(), heads, max(image.shape[:2]) / 300)


def region_overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Darken a photo, uint8 [H, W, 3], outside a region; its mask may have another size.

    Returns uint8 [H, W, 3].
    """
    (height, width), drawn = image.shape[:2], image.copy()
    rows, columns = (
        (np.arange(side) * length) // side
        for side, length in zip((height, width), mask.shape, strict=True)
    )
    drawn[~mask[rows][:, columns]] //= 3
    return drawn


def _with_heads(image: np.ndarray, heads: np.ndarray, radius: float) -> np.ndarray:
    """Draw into the image itself."""
    drawn, radius = np.ascontiguousarray(image), max(round(radius), 1)
    for x, y in np.floor(heads).astype(int).tolist():
        cv2.circle(drawn, (x, y), radius + 1, (0, 0, 0), -1, cv2.LINE_AA)
        cv2.circle(drawn, (x, y), radius, _YELLOW, -1, cv2.LINE_AA)
    return drawn


def with_count(image: np.ndarray, count: float) -> np.ndarray:
    """Write a count into the corner of a photo, uint8 [H, W, 3], which is returned."""
    scale = image.shape[0] / 500
    text, place = f"{count:.1f}", (round(8 * scale), round(32 * scale))
    for thickness, colour in ((6, (0, 0, 0)), (2, (255, 255, 255))):
        width = max(round(thickness * scale), 1)
        cv2.putText(image, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, colour, width, cv2.LINE_AA)
    return image
