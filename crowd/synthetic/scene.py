"""One scene: ground and backdrop, people from far to near, light, haze, lens and sensor."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowd.io.errors import extra
from crowd.synthetic.domains import (
    HEAD_DIAMETER,
    HEAD_HEIGHT,
    Camera,
    Domain,
    draw_camera,
    find_domain,
)
from crowd.synthetic.person import (
    Patch,
    Person,
    draw_appearance,
    draw_body,
    draw_head,
    draw_number,
    place_people,
)

with extra("commands", "drawing scenes"):
    import cv2

SPLITS = ("train", "test")
VISIBLE_SHARE = 0.3
_STREAMS = ("camera", "background", "people", "sensor")
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


@dataclass(frozen=True)
class Scene:
    """A photo and its truth.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        points: float32 [N, 2], centres (x, y) of the visible heads, pixel centres at +0.5.
        diameters: float32 [N], mean diameter of each visible head in pixels.
        head_map: int32 [H, W], number of the head seen at each pixel; 0 where there is none.
    """

    image: np.ndarray
    points: np.ndarray
    diameters: np.ndarray
    head_map: np.ndarray


def render_scene(
    seed: int,
    domain: str,
    index: int,
    split: str = "train",
    size: tuple[int, int] = (680, 512),
) -> Scene:
    """Render scene `index` of a data set; the same arguments always give the same scene.

    A head gets a point when its centre lies inside the photo and, after everything nearer has been
    drawn over it, at least 30 % of its pixels are left to see (`VISIBLE_SHARE`); pixels beyond the
    border count as hidden, and a pixel belongs to what covers more than half of it.

    Args:
        seed: Seed of the data set.
        domain: "a" (daylight street) or "b" (dusk, crowded, hazy).
        index: Number of the photo within its split.
        split: "train" or "test": they never share a scene.
        size: Width and height in pixels.
    """
    looks = find_domain(domain)
    key = [seed, looks.code, SPLITS.index(split), index]
    streams = {name: np.random.default_rng([*key, i]) for i, name in enumerate(_STREAMS)}
    camera = draw_camera(streams["camera"], looks, *size)
    background = draw_background(streams["background"], looks, camera)
    rng = streams["people"]
    positions = place_people(rng, looks, camera, draw_number(rng, looks, camera))
    crowd = [(draw_appearance(rng, looks), float(x), float(z)) for x, z in positions]
    return compose_scene(streams["sensor"], looks, camera, background, crowd)


def compose_scene(
    rng: np.random.Generator,
    domain: Domain,
    camera: Camera,
    background: Background,
    crowd: list[tuple[Person, float, float]],
) -> Scene:
    """Lay people (looks, x, z) over a background from far to near, and take the photo.

    Heads are numbered from 1 in the order in which they are drawn, the farthest first.
    """
    azimuth = rng.uniform(-np.pi, np.pi)
    sun = np.array([-0.55 * np.sin(azimuth), -0.6, 0.58 + 0.2 * np.cos(azimuth)])
    sun /= np.linalg.norm(sun)
    planes = background.planes.copy()
    _cast_shadows(planes, camera, crowd, azimuth, domain.shadow)
    far, distance = rng.uniform(*domain.haze), float(background.depth.max())
    colour, haze = (np.float32(one)[:, None, None] for one in (domain.light, domain.haze_colour))

    def veil(pixels: np.ndarray, coverage, depth) -> np.ndarray:
        """Light [3, h, w], and mix in the haze, which grows with the distance up to `far`."""
        share = np.float32(1.0 - (1.0 - far) ** (depth / distance))
        return pixels * (colour * (1.0 - share)) + coverage * share * haze

    planes = veil(planes, 1.0, background.depth[:, None])
    head_map, heads = np.zeros(planes.shape[1:], np.int32), []
    for person, x, z in sorted(crowd, key=lambda entry: -entry[2]):
        u, v, scale = (float(value) for value in camera.project(x, z, person.head_height))
        angle = float(camera.view_angle(z, person.head_height))
        body = draw_body(person, (u, v), scale, angle, sun, (camera.width, camera.height))
        head = draw_head(person, (u, v), scale, angle, sun)
        for patch, number in ((body, 0), (head, len(heads) + 1)):
            if patch:
                patch.pixels[:3] = veil(patch.pixels[:3], patch.pixels[3], z)
                _lay(planes, head_map, patch, number)
        heads.append((u, v, scale * person.size * HEAD_DIAMETER, (head.pixels[3] > 0.5).sum()))
    table = np.array(heads, dtype=np.float64).reshape(-1, 4)
    seen = np.bincount(head_map.ravel(), minlength=len(heads) + 1)[1:]
    points = table[:, :2].astype(np.float32)
    inside = ((points > 0) & (points < [camera.width, camera.height])).all(axis=1)
    visible = inside & (seen >= VISIBLE_SHARE * table[:, 3])
    return Scene(
        image=_expose(rng, domain, planes),
        points=points[visible],
        diameters=table[visible, 2].astype(np.float32),
        head_map=head_map,
    )


def _cast_shadows(planes, camera: Camera, crowd, azimuth: float, strength: float) -> None:
    """Darken the ground where people shade it; shadows join, they do not add up."""
    cast, contact = np.zeros((2, *planes.shape[1:]), np.uint8)
    for person, x, z in crowd:
        end = x + 1.2 * person.size * np.sin(azimuth), z + 1.2 * person.size * np.cos(azimuth)
        (u, v, scale), stop = (camera.project(a, max(b, 0.1), 0.0) for a, b in ((x, z), end))
        start, flat = (int(u), int(v)), float(np.sin(camera.view_angle(z, 0.0)))
        thickness = max(int(0.3 * scale * flat), 1)
        cv2.line(cast, start, (int(stop[0]), int(stop[1])), 255, thickness, cv2.LINE_AA)
        axes = (max(int(0.32 * scale), 1), max(int(0.32 * scale * flat), 1))
        cv2.ellipse(contact, start, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    for mask, blur, dark in ((cast, 1.5, strength), (contact, 3.0, 0.3)):
        planes *= 1.0 - cv2.GaussianBlur(mask, (0, 0), blur) * np.float32(dark / 255)


def _lay(planes: np.ndarray, head_map: np.ndarray, patch: Patch, number: int) -> None:
    """Lay a patch over the photo [3, H, W] and give the pixels it mostly covers to `number`."""
    _, height, width = patch.pixels.shape
    top, bottom = np.clip([patch.top, patch.top + height], 0, planes.shape[1])
    left, right = np.clip([patch.left, patch.left + width], 0, planes.shape[2])
    rows = slice(top - patch.top, bottom - patch.top)
    part = patch.pixels[:, rows, left - patch.left : right - patch.left]
    planes[:, top:bottom, left:right] *= 1.0 - part[3]
    planes[:, top:bottom, left:right] += part[:3]
    head_map[top:bottom, left:right][part[3] > 0.5] = number


def _expose(rng, domain: Domain, planes: np.ndarray) -> np.ndarray:
    """Lens blur, contrast, exposure and noise; float [3, H, W] -> uint8 [H, W, 3]."""
    image = cv2.GaussianBlur(np.float32(planes.transpose(1, 2, 0)), (0, 0), domain.blur)
    image = (0.5 + domain.contrast * (image - 0.5)) * rng.uniform(*domain.exposure)
    image += domain.noise * rng.standard_normal(image.shape, dtype=np.float32)
    return (255 * image).round().clip(0, 255).astype(np.uint8)


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
