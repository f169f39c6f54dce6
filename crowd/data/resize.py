"""The size at which a photo is processed, and windows of photos that are scaled."""

import numpy as np
from PIL import Image

INTERPOLATIONS = ("bilinear", "bicubic")
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


def scaled_size(width: int, height: int, factor: float) -> tuple[int, int]:
    """Return (width, height) of a photo scaled by `factor`, rounded to whole pixels."""
    return max(round(width * factor), 1), max(round(height * factor), 1)


def place_window(
    width: int, height: int, size: int, factor: float, position: tuple[float, float]
) -> tuple[float, int, int]:
    """Place a size × size window in a photo scaled by `factor`: return factor, left, top.

    `position` is (x, y) in [0, 1) of the places where it fits. The factor becomes 1 where the
    scaled short side would not reach `size`; a photo that does not at all has the window at 0, 0.
    """
    if factor * min(width, height) < size:
        factor = 1.0
    scaled = scaled_size(width, height, factor)
    left, top = (
        int(share * (max(side - size, 0) + 1)) for share, side in zip(position, scaled, strict=True)
    )
    return factor, left, top


def scaled_window(image: np.ndarray, factor: float, left: int, top: int, size: int) -> np.ndarray:
    """Cut the size × size window at (left, top) out of a photo scaled by `factor` (bilinear).

    Only the window is resampled, with the same result as resampling the whole photo. What lies
    beyond the scaled photo is left out: uint8 [<= size, <= size, 3].
    """
    height, width = image.shape[:2]
    scaled_width, scaled_height = scaled_size(width, height, factor)
    right, bottom = min(left + size, scaled_width), min(top + size, scaled_height)
    if factor == 1.0:
        return image[top:bottom, left:right]
    stretch = np.array([scaled_width / width, scaled_height / height])
    box = np.array([left, top, right, bottom]) / np.tile(stretch, 2)
    # Pillow copies what it is given: the box, and two pixels around it that its filter can reach.
    near = np.maximum(np.floor(box[:2]).astype(int) - 2, 0)
    far = np.ceil(box[2:]).astype(int) + 2
    part = Image.fromarray(np.ascontiguousarray(image[near[1] : far[1], near[0] : far[0]]))
    place = np.minimum(box - np.tile(near, 2), np.tile(part.size, 2))
    window = (right - left, bottom - top)
    return np.asarray(part.resize(window, Image.Resampling.BILINEAR, box=tuple(place.tolist())))
