"""Photos: reading them upright as RGB, and writing them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image

from crowd.data.depth import AUTO, require_used, to_8_bits
from crowd.data.folders import AVIF, HEIC, TIFF, missing_reader
from crowd.data.upload import Upload
from crowd.io.errors import InputError
from crowd.io.files import atomic_path, require_file, unreadable
from crowd.io.progress import note

MEGAPIXELS = "MAX_MEGAPIXELS"
_STRIP = 2**22  # pixels
# Beginnings of files of the two formats, after the length of their first box.
_HEIC_BRANDS, _AVIF_BRANDS = re.compile(rb"ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)"), b"ftypavi"


def read_image(path: str | os.PathLike | Upload, depth: str = AUTO) -> np.ndarray:
    """Read a photo whole, upright (EXIF orientation applied), as RGB, uint8 [H, W, 3].

    Args:
        path: of the photo; of one that holds several pictures the first is read, with a note.
        depth: how more than 8 bits become 8 (see `crowd.data.depth`).

    Raises `InputError` when the file is missing, truncated, no picture, of a format that nothing
    here reads, or larger than `most_pixels`, and `Unclear` when it does not say which of its
    values is white.
    """
    with _opened(path) as image:
        return _upright_rgb(image, depth, str(path))


def open_image(path: str | os.PathLike | Upload, depth: str = AUTO) -> Image.Image:
    """Read a photo as `read_image` does, as a Pillow image."""
    return Image.fromarray(read_image(path, depth))


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Mark the pixels of a picture that are neither zero nor transparent, bool [H, W], as stored.

    Raises `InputError` as `read_image` does, and for JPEG, which keeps no exact zeros.
    """
    with _opened(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise InputError(f"{path} is a JPEG, which blurs the edge of a mask: save it as PNG")
        if image.mode[0] in "1LIF" and "A" not in image.mode:
            return np.asarray(image) != 0
        colours = np.asarray(image.convert("RGBA"))
        return colours[..., :3].any(axis=2) & (colours[..., 3] > 0)


class Stored(NamedTuple):
    """A photo with what its file says about it."""

    pixels: np.ndarray  # upright RGB, uint8 [H, W, 3]
    orientation: int  # of EXIF, 1 (as stored) to 8
    mode: str  # Pillow's name of the stored colours, such as RGB, L, P or CMYK
    deep: bool  # whether a channel has more than 8 bits
    several: bool  # whether the file holds more pictures than this one


def read_stored(path: str | os.PathLike | Upload, depth: str = AUTO) -> Stored:
    """Read a photo with what its file says about it; raise `InputError` as `read_image` does."""
    with _opened(path) as image:
        deep = image.mode[0] in "IF" or _has_deep_colours(image)
        pixels = _upright_rgb(image, depth, str(path))
        return Stored(pixels, _orientation(image), image.mode, deep, _holds_several(image))


def read_orientation(path: str | os.PathLike | Upload) -> int:
    """Read a photo's EXIF orientation, 1 (as stored) to 8, without decoding its pixels."""
    with _opened(path) as image:
        return _orientation(image)


def read_size(path: str | os.PathLike | Upload) -> tuple[int, int]:
    """Read a photo's (width, height) as stored, before any EXIF rotation, without decoding."""
    with _opened(path) as image:
        return image.size


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """View a stored photo [H, W, …] upright, by its EXIF orientation."""
    pixels = pixels if orientation < 5 else pixels.swapaxes(0, 1)
    pixels = pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def most_pixels() -> int:
    """Pixels of the largest picture that is read, a guard against decompression bombs.

    Raises `InputError` when the variable `MEGAPIXELS` is no number.
    """
    value = os.environ.get(MEGAPIXELS, "200")  # the largest sensors of phones
    with contextlib.suppress(ValueError, OverflowError):
        return int(float(value) * 1e6)
    raise InputError(f"{MEGAPIXELS}={value} is no limit: set a number of megapixels, such as 300")


@contextlib.contextmanager
def _opened(path: str | os.PathLike | Upload) -> Iterator[Image.Image]:
    path = path if isinstance(path, Upload) else require_file(path, "check the path")
    limit = most_pixels()
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = limit  # Pillow's own lies below what phones photograph
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with _identified(path) as image:
                yield image
    except InputError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(
            f"{path} has more than the {limit / 1e6:g} megapixels that a photo may have: scale it "
            f"down, or set the variable {MEGAPIXELS}"
        ) from error
    # Pillow's readers of damaged files raise almost anything, from struct.error to IndexError.
    except Exception as error:
        raise unreadable(path, error, _fault(path)) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _identified(path: Path | Upload) -> Image.Image:
    """Open a photo, whatever its ending says, as what it is."""
    file = path.open("rb") if isinstance(path, Upload) else path
    try:
        image = Image.open(file)
    except Exception:
        if _format_suffix(path) not in HEIC:
            raise
        import pillow_heif  # optional

        pillow_heif.register_heif_opener()
        return Image.open(file, formats=["HEIF"])
    if image.format == "TIFF" and path.suffix.lower() not in TIFF:
        image.close()
        raise InputError(
            f"{path} is a TIFF that is not called so, as raw photos of cameras are, of which only "
            "a small preview could be read: convert it to JPEG, or let its name end in .tif"
        )
    return image


def _fault(path: Path | Upload) -> str:
    missing = missing_reader(_format_suffix(path))
    if missing:
        return f"cannot be read: {missing}"
    return "is truncated or not a picture: copy or download it again, or remove it"


def _format_suffix(path: Path | Upload) -> str:
    """The ending that a photo should have: phones' HEIC is often called .jpg."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        brand = file.read(12)[4:]
        if _HEIC_BRANDS.match(brand):
            return HEIC[0]
        if brand.startswith(_AVIF_BRANDS):
            return AVIF[0]
    return path.suffix.lower()


def _upright_rgb(image: Image.Image, depth: str, name: str) -> np.ndarray:
    """Decode any mode to upright 8-bit RGB; Pillow's own conversion clips more than 8 bits.

    Strips are converted and turned one by one, so that a large photo stands in memory twice, as
    Pillow decodes it and as it is returned, and not once more a step.
    """
    deep_colours = _has_deep_colours(image)
    image.load()
    orientation, (width, height) = _orientation(image), image.size
    grey = to_8_bits(np.asarray(image), depth, name) if image.mode[0] in "IF" else None
    upright = np.empty((*((height, width) if orientation < 5 else (width, height)), 3), np.uint8)
    stored = turned(upright, {6: 8, 8: 6}.get(orientation, orientation))  # turned back
    rows = max(_STRIP // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        if grey is not None:
            stored[top:bottom] = grey[top:bottom, :, None]
        else:
            stored[top:bottom] = image.crop((0, top, width, bottom)).convert("RGB")
    if deep_colours and grey is None:
        require_used(upright, depth, name)
    if _holds_several(image):
        note(f"{name} holds several pictures: the first one is read")
    return upright


def _has_deep_colours(image: Image.Image) -> bool:
    """Whether several channels have 16 bits, of which Pillow keeps the upper 8.

    Only the decoder of an image that is not yet loaded knows.
    """
    return any(re.search(r"(?<!BGR);16", str(tile[3])) for tile in image.tile)


def _holds_several(image: Image.Image) -> bool:
    """Whether there are more pictures than the first; a camera's MPO adds views of the same."""
    with contextlib.suppress(Exception):  # a damaged end is no matter for the first
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return False


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
