"""Photos: reading them upright as RGB of 8 bits, and writing them.

Cameras write 10 to 14 bits into files of 16 that do not say so: read as 16 bits they turn black.
`--depth` says which values become black and white (a table is in docs/RELIABILITY.md).
"""

import contextlib
import io
import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from PIL import ExifTags, Image

from crowd.data.folders import HEIC, TIFF, missing_reader
from crowd.io.errors import InputError
from crowd.io.files import require_file, unreadable, write_bytes
from crowd.io.progress import note

MEGAPIXELS = "MAX_MEGAPIXELS"
_STRIP = 2**22  # pixels
_EXACT = ("PNG", "BMP", "GIF", "TIFF")  # formats of masks
_HEIC_BRANDS = re.compile(rb"ftyp(hei[cmsx]|hev[cmsx]|mif1|msf1)")

AUTO, RANGE = "auto", "range"
BITS = (8, 10, 12, 14, 16)
_DEPTHS = f"{AUTO}, {', '.join(map(str, BITS))} (bits), {RANGE} (each picture's own) or LOW:HIGH"
DEPTH_HELP = f"brightness of pictures of more than 8 bits: {_DEPTHS}, such as --depth=-20:40"
# Of the values that a type holds, those that a picture must span to be taken at its word.
_SPAN = 1 / 4

Photo = str | os.PathLike | Any
"""A path, or what opens as one does (`crowd.page.server.Upload`)."""


class Unclear(InputError):
    """A picture of more than 8 bits does not say which of its values is white."""


class Stored(NamedTuple):
    """A photo with what its file says about it."""

    pixels: np.ndarray  # upright RGB, uint8 [H, W, 3]
    orientation: int  # of EXIF, 1 (as stored) to 8
    mode: str  # Pillow's name of the stored colours, such as RGB, L, P or CMYK
    deep: bool  # whether a channel has more than 8 bits
    several: bool  # whether the file holds more pictures than this one


def read_stored(path: Photo, depth: str = AUTO) -> Stored:
    """Read a photo with what its file says about it; raise `InputError` as `read_image` does."""
    with _opened(path) as image:
        # Of colours of 16 bits Pillow keeps the upper 8, and knows of them until it decodes.
        wide = any(re.search(r"(?<!BGR);16", str(tile[3])) for tile in image.tile)
        deep = wide or image.mode[0] in "IF"
        orientation = _orientation(image)  # Pillow turns a TIFF, and forgets that, as it decodes
        pixels, several = _upright_rgb(image, depth, str(path), deep), _holds_several(image)
        if several:
            note(f"{path} holds several pictures: the first one is read")
        return Stored(pixels, orientation, image.mode, deep, several)


def read_image(path: Photo, depth: str = AUTO) -> np.ndarray:
    """Read a photo whole, upright (EXIF orientation applied), as RGB, uint8 [H, W, 3].

    Of several pictures in a file the first is read, with a note; `depth` says how more than 8 bits
    become 8 (see above). Raises `InputError` when the file is missing, truncated, no picture, of a
    format that nothing here reads, or larger than `most_pixels`, and `Unclear` when it does not say
    which of its values is white.
    """
    return read_stored(path, depth).pixels


def open_image(path: Photo) -> Image.Image:
    """Read a photo as `read_image` does, as a Pillow image."""
    return Image.fromarray(read_image(path))


def read_mask(path: str | os.PathLike) -> np.ndarray:
    """Mark the pixels of a picture that are neither zero nor transparent, bool [H, W], as stored.

    Raises `InputError` as `read_image` does, and for formats that may keep no exact zeros.
    """
    with _opened(path) as image:
        packed = image.info.get("compression") if image.format == "TIFF" else None
        if image.format not in _EXACT or packed in ("jpeg", "tiff_jpeg", "webp"):
            kind = f"a TIFF compressed as {packed}" if packed else f"stored as {image.format}"
            raise InputError(f"{path} is {kind}, which blurs the edge of a mask: save it as PNG")
        orientation = _orientation(image) if image.format == "TIFF" else 1
        if image.mode[0] in "1LIF" and "A" not in image.mode:
            return _turned_back(np.asarray(image) != 0, orientation)
        colours = np.asarray(image.convert("RGBA"))
        return _turned_back(colours[..., :3].any(axis=2) & (colours[..., 3] > 0), orientation)


