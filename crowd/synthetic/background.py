"""Everything without people: sky, backdrop and textured ground in perspective."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from crowd.synthetic.camera import Camera
from crowd.synthetic.domains import Domain

_TILE = 512
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
    edge = int(np.clip(camera.project(0.0, distance, 0.0)[1], 0, camera.height))
    planes = np.empty((3, camera.height, camera.width), np.float32)
    planes[:, edge:] = _draw_ground(rng, ground, camera, edge)
    if edge > 0:
        scale = float(camera.project(0.0, distance, 0.0)[2])
        band = _BACKDROPS[backdrop](rng, camera.width, edge, scale)
        planes[:, :edge] = band.transpose(2, 0, 1)
    rows = np.arange(camera.height) + 0.5
    _, depth = camera.intersect(0.0, rows)
    depth[:edge] = distance
    return Background(planes, depth.astype(np.float32), edge)


def noise(rng: np.random.Generator, height: int, width: int, cells: float, octaves: int):
    """Return fractal noise float32 [height, width] of zero mean and about unit deviation.

    `cells` is the number of coarsest cells along the longer side; cells are square.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        density = cells * 2.0**octave / max(height, width)
        grid_shape = [min(max(round(side * density), 2), side) for side in (height, width)]
        grid = rng.standard_normal(grid_shape, dtype=np.float32) * np.float32(0.8 / 1.6**octave)
        total += cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return total


def _draw_ground(rng, kind: str, camera: Camera, edge: int) -> np.ndarray:
    """Look a texture up at each pixel's place on the ground; returns planes [3, rows, W]."""
    texture = _TEXTURES[kind](rng)
    mean = texture.mean(axis=(0, 1), dtype=np.float32)[:, None, None]
    rows = np.arange(edge, camera.height) + 0.5
    x, z = (values[:, None] for values in camera.intersect(camera.width / 2 + 1.0, rows))
    columns = np.arange(camera.width) + 0.5 - camera.width / 2
    # Terraces and pitches lie across the view; everything else may run in any direction.
    turn = 0.0 if kind in ("terraces", "pitch") else rng.uniform(-0.8, 0.8)
    texels = _TILE / _METRES
    along = (x * columns * texels).astype(np.float32)
    away = (z * texels).astype(np.float32)
    offset = rng.uniform(0, _TILE, 2)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    u = np.mod(cos * along - sin * away + np.float32(offset[0]), np.float32(_TILE))
    v = np.mod(sin * along + cos * away + np.float32(offset[1]), np.float32(_TILE))
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


def _jitter(rng, colour, spread: float = 0.03) -> np.ndarray:
    return (np.array(colour) + rng.normal(0, spread) + rng.normal(0, spread / 3, 3)).astype(
        np.float32
    )


def _grain(rng, colour, strength: float, cells: int) -> np.ndarray:
    """Return a texture of one colour with fractal noise and speckle."""
    grain = _periodic_noise(rng, cells, 3)
    grain += np.float32(0.6) * rng.standard_normal((_TILE, _TILE), dtype=np.float32)
    grain = 1.0 + np.float32(strength) * grain
    return cv2.merge([grain * np.float32(value) for value in colour])


def _periodic_noise(rng, cells: int, octaves: int) -> np.ndarray:
    """Return fractal noise [_TILE, _TILE] that continues over the tile's edges."""
    total = np.zeros((_TILE, _TILE), np.float32)
    for octave in range(octaves):
        side = cells * 2**octave
        grid = rng.standard_normal((side, side), dtype=np.float32) * np.float32(0.8 / 1.6**octave)
        cell, rim = _TILE // side, 2
        whole = _TILE + 2 * rim * cell
        grid = cv2.resize(
            np.pad(grid, rim, mode="wrap"), (whole, whole), interpolation=cv2.INTER_CUBIC
        )
        total += grid[rim * cell : rim * cell + _TILE, rim * cell : rim * cell + _TILE]
    return total


def _slabs(rng) -> np.ndarray:
    """Paving slabs, each of its own shade, with dark joints."""
    texture = _grain(rng, _jitter(rng, (0.62, 0.60, 0.57), 0.06), 0.04, 16)
    side = int(rng.choice([16, 32, 64]))
    count = _TILE // side
    shades = 1.0 + 0.05 * rng.standard_normal((count, count), dtype=np.float32)
    texture *= np.kron(shades, np.ones((side, side), np.float32))[..., None]
    joint = 0.80
    texture[::side] *= joint
    texture[:, ::side] *= joint
    return texture


