"""Pictures small enough for a README: whatever is drawn is written in at most 300 kB."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from crowd.io.errors import InputError
from crowd.io.files import atomic_path

LIMIT = 300_000
_JPEG_QUALITIES = (92, 85, 75, 65)


def write_picture(path: str | os.PathLike, pixels: np.ndarray, limit: int = LIMIT) -> None:
    """Write an RGB picture atomically in at most `limit` bytes.

    JPEG gives up quality first, PNG its full colours (256 are left); both then give up size.

    Args:
        path: Name ending in .jpg, .jpeg or .png.
        pixels: uint8 [H, W, 3].
        limit: Size in bytes.

    Raises:
        InputError: another ending, or the folder is not writable.
    """
    path = Path(path)
    encoders = {".jpg": _encode_jpeg, ".jpeg": _encode_jpeg, ".png": _encode_png}
    if path.suffix.lower() not in encoders:
        raise InputError(f"{path} is no name for a picture: let it end in .jpg or .png")
    encode = encoders[path.suffix.lower()]
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    data = encode(picture, limit)
    while len(data) > limit:
        # Bytes follow the area; a little more, so that a second round is rare.
        shrink = min(0.95 * (limit / len(data)) ** 0.5, 0.9)
        size = [max(round(side * shrink), 1) for side in picture.size]
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        data = encode(picture, limit)
    with atomic_path(path) as part:
        part.write_bytes(data)


def _encode_jpeg(picture: Image.Image, limit: int) -> bytes:
    for quality in _JPEG_QUALITIES:
        data = _encode(picture, "JPEG", quality=quality, optimize=True)
        if len(data) <= limit:
            break
    return data


def _encode_png(picture: Image.Image, limit: int) -> bytes:
    data = _encode(picture, "PNG", optimize=True)
    if len(data) <= limit:
        return data
    return _encode(picture.quantize(256), "PNG", optimize=True)


def _encode(picture: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def write_figure(path: str | os.PathLike, figure) -> None:
    """Draw a matplotlib figure without a display and write it as `write_picture` does."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    write_picture(path, np.asarray(canvas.buffer_rgba())[..., :3])
