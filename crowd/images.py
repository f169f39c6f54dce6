"""Photos: reading them upright as RGB, listing them, writing them."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from crowd.errors import InputError
from crowd.files import atomic_path, require_file, require_folder, unreadable

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")


def list_images(folder: str | os.PathLike) -> list[Path]:
    """Return the photos directly inside `folder`, sorted by name."""
    folder = require_folder(folder, "check the path")
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
    )


def open_image(path: str | os.PathLike) -> Image.Image:
    """Read a photo whole, upright (EXIF orientation applied), as an RGB Pillow image.

    Raises `InputError` when the file is missing, truncated, no picture, or larger than Pillow's
    limit against decompression bombs.
    """
    with _opened(path) as image:
        image.load()
        return _as_rgb(ImageOps.exif_transpose(image))


def read_upright(path: str | os.PathLike) -> tuple[np.ndarray, int]:
    """Read a photo upright as RGB, uint8 [H, W, 3], with the EXIF orientation (1 to 8) it had.

    Raises `InputError` as `open_image` does.
    """
    with _opened(path) as image:
        image.load()
        return np.asarray(_as_rgb(ImageOps.exif_transpose(image))), _orientation(image)


class Stored(NamedTuple):
    """A photo with what its file says about it.

    Attributes:
        pixels: upright RGB, uint8 [H, W, 3].
        orientation: EXIF orientation, 1 (as stored) to 8.
        mode: Pillow's name of the stored colours, such as RGB, L, P or CMYK.
        deep: whether a channel has more than 8 bits.
    """

    pixels: np.ndarray
    orientation: int
    mode: str
    deep: bool


def read_stored(path: str | os.PathLike) -> Stored:
    """Read a photo with what its file says about it; raise `InputError` as `open_image` does."""
    with _opened(path) as image:
        # Pillow makes 8 bits of 16 where there are three channels; only the decoder still knows.
        decoders = [str(tile[3]) for tile in image.tile]
        deep = image.mode[0] in "IF" or any("16" in decoder for decoder in decoders)
        image.load()
        pixels = np.asarray(_as_rgb(ImageOps.exif_transpose(image)))
        return Stored(pixels, _orientation(image), image.mode, deep)


def read_orientation(path: str | os.PathLike) -> int:
    """Read a photo's EXIF orientation, 1 (as stored) to 8, without decoding its pixels."""
    with _opened(path) as image:
        return _orientation(image)


def read_size(path: str | os.PathLike) -> tuple[int, int]:
    """Read a photo's (width, height) as stored, before any EXIF rotation, without decoding."""
    with _opened(path) as image:
        return image.size


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Image.Image]:
    path = require_file(path, "check the path")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{path} has too many pixels to be a photo: scale it down") from error
    # Pillow's readers of damaged files raise almost anything, from struct.error to IndexError.
    except Exception as error:
        damage = "is truncated or not a picture: copy or download it again, or remove it"
        raise unreadable(path, error, damage) from error


def _as_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to 8-bit RGB; 16-bit grey is scaled, which Pillow's own conversion clips."""
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        scale = 255.0 / 65535.0 if values.max(initial=0) > 255 else 1.0
        image = Image.fromarray((values * scale).round().clip(0, 255).astype(np.uint8))
    return image.convert("RGB")


def read_image(path: str | os.PathLike) -> np.ndarray:
    """Read a photo upright as RGB, uint8 [H, W, 3]. Raises `InputError` as `open_image` does."""
    return np.asarray(open_image(path))


def write_image(path: str | os.PathLike, image: np.ndarray, quality: int = 95) -> None:
    """Write an RGB picture, uint8 [H, W, 3] (or float in [0, 1]), atomically."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = (image * 255.0).round().clip(0, 255).astype(np.uint8)
    # Into memory first: on a disk that fills meanwhile Pillow leaves half a JPEG, and says nothing.
    content = io.BytesIO()
    kind = Image.registered_extensions()[Path(path).suffix.lower()]
    Image.fromarray(image).save(content, kind, quality=quality)
    with atomic_path(path) as part:
        part.write_bytes(content.getbuffer())
