"""Ground textures: periodic tiles that are looked up in perspective."""

from __future__ import annotations

import cv2
import numpy as np

from crowd.synthetic.noise import jitter, periodic_noise, white_noise

TILE = 512


def _grain(rng, colour, strength: float, cells: int) -> np.ndarray:
    """Return a texture of one colour with fractal noise and speckle."""
    grain = periodic_noise(rng, TILE, cells, 3)
    grain += np.float32(0.6) * white_noise(rng, (TILE, TILE))
    grain = 1.0 + np.float32(strength) * grain
    return cv2.merge([grain * np.float32(value) for value in colour])


def _slabs(rng) -> np.ndarray:
    """Paving slabs, each of its own shade, with dark joints."""
    texture = _grain(rng, jitter(rng, (0.62, 0.60, 0.57), 0.06), 0.04, 16)
    side = int(rng.choice([16, 32, 64]))
    count = TILE // side
    shades = 1.0 + 0.05 * rng.standard_normal((count, count), dtype=np.float32)
    texture *= np.kron(shades, np.ones((side, side), np.float32))[..., None]
    joint = 0.80
    texture[::side] *= joint
    texture[:, ::side] *= joint
    return texture


def _asphalt(rng) -> np.ndarray:
    """Asphalt with a worn painted line now and then."""
    texture = _grain(rng, jitter(rng, (0.36, 0.36, 0.37), 0.05), 0.06, 8)
    if rng.uniform() < 0.6:
        column = int(rng.integers(0, TILE - 8))
        texture[:, column : column + 5] += 0.35
    return texture


def _grass(rng) -> np.ndarray:
    """Lawn with dry patches."""
    texture = _grain(rng, jitter(rng, (0.36, 0.43, 0.24)), 0.13, 32)
    dry = periodic_noise(rng, TILE, 4, 4)[..., None].clip(0, 1)
    return texture + dry * (jitter(rng, (0.55, 0.50, 0.32)) - texture) * 0.7


def _slabs_and_grass(rng) -> np.ndarray:
    """A path of slabs beside a lawn."""
    texture = _grass(rng)
    width = int(rng.integers(TILE // 3, 2 * TILE // 3))
    texture[:, :width] = _slabs(rng)[:, :width]
    texture[:, width : width + 4] = 0.7
    return texture


def _terraces(rng) -> np.ndarray:
    """Concrete steps across the view, some with rows of seats."""
    texture = _grain(rng, jitter(rng, (0.42, 0.42, 0.44), 0.05), 0.05, 8)
    step = 32
    profile = np.ones(step, np.float32)
    profile[:4], profile[4:8] = 0.62, 1.22
    texture *= np.tile(profile, TILE // step)[:, None, None]
    if rng.uniform() < 0.5:
        seat = jitter(rng, [(0.20, 0.24, 0.45), (0.45, 0.16, 0.16), (0.5, 0.5, 0.5)][
            int(rng.integers(3))])  # fmt: skip
        for row in range(12, TILE, step):
            for column in range(2, TILE, 16):
                cv2.ellipse(texture, (column + 6, row + 4), (5, 6), 0, 0, 360, seat.tolist(), -1)
    aisle = int(rng.integers(0, TILE - 40))
    texture[:, aisle : aisle + 36] = (
        texture[:, aisle : aisle + 36].mean(axis=2, keepdims=True) * 1.2
    )
    return texture


def _pitch(rng) -> np.ndarray:
    """Mown grass in stripes with white lines."""
    texture = _grain(rng, jitter(rng, (0.29, 0.37, 0.24)), 0.08, 16)
    stripes = np.repeat(np.array([0.9, 1.1] * 4, np.float32), TILE // 8)
    texture *= stripes[:, None, None]
    line = int(rng.integers(0, TILE - 4))
    texture[line : line + 4] += 0.3
    return texture


TEXTURES = {
    "slabs": _slabs,
    "asphalt": _asphalt,
    "grass": _grass,
    "slabs and grass": _slabs_and_grass,
    "terraces": _terraces,
    "pitch": _pitch,
}
