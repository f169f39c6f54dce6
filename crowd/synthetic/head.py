"""Heads, drawn analytically, so that their centre and extent are exact."""

from __future__ import annotations

import numpy as np

from crowd.synthetic.domains import Colour
from crowd.synthetic.person import Patch, Person

_WIDTH, _LENGTH = 0.1, 0.125


class _Layers:
    """Colours laid over each other in a head's own coordinates (metres from its centre)."""

    def __init__(self, across: np.ndarray, down: np.ndarray, scale: float, colour: Colour):
        self.across, self.down, self.scale = across, down, scale
        self.colour = np.empty((3, *across.shape), np.float32)
        self.colour[:] = np.array(colour, np.float32)[:, None, None]

    def ellipse(self, u: float, v: float, width: float, length: float) -> np.ndarray:
        """Return the coverage of an ellipse, with an edge one pixel wide."""
        radius = np.hypot((self.across - u) / width, (self.down - v) / length)
        edge = (1.0 - radius) * (min(width, length) * self.scale) + 0.5
        return edge.clip(0.0, 1.0)

    def above(self, v: float) -> np.ndarray:
        """Return the coverage of everything above `v`."""
        return ((v - self.down) * self.scale + 0.5).clip(0.0, 1.0)

    def lay(self, coverage: np.ndarray, colour: Colour) -> None:
        """Lay a colour over what is there."""
        self.colour += coverage * (np.array(colour, np.float32)[:, None, None] - self.colour)


def draw_head(person: Person, centre, scale: float, angle: float, light) -> Patch:
    """Draw a head as a shaded ellipsoid; arguments as in `crowd.synthetic.person.draw_body`.

    The patch is not clipped to the photo, so that its coverage counts the whole head.
    """
    scale = scale * person.size
    # Looked down upon, a head shows its round top instead of its length.
    length = _LENGTH * np.cos(angle) ** 2 + 0.112 * np.sin(angle) ** 2
    reach = int(np.ceil(1.2 * length * scale)) + 1
    left, top = int(np.floor(centre[0])) - reach, int(np.floor(centre[1])) - reach
    pixels = np.arange(2 * reach + 1, dtype=np.float32) + 0.5
    x = ((pixels + (left - centre[0])) / scale)[None, :]
    y = ((pixels + (top - centre[1])) / scale)[:, None]
    cos, sin = np.float32(np.cos(person.roll)), np.float32(np.sin(person.roll))
    across, down = cos * x + sin * y, cos * y - sin * x
    layers = _Layers(across, down, scale, person.skin if person.headwear == "bald" else person.hair)
    coverage = layers.ellipse(0, 0, _WIDTH, length)
    _draw_face(layers, person, length, float(np.sin(angle)))
    _draw_headwear(layers, person, length)
    right, below = across / _WIDTH, down / length
    out = np.sqrt((1.0 - right**2 - below**2).clip(0.0, 1.0))
    lit = (light[0] * right + light[1] * below + light[2] * out).clip(0.0, 1.0)
    shade, gloss = 0.48 + 0.5 * lit, 0.1 * lit**12
    pixels = np.empty((4, *coverage.shape), np.float32)
    pixels[:3] = layers.colour * (shade * coverage) + gloss * coverage
    pixels[3] = coverage
    return Patch(left, top, pixels)


def _draw_face(layers: _Layers, person: Person, length: float, sine: float) -> None:
    towards, sideways = np.cos(person.facing), np.sin(person.facing)
    if towards < -0.35 or person.headwear == "bald":
        return
    u = 0.045 * sideways
    v = 0.03 + 0.035 * sine
    width = 0.08 * (0.55 + 0.45 * max(towards, 0.0))
    face = layers.ellipse(u, v, width, length * (0.82 - 0.25 * sine))
    layers.lay(face, person.skin)
    if layers.scale * _WIDTH > 5 and towards > 0.2:
        dark = tuple(value * 0.35 for value in person.skin)
        for side in (-1, 1):
            eye = layers.ellipse(u + side * 0.032 * towards, v - 0.012, 0.015, 0.009)
            layers.lay(0.8 * eye, dark)
        layers.lay(0.5 * layers.ellipse(u, v + 0.048, 0.025, 0.009), dark)


def _draw_headwear(layers: _Layers, person: Person, length: float) -> None:
    if person.headwear == "cap":
        layers.lay(layers.above(-0.02), person.cloth)
        if np.cos(person.facing) > -0.2:
            u = 0.05 * np.sin(person.facing)
            peak = layers.ellipse(u, -0.005, 0.085, 0.028)
            layers.lay(peak, tuple(value * 0.7 for value in person.cloth))
    elif person.headwear == "beanie":
        layers.lay(layers.above(-0.03), person.cloth)
        rim = layers.above(-0.015) - layers.above(-0.045)
        layers.lay(rim, tuple(value * 0.75 for value in person.cloth))
    elif person.headwear == "hood":
        face = layers.ellipse(0.03 * np.sin(person.facing), 0.03, 0.06, length * 0.6)
        shown = face if np.cos(person.facing) > -0.2 else 0.0 * face
        layers.lay(1.0 - shown, person.cloth)
