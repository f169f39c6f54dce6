"""One scene: people on the ground from far to near, light, haze, lens and sensor."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from crowd.io.errors import extra
from crowd.synthetic.ground import (
    DOMAINS,
    HEAD_HEIGHT,
    Background,
    Camera,
    Colour,
    Domain,
    draw_background,
    draw_camera,
    draw_number,
    place_people,
)

with extra("commands", "drawing scenes"):
    import cv2

SPLITS = ("train", "test")
VISIBLE_SHARE = 0.3
_SKIN = ((0.95, 0.80, 0.69), (0.87, 0.68, 0.54), (0.74, 0.54, 0.40), (0.55, 0.37, 0.26),
         (0.38, 0.25, 0.18))  # fmt: skip
_HAIR = ((0.08, 0.07, 0.07), (0.16, 0.11, 0.09), (0.30, 0.19, 0.12), (0.52, 0.37, 0.20),
         (0.75, 0.62, 0.40), (0.62, 0.61, 0.60), (0.46, 0.20, 0.10))  # fmt: skip
_TROUSERS = ((0.16, 0.20, 0.32), (0.11, 0.11, 0.13), (0.35, 0.33, 0.30), (0.58, 0.53, 0.44),
             (0.24, 0.33, 0.48), (0.40, 0.40, 0.42))  # fmt: skip
_SHOES = (0.12, 0.10, 0.10)
_OVERSAMPLING = 2
_HEAD = (0.1, 0.125)  # half its width and length, metres


@dataclass(frozen=True)
class Person:
    """Appearance of one person; lengths in metres, colours RGB in 0-1.

    `facing` is 0 towards the camera, ±π away from it; who has no cap has None.
    """

    size: float
    girth: float
    facing: float
    stride: float
    skin: Colour
    hair: Colour
    top: Colour
    trousers: Colour
    cap: Colour | None


class Patch(NamedTuple):
    """Part of a picture: float32 [4, h, w], red, green, blue times coverage, coverage; corner."""

    left: int
    top: int
    pixels: np.ndarray


class Scene(NamedTuple):
    """A photo and its truth."""

    image: np.ndarray  # uint8 [H, W, 3], RGB
    points: np.ndarray  # float32 [N, 2], centres (x, y) of visible heads, pixel centres at +0.5
    head_map: np.ndarray  # int32 [H, W], number of the head seen at each pixel; 0: none


def render_scene(
    seed: int, domain: str, index: int, split: str = "train", size: tuple[int, int] = (680, 512)
) -> Scene:
    """Render scene `index` of a data set; the same arguments always give the same scene.

    A head gets a point when its centre lies inside the photo and, after everything nearer has been
    drawn over it, at least 30 % of its pixels are left to see (`VISIBLE_SHARE`); pixels beyond the
    border count as hidden, and a pixel belongs to what covers more than half of it. `index` counts
    within the split, "train" or "test", which never share a scene; `size` is (width, height).
    """
    looks = DOMAINS[domain]
    key = [seed, looks.code, SPLITS.index(split), index]
    first, second, rng, last = (np.random.default_rng([*key, i]) for i in range(4))
    camera = draw_camera(first, looks, *size)
    background = draw_background(second, looks, camera)
    positions = place_people(rng, looks, camera, draw_number(rng, looks, camera))
    crowd = [(draw_appearance(rng, looks), float(x), float(z)) for x, z in positions]
    return compose_scene(last, looks, camera, background, crowd)


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
        u, v, scale = (float(value) for value in camera.project(x, z, HEAD_HEIGHT * person.size))
        angle = float(camera.view_angle(z, HEAD_HEIGHT * person.size))
        body = draw_body(person, (u, v), scale, angle, sun, (camera.width, camera.height))
        head = draw_head(person, (u, v), scale, angle, sun)
        for patch, number in ((body, 0), (head, len(heads) + 1)):
            if patch:
                patch.pixels[:3] = veil(patch.pixels[:3], patch.pixels[3], z)
                _lay(planes, head_map, patch, number)
        heads.append((u, v, (head.pixels[3] > 0.5).sum()))
    table = np.array(heads, dtype=np.float64).reshape(-1, 3)
    seen = np.bincount(head_map.ravel(), minlength=len(heads) + 1)[1:]
    points = table[:, :2].astype(np.float32)
    inside = ((points > 0) & (points < [camera.width, camera.height])).all(axis=1)
    visible = inside & (seen >= VISIBLE_SHARE * table[:, 2])
    return Scene(_expose(rng, domain, planes), points[visible], head_map)


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


def draw_appearance(rng: np.random.Generator, domain: Domain) -> Person:
    """Draw a person's looks."""

    def pick(colours) -> Colour:
        colour = np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, 0.03, 3)
        return tuple(colour.clip(0.03, 0.97).tolist())

    child = rng.uniform() < 0.07
    return Person(
        size=rng.uniform(0.7, 0.85) if child else rng.uniform(0.93, 1.07),
        girth=rng.uniform(0.88, 1.2),
        facing=rng.uniform(-math.pi, math.pi),
        stride=rng.uniform(-0.22, 0.22),
        skin=pick(_SKIN),
        hair=pick(_HAIR),
        top=pick(domain.clothes),
        trousers=pick(_TROUSERS),
        cap=pick(domain.clothes) if rng.uniform() < 0.2 else None,
    )


