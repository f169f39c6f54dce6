"""What stands behind the ground: each backdrop draws a band [height, width, 3] in 0-1.

`scale` is the number of pixels per metre at the backdrop's foot.
"""

from __future__ import annotations

import cv2
import numpy as np

from crowd.synthetic.noise import jitter, noise


def _sky(rng, height: int, width: int, top, bottom, clouds: float) -> np.ndarray:
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    sky = jitter(rng, top) * (1 - ramp) + jitter(rng, bottom) * ramp
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
        wall = jitter(rng, walls[int(rng.integers(len(walls)))], 0.05)
        box = image[max(top, 0) :, max(left, 0) : left + breadth]
        box[:] = wall
        glass = jitter(rng, (0.24, 0.29, 0.34), 0.06).tolist()
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
    leaves = jitter(rng, (0.25, 0.34, 0.20)) * (1.0 + 0.3 * texture[..., None]).clip(0.3, 2)
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
    base = jitter(rng, (0.26, 0.26, 0.31), 0.04)
    image = np.broadcast_to(base, (height, width, 3)).copy()
    speckle = cv2.GaussianBlur(rng.standard_normal((height, width, 3), dtype=np.float32), (0, 0), 1)
    image += 0.16 * speckle
    period = max(int(0.8 * scale), 3)
    image[::period] *= 0.75
    roof = int(height * rng.uniform(0.1, 0.4))
    image[:roof] = jitter(rng, (0.12, 0.12, 0.16), 0.02)
    board = max(int(0.9 * scale), 2)
    image[height - board :] = jitter(rng, (0.40, 0.36, 0.34), 0.08)
    return image


def _floodlights(rng, width: int, height: int, scale: float) -> np.ndarray:
    """A dusk sky with glowing lamps above a dark wall."""
    image = _sky(rng, height, width, (0.20, 0.22, 0.36), (0.66, 0.45, 0.40), 0.08)
    wall = height - max(int(rng.uniform(1, 3) * scale), 2)
    image[max(wall, 0) :] = jitter(rng, (0.22, 0.21, 0.24), 0.03)
    glow = np.zeros((height, width), np.float32)
    for _ in range(int(rng.integers(2, 6))):
        centre = (int(rng.uniform(0, width)), int(rng.uniform(0, max(wall, 1))))
        cv2.circle(glow, centre, max(int(0.25 * scale), 2), 1.0, -1)
    halo = cv2.GaussianBlur(glow, (0, 0), max(0.8 * scale, 1.0))
    return image + (glow + 2.0 * halo).clip(0, 1)[..., None] * np.array(
        [0.9, 0.85, 0.7], np.float32
    )


BACKDROPS = {
    "buildings": _buildings,
    "trees": _trees,
    "stand": _stand,
    "floodlights": _floodlights,
}
