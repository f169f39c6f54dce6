"""One scene: background, people and props from far to near, light, haze, lens and sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from crowd.synthetic.background import Background, draw_background
from crowd.synthetic.camera import HEAD_DIAMETER, Camera, draw_camera
from crowd.synthetic.domains import Domain, find_domain
from crowd.synthetic.head import draw_head
from crowd.synthetic.noise import white_noise
from crowd.synthetic.person import Patch, Person, draw_appearance, draw_body
from crowd.synthetic.placement import draw_number, place_people
from crowd.synthetic.props import Prop, draw_prop, place_props

SPLITS = ("train", "test")
VISIBLE_SHARE = 0.3
_STREAMS = ("camera", "background", "props", "people", "sensor")


@dataclass(frozen=True)
class Scene:
    """A photo and its truth.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        points: float32 [N, 2], centres (x, y) of the visible heads, pixel centres at +0.5.
        diameters: float32 [N], mean diameter of each visible head in pixels.
        owners: int32 [N], the number by which a visible head stands in `head_map`.
        head_map: int32 [H, W], number of the head seen at each pixel; 0 where there is none.
    """

    image: np.ndarray
    points: np.ndarray
    diameters: np.ndarray
    owners: np.ndarray
    head_map: np.ndarray


def render_scene(
    seed: int,
    domain: str,
    index: int,
    split: str = "train",
    size: tuple[int, int] = (680, 512),
    people: bool = True,
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
        people: False leaves the people out of the otherwise same scene.
    """
    looks = find_domain(domain)
    key = [seed, looks.code, SPLITS.index(split), index]
    streams = {name: np.random.default_rng([*key, i]) for i, name in enumerate(_STREAMS)}
    camera = draw_camera(streams["camera"], looks, *size)
    background = draw_background(streams["background"], looks, camera)
    props = place_props(streams["props"], looks, camera)
    crowd = _draw_crowd(streams["people"], looks, camera) if people else []
    return compose_scene(streams["sensor"], looks, camera, background, props, crowd)


def _draw_crowd(rng, domain: Domain, camera: Camera) -> list[tuple[Person, float, float]]:
    number = draw_number(rng, domain, camera)
    positions, groups = place_people(rng, domain, camera, number)
    headings = rng.uniform(-np.pi, np.pi, 8)
    crowd = []
    for (x, z), group in zip(positions, groups, strict=True):
        facing = headings[group] if group else rng.uniform(-np.pi, np.pi)
        crowd.append((draw_appearance(rng, domain, float(facing)), float(x), float(z)))
    return crowd


def compose_scene(
    rng: np.random.Generator,
    domain: Domain,
    camera: Camera,
    background: Background,
    props: list[Prop],
    crowd: list[tuple[Person, float, float]],
) -> Scene:
    """Lay people (looks, x, z) and props over a background from far to near, and take the photo.

    Heads are numbered from 1 in the order in which they are drawn, the farthest first.
    """
    sun = _draw_sun(rng, domain)
    light = np.array(domain.light[int(rng.integers(len(domain.light)))], np.float32)
    planes = background.planes * light[:, None, None]
    _cast_shadows(planes, camera, props, crowd, sun)
    haze = _Haze(rng, domain, background)
    haze.fill(planes, background.depth)
    head_map = np.zeros(planes.shape[1:], np.int32)
    heads = []
    items = [*crowd, *((prop, prop.x, prop.z) for prop in props)]
    for item, x, z in sorted(items, key=lambda entry: -entry[2]):
        if isinstance(item, Prop):
            prop = draw_prop(item, camera)
            if prop:
                _lay(planes, head_map, haze.veil(prop, light, z), 0)
            continue
        u, v, scale = (float(value) for value in camera.project(x, z, item.head_height))
        angle = float(camera.view_angle(z, item.head_height))
        body = draw_body(item, (u, v), scale, angle, sun.direction, (camera.width, camera.height))
        head = draw_head(item, (u, v), scale, angle, sun.direction)
        if body:
            _lay(planes, head_map, haze.veil(body, light, z), 0)
        _lay(planes, head_map, haze.veil(head, light, z), len(heads) + 1)
        heads.append((u, v, scale * item.size * HEAD_DIAMETER, (head.pixels[3] > 0.5).sum()))
    table = np.array(heads, dtype=np.float64).reshape(-1, 4)
    seen = np.bincount(head_map.ravel(), minlength=len(heads) + 1)[1:]
    points = table[:, :2].astype(np.float32)
    inside = ((points > 0) & (points < [camera.width, camera.height])).all(axis=1)
    visible = inside & (seen >= VISIBLE_SHARE * table[:, 3])
    return Scene(
        image=_expose(rng, domain, planes),
        points=points[visible],
        diameters=table[visible, 2].astype(np.float32),
        owners=np.flatnonzero(visible).astype(np.int32) + 1,
        head_map=head_map,
    )


@dataclass(frozen=True)
class _Sun:
    direction: np.ndarray
    shadow: tuple[float, float]
    strength: float


