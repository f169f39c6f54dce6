"""Bit depth: how pictures of more than 8 bits become 8-bit pictures (thermal and X-ray cameras).

| `--depth` | becomes black … white (0 … 255) |
|---|---|
| auto | 0 … 65535 of integers, 0 … 1 of floats; an error unless a quarter of that is used |
| 8, 10, 12, 14, 16 | 0 … 2^bits - 1; an error where a value lies outside, or floats in 0 … 1 |
| range | the picture's own smallest … largest value |
| LOW:HIGH | LOW … HIGH; what lies outside becomes black or white |

Cameras write 10 to 14 bits into files of 16 that do not say so: read as 16 bits they turn black.
`auto` never guesses. Pictures with 8 bits stay as they are.
"""

from __future__ import annotations

import numpy as np

from crowd.io.errors import InputError

AUTO, RANGE = "auto", "range"
BITS = (8, 10, 12, 14, 16)
HELP = f"brightness of pictures of more than 8 bits: {AUTO}, {', '.join(map(str, BITS))} (bits in "
HELP += f"use), {RANGE} (each picture's own) or LOW:HIGH"
# Of the values that a type holds, those that a picture must span to be taken at its word.
_SPAN = 1 / 4


class Unclear(InputError):
    """A picture of more than 8 bits does not say which of its values is white."""


def depth_option(value) -> str:
    """Check a `--depth` and return it as text; raise `ValueError` for what it cannot be."""
    text = str(value)
    if text not in (AUTO, RANGE, *map(str, BITS)):
        low, high = _bounds(text)
        if not -np.inf < low < high < np.inf:
            raise ValueError(f"{text}: LOW:HIGH needs two numbers, the smaller one first")
    return text


def _bounds(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(":"))
    except ValueError:
        known = f"{AUTO}, {', '.join(map(str, BITS))}, {RANGE} or LOW:HIGH"
        raise ValueError(f"depth {text}: choose {known}") from None
    return low, high


def to_8_bits(values: np.ndarray, depth: str, name: str) -> np.ndarray:
    """Bring a grey picture of any integers or floats, [H, W], to uint8 by `depth` (see above).

    Raises `Unclear` naming the picture and the option.
    """
    values = np.asarray(values)
    floats = values.dtype.kind == "f"
    used = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    if not np.isfinite(used).all():
        raise InputError(f"{name} holds values that are not finite: convert it to 8 bits")
    if depth == RANGE:
        low, high = used
    elif ":" in depth:
        low, high = _bounds(depth)
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


def require_used(pixels: np.ndarray, depth: str, name: str) -> None:
    """Check a picture of 16-bit colours of which the upper 8 bits were read, uint8 [H, W, 3].

    Raises `InputError` where these hold next to nothing, or `depth` asks for more than they can.
    """
    if depth not in (AUTO, "16"):
        raise InputError(
            f"{name} has colours of 16 bits, and --depth {depth} is for grey pictures: convert it "
            "to 8 bits"
        )
    if depth == AUTO and pixels.size and np.ptp(pixels) < int(_SPAN * 255):
        raise Unclear(
            f"{name} has colours of 16 bits and uses few of them, so that it would turn black: "
            "convert it to 8 bits, or add --depth 16 to take it as it is"
        )


def _explain(name: str, used: tuple, high: float, floats: bool, depth: str) -> str:
    said = "does not say which is white" if depth == AUTO else f"does not fit --depth {depth}"
    fits = [bits for bits in BITS if used[0] >= 0 and used[1] <= 2**bits - 1]
    offers = ["0:1"] if floats and used[0] >= 0 and used[1] <= 1 else [str(bits) for bits in fits]
    offer = f"--depth {offers[0]}, " if offers else ""
    return (
        f"{name} holds values {used[0]:g} to {used[1]:g} of 0 to {high:g}, and {said}: add {offer}"
        "--depth range (its own darkest and brightest) or --depth LOW:HIGH, where photos are "
        "preprocessed and where they are counted"
    )
