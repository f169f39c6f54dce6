"""Everything without people: a textured ground in perspective, and what stands behind it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from crowd.synthetic.domains import HEAD_HEIGHT, Camera, Domain

TILE, METRES = 512, 16.0  # side of a ground texture
# Kind of ground -> its two colours, mixed by noise, and the strength of its grain.
_GROUNDS = {
    "slabs": ((0.64, 0.62, 0.59), (0.58, 0.56, 0.53), 0.05),
    "asphalt": ((0.40, 0.40, 0.41), (0.34, 0.34, 0.35), 0.06),
    "grass": ((0.34, 0.43, 0.22), (0.52, 0.48, 0.30), 0.13),
    "terraces": ((0.46, 0.46, 0.48), (0.40, 0.40, 0.42), 0.05),
}
_WALLS = ((0.72, 0.66, 0.56), (0.62, 0.40, 0.32), (0.80, 0.78, 0.74), (0.50, 0.52, 0.55))


@dataclass(frozen=True)
class Background:
    """Photo without people.

    Attributes:
        planes: float32 [3, H, W] in 0-1, not yet lit or hazed.
        depth: Distance on the ground per photo row, metres; the backdrop has that of its foot.
    """

    planes: np.ndarray
    depth: np.ndarray


def draw_background(rng: np.random.Generator, domain: Domain, camera: Camera) -> Background:
    """Draw ground and backdrop of a scene."""
    # Feet of the farthest people stand a little before the backdrop.
    _, far = camera.intersect(0.0, camera.head_row(domain.smallest_head), HEAD_HEIGHT)
    distance = far * rng.uniform(1.05, 1.4)
    _, row, scale = (float(value) for value in camera.project(0.0, distance, 0.0))
    # In small photos the backdrop's foot may lie below them: a row of ground stays.
    edge = int(np.clip(row, 0, camera.height - 1))
    ground = domain.grounds[int(rng.integers(len(domain.grounds)))]
    image = np.empty((camera.height, camera.width, 3), np.float32)
    image[edge:] = _draw_ground(rng, ground, camera, edge)
    if edge > 0:
        draw = _houses if domain.backdrop == "houses" else _stand
        image[:edge] = draw(rng, edge, camera.width, scale)
    _, depth = camera.intersect(0.0, np.arange(camera.height) + 0.5)
    depth[:edge] = distance
    return Background(image.transpose(2, 0, 1), np.float32(depth))


def _draw_ground(rng, kind: str, camera: Camera, edge: int) -> np.ndarray:
    """Look a texture up at each pixel's place on the ground."""
    light, dark, grain = _GROUNDS[kind]
    share = (0.5 + 0.4 * _noise(rng, TILE, 6)).clip(0, 1)
    texture = share * np.float32(light) + (1 - share) * np.float32(dark)
    texture *= 1 + grain * (_noise(rng, TILE, 64) + rng.standard_normal((TILE, TILE, 1)))
    if kind == "slabs":
        texture[::32] *= 0.8
        texture[:, ::32] *= 0.8
    if kind == "terraces":
        texture[np.arange(TILE) % 32 < 4] *= 0.62
    rows = np.arange(edge, camera.height) + 0.5
    x, z = (values[:, None] for values in camera.intersect(camera.width / 2 + 1.0, rows))
    along = x * (np.arange(camera.width) + 0.5 - camera.width / 2)
    # Terraces lie across the view; everything else may run in any direction.
    turn = 0.0 if kind == "terraces" else rng.uniform(-0.8, 0.8)
    u, v = np.cos(turn) * along - np.sin(turn) * z, np.sin(turn) * along + np.cos(turn) * z
    places = (np.float32(axis * TILE / METRES + rng.uniform(0, TILE)) for axis in (u, v))
    texture = np.float32(texture)
    looked = cv2.remap(texture, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    # Far away many texels fall into a pixel: fade to their mean instead of flickering.
    step = np.abs(np.gradient(z[:, 0])) * TILE / METRES if len(rows) > 1 else np.ones(1)
    fade = (1.6 / np.maximum(step, 1e-6)).clip(0.0, 1.0)[:, None, None]
    mean = texture.mean(axis=(0, 1))
    return mean + fade * (looked - mean)


def _houses(rng, height: int, width: int, scale: float) -> np.ndarray:
    """Facades with rows of windows before the sky; `scale` is pixels per metre at their foot."""
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    image = (1 - ramp) * (0.45, 0.62, 0.85) + ramp * (0.78, 0.85, 0.92)
    image = np.repeat(np.float32(image), width, axis=1)
    left = -int(rng.uniform(0, 6) * scale)
    while left < width:
        right, top = left + int(rng.uniform(5, 12) * scale) + 4, height - rng.uniform(4, 14) * scale
        wall = np.array(_WALLS[int(rng.integers(len(_WALLS)))]) + rng.normal(0, 0.05)
        cv2.rectangle(image, (left, int(top)), (right, height), wall.tolist(), -1)
        pitch = max(rng.uniform(1.8, 2.8) * scale, 5)
        for v in np.arange(top + 0.4 * pitch, height - 0.6 * pitch, 1.4 * pitch):
            for u in np.arange(left + 0.3 * pitch, right - 0.6 * pitch, pitch):
                other = (int(u + 0.45 * pitch), int(v + 0.7 * pitch))
                cv2.rectangle(image, (int(u), int(v)), other, (0.24, 0.29, 0.34), -1)
        left = right + int(rng.choice([0, 0, 3]) * scale)
    return image


def _stand(rng, height: int, width: int, scale: float) -> np.ndarray:
    """A far stand: tiers with a blur of spectators too small to count, under a dark roof."""
    image = np.full((height, width, 3), (0.26, 0.26, 0.31), np.float32)
    image += 0.16 * cv2.GaussianBlur(rng.standard_normal(image.shape, dtype=np.float32), (0, 0), 1)
    image[:: max(int(0.8 * scale), 3)] *= 0.75
    image[: int(height * rng.uniform(0.1, 0.4))] = (0.12, 0.12, 0.16)
    image[height - max(int(0.9 * scale), 2) :] = (0.40, 0.36, 0.34)
    return image


def _noise(rng, side: int, cells: int) -> np.ndarray:
    """Noise float32 [side, side, 1] of zero mean and about unit deviation, in three octaves."""
    total = np.zeros((side, side), np.float32)
    for octave in range(3):
        grid = rng.standard_normal((cells << octave, cells << octave), dtype=np.float32)
        total += 0.8 / 1.6**octave * cv2.resize(grid, total.shape, interpolation=cv2.INTER_CUBIC)
    return total[..., None]