def _asphalt(rng) -> np.ndarray:
    """Asphalt with a worn painted line now and then."""
    texture = _grain(rng, _jitter(rng, (0.36, 0.36, 0.37), 0.05), 0.06, 8)
    if rng.uniform() < 0.6:
        column = int(rng.integers(0, _TILE - 8))
        texture[:, column : column + 5] += 0.35
    return texture


def _grass(rng) -> np.ndarray:
    """Lawn with dry patches."""
    texture = _grain(rng, _jitter(rng, (0.36, 0.43, 0.24)), 0.13, 32)
    dry = _periodic_noise(rng, 4, 4)[..., None].clip(0, 1)
    return texture + dry * (_jitter(rng, (0.55, 0.50, 0.32)) - texture) * 0.7


def _slabs_and_grass(rng) -> np.ndarray:
    """A path of slabs beside a lawn."""
    texture = _grass(rng)
    width = int(rng.integers(_TILE // 3, 2 * _TILE // 3))
    texture[:, :width] = _slabs(rng)[:, :width]
    texture[:, width : width + 4] = 0.7
    return texture


def _terraces(rng) -> np.ndarray:
    """Concrete steps across the view, some with rows of seats."""
    texture = _grain(rng, _jitter(rng, (0.42, 0.42, 0.44), 0.05), 0.05, 8)
    step = 32
    profile = np.ones(step, np.float32)
    profile[:4], profile[4:8] = 0.62, 1.22
    texture *= np.tile(profile, _TILE // step)[:, None, None]
    if rng.uniform() < 0.5:
        seat = _jitter(rng, [(0.20, 0.24, 0.45), (0.45, 0.16, 0.16), (0.5, 0.5, 0.5)][
            int(rng.integers(3))])  # fmt: skip
        for row in range(12, _TILE, step):
            for column in range(2, _TILE, 16):
                cv2.ellipse(texture, (column + 6, row + 4), (5, 6), 0, 0, 360, seat.tolist(), -1)
    aisle = int(rng.integers(0, _TILE - 40))
    texture[:, aisle : aisle + 36] = (
        texture[:, aisle : aisle + 36].mean(axis=2, keepdims=True) * 1.2
    )
    return texture


def _pitch(rng) -> np.ndarray:
    """Mown grass in stripes with white lines."""
    texture = _grain(rng, _jitter(rng, (0.29, 0.37, 0.24)), 0.08, 16)
    stripes = np.repeat(np.array([0.9, 1.1] * 4, np.float32), _TILE // 8)
    texture *= stripes[:, None, None]
    line = int(rng.integers(0, _TILE - 4))
    texture[line : line + 4] += 0.3
    return texture


def _sky(rng, height: int, width: int, top, bottom, clouds: float) -> np.ndarray:
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    sky = _jitter(rng, top) * (1 - ramp) + _jitter(rng, bottom) * ramp
    sky = np.broadcast_to(sky, (height, width, 3)).copy()
    return sky + clouds * noise(rng, height, width, 3, 4).clip(0, 1.5)[..., None]


def _buildings(rng, width: int, height: int, scale: float) -> np.ndarray:
    """Facades with rows of windows before the sky; `scale` is pixels per metre at their foot."""
    image = _sky(rng, height, width, (0.45, 0.62, 0.85), (0.78, 0.85, 0.92), 0.12)
    walls = [(0.72, 0.66, 0.56), (0.62, 0.40, 0.32), (0.80, 0.78, 0.74), (0.50, 0.52, 0.55)]
    left = -int(rng.uniform(0, 6) * scale)
    while left < width:
        breadth = int(rng.uniform(5, 12) * scale) + 4
        top = height - int(rng.uniform(4, 14) * scale)
        wall = _jitter(rng, walls[int(rng.integers(len(walls)))], 0.05)
        box = image[max(top, 0) :, max(left, 0) : left + breadth]
        box[:] = wall
        glass = _jitter(rng, (0.24, 0.29, 0.34), 0.06).tolist()
        pitch_x, pitch_y = max(rng.uniform(1.6, 2.6) * scale, 5), max(3.0 * scale, 6)
        for v in np.arange(top + 0.3 * pitch_y, height - 0.4 * pitch_y, pitch_y):
            for u in np.arange(left + 0.3 * pitch_x, left + breadth - 0.5 * pitch_x, pitch_x):
                corner = (int(u), int(v))
                other = (int(u + 0.45 * pitch_x), int(v + 0.55 * pitch_y))
                cv2.rectangle(image, corner, other, glass, -1)
        left += breadth + int(rng.choice([0, 0, 3]) * scale)
    return image


def _trees(rng, width: int, height: int, scale: float) -> np.ndarray:
    """A hedge and tree crowns before the sky."""
    image = _sky(rng, height, width, (0.48, 0.65, 0.87), (0.82, 0.87, 0.92), 0.15)
    texture = noise(rng, height, width, 50, 4)
    leaves = _jitter(rng, (0.25, 0.34, 0.20)) * (1.0 + 0.3 * texture[..., None]).clip(0.3, 2)
    mask = np.zeros((height, width), np.uint8)
    mask[max(height - int(rng.uniform(0.8, 1.8) * scale), 0) :] = 255
    for _ in range(int(rng.uniform(0.1, 0.5) * width / max(scale, 4)) + 2):
        radius, column = rng.uniform(1.2, 2.8) * scale, rng.uniform(0, width)
        crown = height - radius - rng.uniform(1.0, 3.0) * scale
        trunk = (int(column), int(crown)), (int(column), height)
        cv2.line(image, *trunk, (0.24, 0.19, 0.15), max(int(0.3 * scale), 1))
        for _ in range(14):
            offset = rng.normal(0, 0.45 * radius, 2)
            centre = (int(column + offset[0]), int(crown + 0.8 * offset[1]))
            cv2.circle(mask, centre, int(0.5 * radius) + 1, 255, -1)
    ragged = cv2.GaussianBlur(mask, (0, 0), 2.0) * np.float32(1 / 255) + 0.12 * texture
    covered = ((ragged - 0.4) * 5.0).clip(0.0, 1.0)[..., None]
    return image + covered * (leaves - image)


def _stand(rng, width: int, height: int, scale: float) -> np.ndarray:
    """A far stand: tiers with a blur of spectators too small to count, under a dark roof."""
    base = _jitter(rng, (0.26, 0.26, 0.31), 0.04)
    image = np.broadcast_to(base, (height, width, 3)).copy()
    speckle = cv2.GaussianBlur(rng.standard_normal((height, width, 3), dtype=np.float32), (0, 0), 1)
    image += 0.16 * speckle
    period = max(int(0.8 * scale), 3)
    image[::period] *= 0.75
    roof = int(height * rng.uniform(0.1, 0.4))
    image[:roof] = _jitter(rng, (0.12, 0.12, 0.16), 0.02)
    board = max(int(0.9 * scale), 2)
    image[height - board :] = _jitter(rng, (0.40, 0.36, 0.34), 0.08)
    return image


def _floodlights(rng, width: int, height: int, scale: float) -> np.ndarray:
    """A dusk sky with glowing lamps above a dark wall."""
    image = _sky(rng, height, width, (0.20, 0.22, 0.36), (0.66, 0.45, 0.40), 0.08)
    wall = height - max(int(rng.uniform(1, 3) * scale), 2)
    image[max(wall, 0) :] = _jitter(rng, (0.22, 0.21, 0.24), 0.03)
    glow = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, max(wall, 1))))
        cv2.circle(glow, centre, max(int(0.25 * scale), 2), 1.0, -1)
    halo = cv2.GaussianBlur(glow, (0, 0), max(0.8 * scale, 1.0))
    return image + (glow + 2.0 * halo).clip(0, 1)[..., None] * np.array(
        [0.9, 0.85, 0.7], np.float32
    )


_TEXTURES = {
    "slabs": _slabs,
    "asphalt": _asphalt,
    "grass": _grass,
    "slabs and grass": _slabs_and_grass,
    "terraces": _terraces,
    "pitch": _pitch,
}
_BACKDROPS = {
    "buildings": _buildings,
    "trees": _trees,
    "stand": _stand,
    "floodlights": _floodlights,
}