def _shapes(person: Person) -> list[tuple[list[tuple[float, float]], float, Colour]]:
    """Strokes of a body: points in metres from the head's centre, v downwards; width, 0 if filled.

    The farthest first.
    """
    girth = person.girth * (0.78 + 0.22 * abs(math.cos(person.facing)))
    shoulder, waist = 0.205 * girth, 0.17 * girth
    shapes = []
    for side in (-1, 1):
        step, hip = side * person.stride, side * 0.085 * girth
        leg = tuple((0.91 + 0.09 * side) * value for value in person.trousers)
        foot, toe = side * 0.075 + 0.8 * step, 0.03 * math.sin(person.facing)
        shapes.append(([(hip, 0.78), (hip + 0.5 * step, 1.15), (foot, 1.5)], 0.14 * girth, leg))
        shapes.append(([(foot, 1.56), (foot + toe, 1.56)], 0.1, _SHOES))
    sleeve = tuple(0.85 * value for value in person.top)
    for side in (-1, 1):
        elbow, hand = (side * (shoulder + 0.07), 0.5), (side * (shoulder + 0.05), 0.72)
        shapes.append(([elbow, hand], 0.075, person.skin))
        shapes.append(([(side * shoulder, 0.24), elbow], 0.1, sleeve))
    outline = [(-shoulder, 0.22), (shoulder, 0.22), (waist, 0.5), (waist, 0.84)]
    shapes.append(([*outline, (-waist, 0.84), (-waist, 0.5)], 0, person.top))
    shapes.append(([(-shoulder, 0.245), (shoulder, 0.245)], 0.11, person.top))
    neck = tuple(0.8 * value for value in person.skin)
    return [*shapes, ([(0, 0.1), (0, 0.18)], 0.11, neck)]


