"""Everything without people: sky, backdrop and textured ground in perspective."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from crowd.synthetic.backdrops import BACKDROPS
from crowd.synthetic.camera import Camera
from crowd.synthetic.domains import Domain
from crowd.synthetic.noise import noise
from crowd.synthetic.textures import TEXTURES, TILE

_METRES = 16.0


@dataclass(frozen=True)
class Background:
    """Photo without people and props.

    Attributes:
        planes: float32 [3, H, W] in 0-1, not yet lit or hazed. Long rows make numpy's arithmetic
            several times faster than runs of three colours.
        depth: Distance on the ground per photo row, metres; the backdrop has that of its foot.
        edge: Row where the ground ends and the backdrop stands.
    """

    planes: np.ndarray
    depth: np.ndarray
    edge: int


def draw_background(rng: np.random.Generator, domain: Domain, camera: Camera) -> Background:
    """Draw ground and backdrop of a scene."""
    ground = domain.grounds[int(rng.integers(len(domain.grounds)))]
    backdrop = domain.backdrops[int(rng.integers(len(domain.backdrops)))]
    # Feet of the farthest people stand a little before the backdrop.
    _, far = camera.intersect(0.0, camera.head_row(domain.smallest_head), 1.6)
    distance = far * rng.uniform(1.05, 1.4)
    # In small photos the backdrop's foot may lie below them: a row of ground stays.
    edge = int(np.clip(camera.project(0.0, distance, 0.0)[1], 0, camera.height - 1))
    planes = np.empty((3, camera.height, camera.width), np.float32)
    planes[:, edge:] = _draw_ground(rng, ground, camera, edge)
    if edge > 0:
        scale = float(camera.project(0.0, distance, 0.0)[2])
        band = BACKDROPS[backdrop](rng, camera.width, edge, scale)
        planes[:, :edge] = band.transpose(2, 0, 1)
    rows = np.arange(camera.height) + 0.5
    _, depth = camera.intersect(0.0, rows)
    depth[:edge] = distance
    return Background(planes, depth.astype(np.float32), edge)


def _draw_ground(rng, kind: str, camera: Camera, edge: int) -> np.ndarray:
    """Look a texture up at each pixel's place on the ground; returns planes [3, rows, W]."""
    texture = TEXTURES[kind](rng)
    mean = texture.mean(axis=(0, 1), dtype=np.float32)[:, None, None]
    rows = np.arange(edge, camera.height) + 0.5
    x, z = (values[:, None] for values in camera.intersect(camera.width / 2 + 1.0, rows))
    columns = np.arange(camera.width) + 0.5 - camera.width / 2
    # Terraces and pitches lie across the view; everything else may run in any direction.
    turn = 0.0 if kind in ("terraces", "pitch") else rng.uniform(-0.8, 0.8)
    texels = TILE / _METRES
    along = (x * columns * texels).astype(np.float32)
    away = (z * texels).astype(np.float32)
    offset = rng.uniform(0, TILE, 2)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u = _wrap(cos * along - sin * away + np.float32(offset[0]))
    v = _wrap(sin * along + cos * away + np.float32(offset[1]))
    looked = cv2.remap(texture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    # Far away many texels fall into a pixel: fade to their mean instead of flickering.
    step = np.abs(np.gradient(away[:, 0])) if len(rows) > 1 else np.ones(1)
    fade = (1.6 / np.maximum(step, 1e-6)).clip(0.0, 1.0).astype(np.float32)[:, None]
    planes = np.ascontiguousarray(looked.transpose(2, 0, 1))
    planes -= mean
    planes *= fade
    planes += mean
    planes *= 1.0 + np.float32(0.05) * noise(rng, *planes.shape[1:], 3, 3)
    return planes


def _wrap(texels: np.ndarray) -> np.ndarray:
    """Return positions modulo the tile, which costs a fraction of numpy's `mod`."""
    return texels - np.floor(texels * np.float32(1 / TILE)) * np.float32(TILE)