def read_orientation(path: Photo) -> int:
    """Read a photo's EXIF orientation, 1 (as stored) to 8, without decoding its pixels."""
    with _opened(path) as image:
        return _orientation(image)


def read_size(path: Photo) -> tuple[int, int]:
    """Read a photo's (width, height) as stored, before any EXIF rotation, without decoding."""
    with _opened(path) as image:  # of a TIFF Pillow gives the upright size
        return (image.tag_v2[256], image.tag_v2[257]) if image.format == "TIFF" else image.size


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """View a stored photo [H, W, …] upright, by its EXIF orientation."""
    pixels = pixels if orientation < 5 else pixels.swapaxes(0, 1)
    pixels = pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels
    return pixels[::-1] if orientation in (3, 4, 7, 8) else pixels


def _turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def most_pixels() -> int:
    """Pixels of the largest picture that is read, a guard against decompression bombs.

    Raises `InputError` when the variable `MEGAPIXELS` is no number.
    """
    value = os.environ.get(MEGAPIXELS, "200")  # the largest sensors of phones
    with contextlib.suppress(ValueError, OverflowError):
        return int(float(value) * 1e6)
    raise InputError(f"{MEGAPIXELS}={value} is no limit: set a number of megapixels, such as 300")


@contextlib.contextmanager
def _opened(path: Photo) -> Iterator[Image.Image]:
    if isinstance(path, str | os.PathLike):
        path = require_file(path, "check the path")
    limit, before = most_pixels(), Image.MAX_IMAGE_PIXELS
    # Pillow's own lies below what phones photograph; it warns above it, and refuses above twice it.
    Image.MAX_IMAGE_PIXELS = limit / 2
    try:
        with warnings.catch_warnings(action="ignore"), path.open("rb") as file:
            yield _identified(path, file)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{path} has more than the {limit / 1e6:g} megapixels that a photo may have: scale it "
            f"down, or set the variable {MEGAPIXELS}"
        ) from error
    # Pillow's readers of damaged files raise almost anything, from struct.error to IndexError.
    except Exception as error:
        missing = missing_reader(HEIC[0] if _is_heic(path) else path.suffix)
        fault = "is truncated or not a picture: copy or download it again, or remove it"
        fault = f"cannot be read: {missing}" if missing else fault
        raise unreadable(path, error, fault) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _identified(path: Path | Photo, file: BinaryIO) -> Image.Image:
    """Open a photo's file, whatever its ending says, as what it is."""
    if _is_heic(path):
        import pillow_heif  # optional

        pillow_heif.register_heif_opener()
    # By its name Pillow would map it into memory, which scrambles a TIFF that lies on its side.
    image = Image.open(file)
    if image.format == "TIFF" and path.suffix.lower() not in TIFF:
        raise InputError(
            f"{path} is a TIFF that is not called so, as raw photos of cameras are, of which only "
            "a small preview could be read: convert it to JPEG, or let its name end in .tif"
        )
    return image


def _is_heic(path: Path | Photo) -> bool:
    """Whether a photo is HEIC, which phones often call .jpg."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        return bool(_HEIC_BRANDS.match(file.read(12)[4:]))
    return False


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def _upright_rgb(image: Image.Image, depth: str, name: str, deep: bool) -> np.ndarray:
    """Decode any mode to upright 8-bit RGB, of which Pillow's own conversion clips deeper ones.

    Strips are converted and turned one by one, so that a large photo stands in memory twice, as
    Pillow decodes it and as it is returned, and not once more a step.
    """
    image.load()
    orientation, (width, height) = _orientation(image), image.size
    upright = np.empty((*((height, width) if orientation < 5 else (width, height)), 3), np.uint8)
    stored = _turned_back(upright, orientation)
    if image.mode[0] in "IF":
        stored[:] = to_8_bits(np.asarray(image), depth, name)[..., None]
        return upright
    rows = max(_STRIP // width, 1)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        stored[top:bottom] = image.crop((0, top, width, bottom)).convert("RGB")
    if deep:
        _require_used(upright, depth, name)
    return upright


def _holds_several(image: Image.Image) -> bool:
    """Whether there are more pictures than the first; a camera's MPO adds views of the same."""
    with contextlib.suppress(Exception):  # a damaged end is no matter for the first
        return image.format != "MPO" and bool(getattr(image, "is_animated", False))
    return False