def draw_body(person: Person, centre, scale: float, angle: float, light, frame) -> Patch | None:
    """Draw the body of a person whose head is at `centre` (x, y), pixels, `scale` pixels a metre.

    `angle` is that below the horizontal at which the camera sees the person, radians; `light` a
    unit vector towards the light (right, down, to the camera); `frame` width and height of the
    photo. Returns None where nothing of the body lies in it.
    """
    scale = scale * person.size
    squash = math.cos(angle)  # of vertical lengths
    left = max(math.floor(centre[0] - 0.5 * scale) - 1, 0)
    top = max(math.floor(centre[1] - 0.12 * scale) - 1, 0)
    right = min(math.ceil(centre[0] + 0.5 * scale) + 1, frame[0])
    bottom = min(math.ceil(centre[1] + (1.62 * squash + 0.02) * scale) + 1, frame[1])
    if right <= left or bottom <= top:
        return None
    size, origin = np.array([right - left, bottom - top]), np.array(centre) - [left, top]
    canvas = np.zeros((*(_OVERSAMPLING * size[::-1]), 4), np.uint8)
    for points, width, colour in _shapes(person):
        # Fixed point of 1/16 pixel; OpenCV's whole numbers are pixel centres, hence the -8.
        places = (np.array(points) * [scale, scale * squash] + origin) * 16 * _OVERSAMPLING - 8
        places = [places.round().astype(np.int32)]
        paint = (*(255 * value for value in colour), 255.0)
        if width:
            thickness = max(round(width * scale * _OVERSAMPLING), 1)
            cv2.polylines(canvas, places, False, paint, thickness, shift=4)
        else:
            cv2.fillPoly(canvas, places, paint, shift=4)
    pixels = cv2.resize(canvas, size.tolist(), interpolation=cv2.INTER_AREA)
    pixels = np.float32(pixels.transpose(2, 0, 1) / 255)
    across, down = ((np.arange(n) + 0.5 - o) / scale for n, o in zip(size, origin, strict=True))
    side = 1.0 + 0.9 * light[0] * across - 2.0 * across**2
    chin = np.exp(-(((down - 0.13) / 0.06) ** 2))
    depth = 1.0 - 0.28 * (down / 1.2).clip(0, 1) - 0.3 * chin
    pixels[:3] *= np.outer(depth, side).clip(0.2, 1.0)
    return Patch(left, top, pixels)


def draw_head(person: Person, centre, scale: float, angle: float, light) -> Patch:
    """Draw a head as a shaded ellipsoid; arguments as in `draw_body`.

    Drawn by its formula, so that its centre and extent are exact. The patch is not clipped to the
    photo, so that its coverage counts the whole head.
    """
    scale = scale * person.size
    sine = math.sin(angle)
    # Looked down upon, a head shows its round top instead of its length.
    wide, long = _HEAD[0], _HEAD[1] * (1 - sine**2) + 0.112 * sine**2
    reach = math.ceil(1.2 * long * scale) + 1
    left, top = math.floor(centre[0]) - reach, math.floor(centre[1]) - reach
    pixels = np.arange(2 * reach + 1) + 0.5
    across = ((pixels + (left - centre[0])) / scale)[None, :]
    down = ((pixels + (top - centre[1])) / scale)[:, None]

    def ellipse(u: float, v: float, width: float, length: float) -> np.ndarray:
        radius = np.hypot((across - u) / width, (down - v) / length)
        return ((1.0 - radius) * (min(width, length) * scale) + 0.5).clip(0.0, 1.0)

    colours = np.empty((3, len(pixels), len(pixels)))
    colours[:] = np.array(person.hair)[:, None, None]
    layers = []
    if math.cos(person.facing) > -0.35:
        width = 0.08 * (0.55 + 0.45 * max(math.cos(person.facing), 0.0))
        u, v = 0.045 * math.sin(person.facing), 0.03 + 0.035 * sine
        layers.append((ellipse(u, v, width, long * (0.82 - 0.25 * sine)), person.skin))
    if person.cap:
        layers.append((((-0.02 - down) * scale + 0.5).clip(0.0, 1.0), person.cap))
    for coverage, colour in layers:
        colours += coverage * (np.array(colour)[:, None, None] - colours)
    right, below = across / wide, down / long
    out = np.sqrt((1.0 - right**2 - below**2).clip(0.0, 1.0))
    lit = (light[0] * right + light[1] * below + light[2] * out).clip(0.0, 1.0)
    coverage = ellipse(0, 0, wide, long)
    shaded = (colours * (0.48 + 0.5 * lit) + 0.1 * lit**12) * coverage
    return Patch(left, top, np.concatenate([shaded, coverage[None]]).astype(np.float32))
