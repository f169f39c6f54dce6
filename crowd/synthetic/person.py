"""People: how they look, where they stand, and their drawing as a body and a head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crowd.io.errors import extra
from crowd.synthetic.domains import HEAD_HEIGHT, Camera, Colour, Domain

with extra("commands", "drawing scenes"):
    import cv2

FEW_HEADS_SHARE = 0.08
_REFERENCE_AREA = 512 * 680
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

    @property
    def head_height(self) -> float:
        """Height of the head's centre above the ground."""
        return HEAD_HEIGHT * self.size


@dataclass(frozen=True)
class Patch:
    """Part of a picture: float32 [4, h, w], red, green, blue times coverage, coverage; corner."""

    left: int
    top: int
    pixels: np.ndarray


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
