"""The size at which a photo is processed, and bringing it there."""

from __future__ import annotations

import cv2
import numpy as np

INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
JPEG_LIMIT = 65500
SHORT, LONG = "short", "long"


def target_size(
    width: int, height: int, min_size: int = 512, max_size: int = 2048, bounded: str = SHORT
) -> tuple[int, int]:
    """Return the (width, height) at which a photo is processed, in pixels.

    A photo whose `bounded` side exceeds `max_size` shrinks to it; then one whose short side is
    below `min_size` grows to that, whatever its long side becomes. The aspect is kept and sides
    are rounded. GST's release bounds the short side (which makes this a clamp), FIDT's the long
    one. A size that this returned comes back unchanged.
    """
    short = min(width, height)
    limited = short if bounded == SHORT else max(width, height)
    ratio = max(min_size / short, min(max_size / limited, 1.0))
    return round(width * ratio), round(height * ratio)


def resize_photo(
    image: np.ndarray,
    min_size: int = 512,
    max_size: int = 2048,
    interpolation: str = "bilinear",
    bounded: str = SHORT,
) -> np.ndarray:
    """Bring a photo, uint8 [H, W, 3], to its `target_size`.

    GST's released code means bicubic and runs bilinear (its flag lands in another argument of
    OpenCV's resize), FIDT's resizes bilinearly too: that is what the published figures rest on.
    """
    height, width = image.shape[:2]
    size = target_size(width, height, min_size, max_size, bounded)
    if size == (width, height):
        return image
    return cv2.resize(image, size, interpolation=INTERPOLATIONS[interpolation])
