"""Where scenes are: the two domains `a` and `b`, a pinhole camera, ground and backdrop."""

import math
from dataclasses import dataclass

import numpy as np

from crowd.io.errors import extra

with extra("commands", "drawing scenes"):
    import cv2

HEAD_DIAMETER = 0.22
HEAD_HEIGHT = 1.6
FEW_HEADS_SHARE = 0.08
TILE, METRES = 512, 16.0  # side of a ground texture
_REFERENCE_AREA = 512 * 680
# Kind of ground -> its two colours, mixed by noise, and the strength of its grain.
_GROUNDS = {
    "slabs": ((0.64, 0.62, 0.59), (0.58, 0.56, 0.53), 0.05),
    "asphalt": ((0.40, 0.40, 0.41), (0.34, 0.34, 0.35), 0.06),
    "grass": ((0.34, 0.43, 0.22), (0.52, 0.48, 0.30), 0.13),
    "terraces": ((0.46, 0.46, 0.48), (0.40, 0.40, 0.42), 0.05),
}
_WALLS = ((0.72, 0.66, 0.56), (0.62, 0.40, 0.32), (0.80, 0.78, 0.74), (0.50, 0.52, 0.55))

Range = tuple[float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Domain:
    """What a scene is drawn from; lengths in metres, head diameters in pixels, RGB in 0-1."""

    code: int  # enters the seed
    people: Range  # in a photo of 512 × 680 pixels, drawn log-uniformly
    nearest_head: Range  # diameter at the lower edge of the photo
    smallest_head: float  # nobody stands where heads would be smaller
    pitch: Range  # of the camera below the horizontal, degrees
    spacing: float  # least distance between two people
    grounds: tuple[str, ...]  # and what stands behind them, see `crowd.synthetic.scene`
    backdrop: str
    clothes: tuple[Colour, ...]
    shadow: float  # strength of cast shadows
    light: Colour  # multiplies the scene
    haze_colour: Colour  # mixed in by distance
    haze: Range  # its share at the far end of the ground
    contrast: float  # about mid-grey
    exposure: Range  # gain
    noise: float  # standard deviation of the sensor's
    blur: float  # standard deviation of the lens's, pixels


_STREET = Domain(
    code=0,
    people=(4, 90),
    nearest_head=(26, 45),
    smallest_head=9.0,
    pitch=(10, 24),
    spacing=0.55,
    grounds=("slabs", "asphalt", "grass"),
    backdrop="houses",
    clothes=(
        (0.93, 0.93, 0.91), (0.13, 0.14, 0.17), (0.75, 0.16, 0.17), (0.18, 0.34, 0.66),
        (0.92, 0.74, 0.25), (0.24, 0.50, 0.33), (0.55, 0.57, 0.60), (0.86, 0.55, 0.60),
        (0.40, 0.66, 0.80), (0.47, 0.30, 0.52), (0.84, 0.45, 0.20), (0.66, 0.60, 0.50),
    ),
    shadow=0.35,
    light=(1.0, 1.0, 0.98),
    haze_colour=(0.80, 0.85, 0.90),
    haze=(0.0, 0.12),
    contrast=1.05,
    exposure=(0.9, 1.15),
    noise=0.014,
    blur=0.5,
)  # fmt: skip

_STADIUM = Domain(
    code=1,
    people=(50, 300),
    nearest_head=(11, 17),
    smallest_head=6.0,
    pitch=(22, 36),
    spacing=0.45,
    grounds=("terraces", "asphalt"),
    backdrop="stand",
    clothes=(
        (0.16, 0.17, 0.20), (0.24, 0.25, 0.30), (0.34, 0.33, 0.36), (0.20, 0.24, 0.36),
        (0.42, 0.20, 0.20), (0.50, 0.49, 0.48), (0.28, 0.33, 0.30), (0.12, 0.12, 0.13),
        (0.70, 0.68, 0.62), (0.55, 0.40, 0.24),
    ),
    shadow=0.06,
    light=(0.88, 0.86, 0.92),
    haze_colour=(0.52, 0.51, 0.55),
    haze=(0.25, 0.55),
    contrast=0.75,
    exposure=(0.85, 1.1),
    noise=0.026,
    blur=0.65,
)  # fmt: skip

DOMAINS = {"a": _STREET, "b": _STADIUM}


@dataclass(frozen=True)
class Camera:
    """Camera at `elevation` metres above the ground's origin, looking along +z and `pitch` down.

    World coordinates are metres: x to the right, z away on the ground, up above it. Photo
    coordinates are pixels with pixel centres at +0.5.
    """

    width: int
    height: int
    focal: float
    pitch: float
    elevation: float

    def project(self, x, z, up):
        """Return photo x, photo y and pixels per metre of world points (arrays broadcast)."""
        drop = self.elevation - up
        depth = z * np.cos(self.pitch) + drop * np.sin(self.pitch)
        slope = (drop * np.cos(self.pitch) - z * np.sin(self.pitch)) / depth
        scale = self.focal / depth
        return self.width / 2 + x * scale, self.height / 2 + self.focal * slope, scale

    def intersect(self, column, row, up=0.0):
        """Return world x, z where a photo point's ray meets height `up`; NaN above the horizon."""
        slope = (np.asarray(row, dtype=np.float64) - self.height / 2) / self.focal
        fall = np.sin(self.pitch) + slope * np.cos(self.pitch)
        depth = (self.elevation - up) / np.where(fall > 1e-6, fall, np.nan)
        z = depth * (np.cos(self.pitch) - slope * np.sin(self.pitch))
        return (column - self.width / 2) / self.focal * depth, z

    def head_row(self, diameter: float) -> float:
        """Return the photo row where heads of standing people have this diameter in pixels."""
        drop = self.elevation - HEAD_HEIGHT
        fall = drop / (self.focal * HEAD_DIAMETER / diameter)
        slope = (fall - np.sin(self.pitch)) / np.cos(self.pitch)
        return float(self.height / 2 + self.focal * slope)

    def view_angle(self, z, up=HEAD_HEIGHT):
        """Return the angle below the horizontal at which a point at distance z is seen."""
        return np.arctan2(self.elevation - up, z)


def draw_camera(rng: np.random.Generator, domain: Domain, width: int, height: int) -> Camera:
    """Draw a camera whose heads at the lower edge have a diameter from the domain's range."""
    focal = width * rng.uniform(1.0, 1.4)
    pitch = np.deg2rad(rng.uniform(*domain.pitch))
    depth = focal * HEAD_DIAMETER / rng.uniform(*domain.nearest_head)
    drop = depth * (np.sin(pitch) + height / 2 / focal * np.cos(pitch))
    return Camera(width, height, focal, pitch, HEAD_HEIGHT + drop)


def draw_number(rng: np.random.Generator, domain: Domain, camera: Camera) -> int:
    """Draw the number of people: log-uniform for the photo's area, now and then 0, 1 or 2."""
    area = camera.width * camera.height / _REFERENCE_AREA
    number = math.exp(rng.uniform(*np.log(domain.people))) * area
    few_heads = int(rng.integers(0, 3))
    return few_heads if rng.uniform() < FEW_HEADS_SHARE else max(round(number), 1)


def place_people(
    rng: np.random.Generator, domain: Domain, camera: Camera, number: int
) -> np.ndarray:
    """Place up to `number` people, half of them in clusters, with heads inside the photo.

    Returns positions [n, 2] (x, z in metres), apart by `domain.spacing`; fewer on full ground.
    """
    top = max(camera.head_row(domain.smallest_head), 0.0)

    def anywhere(count: int) -> np.ndarray:
        # Uniform in the photo's head rows, so that near and far both occur.
        column, row = rng.uniform(0, camera.width, count), rng.uniform(top, camera.height, count)
        return np.stack(camera.intersect(column, row, HEAD_HEIGHT), axis=1)

    centres = anywhere(int(rng.integers(1, 7)))
    kept, count = np.empty((number, 2)), 0
    for _ in range(30):
        if count == number:
            break
        points = anywhere(2 * number + 4)
        near = centres[rng.integers(0, len(centres), len(points))]
        near = near + rng.normal(0, 1.5, near.shape)
        points = np.where(rng.uniform(size=(len(points), 1)) < 0.5, near, points)
        column, row, _ = camera.project(*points.T, HEAD_HEIGHT)
        inside = (column > 0) & (column < camera.width) & (row > top) & (row < camera.height)
        for point in points[inside]:
            apart = np.square(kept[:count] - point).sum(axis=1).min(initial=np.inf)
            if count < number and apart > domain.spacing**2:
                kept[count] = point
                count += 1
    return kept[:count]


@dataclass(frozen=True)
class Background:
    """Photo without people."""

    planes: np.ndarray  # float32 [3, H, W] in 0-1, not yet lit or hazed
    depth: np.ndarray  # of the ground at each row, metres; the backdrop has that of its foot


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