def depth_option(value) -> str:
    """Check a `--depth` and return it as text; raise `ValueError` for what it cannot be."""
    text = str(value)
    if text in (AUTO, RANGE, *map(str, BITS)):
        return text
    with contextlib.suppress(ValueError):
        low, high = map(float, text.split(":"))
        if -np.inf < low < high < np.inf:
            return text
    quotes = "; a file of options has LOW:HIGH in quotes" if isinstance(value, int) else ""
    raise ValueError(f"depth {text}: choose {_DEPTHS}, the smaller number first{quotes}")


def to_8_bits(values: np.ndarray, depth: str, name: str) -> np.ndarray:
    """Bring a grey picture of any integers or floats, [H, W], to uint8 by `depth` (see above).

    Raises `Unclear` naming the picture and the option.
    """
    floats = values.dtype.kind == "f"
    used = float(values.min()), float(values.max())
    if not np.isfinite(used).all():
        raise InputError(f"{name} holds values that are not finite: convert it to 8 bits")
    if depth == RANGE:
        low, high = used
    elif ":" in depth:
        low, high = map(float, depth.split(":"))
    else:
        bits = 16 if depth == AUTO else int(depth)
        low, high = 0.0, 1.0 if floats and depth == AUTO else 2.0**bits - 1
        plain = used[1] - used[0] >= _SPAN * high if depth == AUTO else not floats or used[1] > 1
        if not (low <= used[0] and used[1] <= high and plain):
            raise Unclear(_explain(name, used, high, floats, depth))
    levels = np.zeros(values.shape, np.uint8)
    if high > low:
        for row, level in zip(values, levels, strict=True):  # one by one: photos may be large
            scaled = (row - np.float64(low)) * (255.0 / (high - low))
            level[:] = scaled.round().clip(0, 255)
    return levels


def _require_used(pixels: np.ndarray, depth: str, name: str) -> None:
    """Check a picture of 16-bit colours of which the upper 8 bits were read, uint8 [H, W, 3]."""
    if depth not in (AUTO, "16"):
        raise InputError(
            f"{name} has colours of 16 bits, and --depth {depth} is for grey pictures: convert it "
            "to 8 bits"
        )
    if depth == AUTO and np.ptp(pixels) < int(_SPAN * 255):
        raise Unclear(
            f"{name} has colours of 16 bits and uses few of them, so that it would turn black: "
            "convert it to 8 bits, or add --depth 16 to take it as it is"
        )


def _explain(name: str, used: tuple, high: float, floats: bool, depth: str) -> str:
    said = "does not say which is white" if depth == AUTO else f"does not fit --depth {depth}"
    offers = [f"--depth {bits}, " for bits in BITS if used[0] >= 0 and used[1] <= 2**bits - 1]
    if floats and used[0] >= 0 and used[1] <= 1:
        offers = ["--depth 0:1, "]
    return (
        f"{name} holds values {used[0]:g} to {used[1]:g} of 0 to {high:g}, and {said}: add "
        f"{''.join(offers[:1])}--depth range (its own darkest and brightest) or --depth=LOW:HIGH, "
        "where photos are preprocessed and where they are counted"
    )


def write_image(path: str | os.PathLike, image: np.ndarray, quality: int = 95) -> None:
    """Write an RGB picture, uint8 [H, W, 3] (or float in [0, 1]), atomically."""
    image = np.asarray(image)
    if image.dtype != np.uint8:
        image = (image * 255.0).round().clip(0, 255).astype(np.uint8)
    # Into memory first: on a disk that fills meanwhile Pillow leaves half a JPEG, and says nothing.
    content = io.BytesIO()
    kind = Image.registered_extensions()[Path(path).suffix.lower()]
    Image.fromarray(image).save(content, kind, quality=quality)
    write_bytes(path, content.getbuffer())
