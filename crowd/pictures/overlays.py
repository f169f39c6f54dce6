"""Counts drawn into photos and frames, quickly enough for a video; small picture files."""

import base64
import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from crowd.io.errors import InputError, extra
from crowd.io.files import write_bytes

with extra("commands", "drawing into photos"):
    import cv2

LIMIT = 300_000
_JPEG_QUALITIES = (92, 85, 75, 65)
_YELLOW = (240, 228, 66)
_ROWS = 256


def density_overlay(
    image: np.ndarray, density: np.ndarray, stride: int = 8, heads: np.ndarray | tuple = ()
) -> np.ndarray:
    """Lay a density map over a photo, uint8 [H, W, 3], which is what it returns too.

    `density` is people per cell [h, w], cells being squares of `stride` pixels from the corner on.
    `heads`, (x, y) [N, 2] in pixels, are marked by small dots.
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
    """Mark heads (x, y) [N, 2], in pixels, in a copy of a photo, uint8 [H, W, 3]."""
    return _with_heads(image.copy(), heads, max(image.shape[:2]) / 300)


def gaussians_overlay(
    image: np.ndarray,
    means: np.ndarray,
    scales: np.ndarray,
    rotations: np.ndarray,
    colors: np.ndarray,
) -> np.ndarray:
    """Draw Gaussians as ellipses, of 1σ filled and of 2σ, over a photo, uint8 [H, W, 3] (returned).

    Centres (x, y) [N, 2] and standard deviations along the two axes [N, 2] are in pixels, angles of
    the first axis [N] in radians from +x towards +y, colours [N, 3] in 0-1.
    """
    drawn = np.ascontiguousarray(image)
    # Fixed point of 1/16 pixel; OpenCV's whole numbers are pixel centres, hence the -8.
    places, axes = (16 * means - 8).round().astype(int), 16 * scales
    fills = (255 * np.clip(colors, 0, 1)).round().tolist()
    for place, axis, angle, fill in zip(
        places.tolist(), axes, np.degrees(rotations), fills, strict=True
    ):
        for sigmas, colour, width in ((2, _YELLOW, 1), (1, fill, -1), (1, _YELLOW, 1)):
            ellipse = (place, (sigmas * axis).round().astype(int).tolist(), float(angle), 0, 360)
            cv2.ellipse(drawn, *ellipse, colour, width, cv2.LINE_AA, shift=4)
    return drawn


def region_overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Darken a copy of a photo, uint8 [H, W, 3], outside a mask, which may have another size."""
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


def write_picture(path: str | os.PathLike, pixels: np.ndarray, limit: int = LIMIT) -> None:
    """Write an RGB picture, uint8 [H, W, 3], atomically in at most `limit` bytes.

    JPEG gives up quality first, PNG its full colours (256 are left); both then give up size. Raises
    `InputError` where the name ends otherwise, or the folder is not writable.
    """
    kind = picture_kind(path)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    while len(data := _encoded(picture, kind, limit)) > limit:
        # Bytes follow the area; a little more, so that a second round is rare.
        shrink = min(0.95 * (limit / len(data)) ** 0.5, 0.9)
        size = [max(round(side * shrink), 1) for side in picture.size]
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    write_bytes(path, data)


def picture_kind(path: str | os.PathLike) -> str:
    """Return JPEG or PNG by a picture's name; raise `InputError` for any other."""
    kind = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}.get(Path(path).suffix.lower())
    if kind is None:
        raise InputError(f"{path} is no name for a picture: let it end in .jpg or .png")
    return kind


def _encoded(picture: Image.Image, kind: str, limit: int) -> bytes:
    """Encode a picture at the best quality that fits, or else the worst."""
    for quality in _JPEG_QUALITIES if kind == "JPEG" else (True, False):
        full = picture if quality else picture.quantize(256)
        full.save(buffer := io.BytesIO(), kind, quality=quality, optimize=True)
        if buffer.tell() <= limit:
            break
    return buffer.getvalue()


def picture_url(picture: Image.Image, kind: str, **options) -> str:
    """Return a picture as a data URL; kind (JPEG, PNG) and options are those of Pillow."""
    picture.save(buffer := io.BytesIO(), kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def write_figure(path: str | os.PathLike, figure) -> None:
    """Draw a matplotlib figure without a display and write it as `write_picture` does."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    write_picture(path, np.asarray(canvas.buffer_rgba())[..., :3])