def _draw_sun(rng, domain: Domain) -> _Sun:
    azimuth, length = rng.uniform(-np.pi, np.pi), rng.uniform(*domain.shadow_length)
    direction = np.array([-0.55 * np.sin(azimuth), -0.6, 0.58 + 0.2 * np.cos(azimuth)])
    direction /= np.linalg.norm(direction)
    shadow = (length * np.sin(azimuth), length * np.cos(azimuth))
    return _Sun(direction.astype(np.float32), shadow, rng.uniform(*domain.sun))


def _cast_shadows(planes, camera: Camera, props, crowd, sun: _Sun) -> None:
    """Darken the ground where people and props shade it; shadows join, they do not add up."""
    cast = np.zeros(planes.shape[1:], np.uint8)
    contact = np.zeros(planes.shape[1:], np.uint8)
    things = [(x, z, 1.7 * item.size, 0.32) for item, x, z in crowd]
    things += [(p.x, p.z, 1.0 * p.size, 1.0 if p.kind == "bush" else 0.3) for p in props]
    for x, z, tall, wide in things:
        ends = [
            (x + part * tall * sun.shadow[0], z + part * tall * sun.shadow[1]) for part in (0, 1)
        ]
        (u0, v0, scale), (u1, v1, _) = (camera.project(a, max(b, 0.1), 0.0) for a, b in ends)
        start, stop = (int(u0), int(v0)), (int(u1), int(v1))
        flat = float(np.sin(camera.view_angle(z, 0.0)))
        cv2.line(cast, start, stop, 255, max(int(wide * 0.9 * scale * flat), 1), cv2.LINE_AA)
        axes = (max(int(wide * scale), 1), max(int(wide * scale * flat), 1))
        cv2.ellipse(contact, start, axes, 0, 0, 360, 255, -1, cv2.LINE_AA)
    cast = cv2.GaussianBlur(cast, (0, 0), 1.5) * np.float32(sun.strength / 255)
    contact = cv2.GaussianBlur(contact, (0, 0), 3.0) * np.float32(0.3 / 255)
    planes *= (1.0 - cast) * (1.0 - contact)


class _Haze:
    """Haze that grows with distance, from nothing at the camera to `far` at the ground's end."""

    def __init__(self, rng, domain: Domain, background: Background):
        colours = domain.haze_colour
        self.colour = np.array(colours[int(rng.integers(len(colours)))], np.float32)
        self.far = rng.uniform(*domain.haze)
        self.distance = float(background.depth[: background.edge + 1].max(initial=1.0))

    def share(self, depth):
        """Return the share of haze at a distance."""
        return 1.0 - (1.0 - self.far) ** (depth / self.distance)

    def fill(self, planes: np.ndarray, depth: np.ndarray) -> None:
        """Veil the background, whose depth is given per row."""
        share = self.share(depth).astype(np.float32)[:, None]
        planes *= 1.0 - share
        planes += share * self.colour[:, None, None]

    def veil(self, patch: Patch, light: np.ndarray, depth: float) -> Patch:
        """Light and veil something that stands at `depth`."""
        share = np.float32(self.share(depth))
        mix = np.zeros((4, 4), np.float32)
        np.fill_diagonal(mix, [*(light * (1 - share)), 1.0])
        mix[:3, 3] = share * self.colour
        pixels = (mix @ patch.pixels.reshape(4, -1)).reshape(patch.pixels.shape)
        return Patch(patch.left, patch.top, pixels)


def _lay(planes: np.ndarray, head_map: np.ndarray, patch: Patch, number: int) -> None:
    """Lay a patch over the photo [3, H, W] and give the pixels it mostly covers to `number`."""
    height, width = patch.pixels.shape[1:]
    top, left = max(patch.top, 0), max(patch.left, 0)
    bottom = min(patch.top + height, planes.shape[1])
    right = min(patch.left + width, planes.shape[2])
    if bottom <= top or right <= left:
        return
    rows, columns = slice(top, bottom), slice(left, right)
    within = (
        slice(top - patch.top, bottom - patch.top),
        slice(left - patch.left, right - patch.left),
    )
    part = patch.pixels[:, *within]
    planes[:, rows, columns] *= 1.0 - part[3]
    planes[:, rows, columns] += part[:3]
    head_map[rows, columns][part[3] > 0.5] = number


def _expose(rng, domain: Domain, planes: np.ndarray) -> np.ndarray:
    """Lens blur, vignette, contrast, exposure and noise; float [3, H, W] -> uint8 [H, W, 3]."""
    blur = rng.uniform(*domain.blur)
    planes = np.stack([cv2.GaussianBlur(plane, (0, 0), blur) for plane in planes])
    y, x = np.ogrid[-1 : 1 : planes.shape[1] * 1j, -1 : 1 : planes.shape[2] * 1j]
    corner = 1.0 - rng.uniform(*domain.vignette) * (x**2 + y**2) / 2
    contrast, gain = rng.uniform(*domain.contrast), rng.uniform(*domain.exposure)
    planes *= np.float32(contrast)
    planes += np.float32(0.5 - 0.5 * contrast)
    planes *= (255 * gain * corner).astype(np.float32)
    grain = white_noise(rng, planes.shape)
    grain *= np.float32(255 * rng.uniform(*domain.noise))
    planes += grain
    # OpenCV rounds and clips to whole bytes in one pass.
    return cv2.merge([cv2.convertScaleAbs(plane.clip(min=0)) for plane in planes])
