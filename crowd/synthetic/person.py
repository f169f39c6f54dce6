"""People: how they look, and their drawing as a body and a head."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from crowd.synthetic.camera import HEAD_HEIGHT
from crowd.synthetic.domains import Colour, Domain

_SKIN = ((0.95, 0.80, 0.69), (0.87, 0.68, 0.54), (0.74, 0.54, 0.40), (0.55, 0.37, 0.26),
         (0.38, 0.25, 0.18))  # fmt: skip
_HAIR = ((0.08, 0.07, 0.07), (0.16, 0.11, 0.09), (0.30, 0.19, 0.12), (0.52, 0.37, 0.20),
         (0.75, 0.62, 0.40), (0.62, 0.61, 0.60), (0.46, 0.20, 0.10))  # fmt: skip
_TROUSERS = ((0.16, 0.20, 0.32), (0.11, 0.11, 0.13), (0.35, 0.33, 0.30), (0.58, 0.53, 0.44),
             (0.24, 0.33, 0.48), (0.40, 0.40, 0.42))  # fmt: skip
_SHOES = (0.12, 0.10, 0.10)
_OVERSAMPLING = 2
_HEADWEAR = ("none", "none", "none", "none", "long", "long", "bald", "cap", "beanie", "hood")


@dataclass(frozen=True)
class Person:
    """Appearance of one person; lengths in metres, colours RGB in 0-1.

    `facing` is 0 towards the camera, ±π away from it; `lower` is "trousers", "skirt" or "bare".
    """

    size: float
    girth: float
    facing: float
    roll: float
    stride: float
    arms: tuple[float, float]
    skin: Colour
    hair: Colour
    top: Colour
    trousers: Colour
    cloth: Colour
    headwear: str
    lower: str
    stripes: bool
    bag: bool

    @property
    def head_height(self) -> float:
        """Height of the head's centre above the ground."""
        return HEAD_HEIGHT * self.size


def draw_appearance(rng: np.random.Generator, domain: Domain, facing: float) -> Person:
    """Draw a person's looks; `facing` is the direction of the group the person walks with."""

    def pick(colours, spread=0.05):
        colour = np.array(colours[int(rng.integers(len(colours)))]) + rng.normal(0, spread, 3)
        return tuple(float(value) for value in colour.clip(0.03, 0.97))

    child = rng.uniform() < 0.07
    cheering = rng.uniform() < 0.06
    arms = rng.uniform(2.2, 3.0, 2) if cheering else rng.uniform(-0.05, 0.35, 2)
    return Person(
        size=rng.uniform(0.7, 0.85) if child else rng.uniform(0.93, 1.07),
        girth=rng.uniform(0.88, 1.2),
        facing=facing + rng.normal(0, 0.5),
        roll=rng.normal(0, 0.08),
        stride=rng.uniform(-0.22, 0.22),
        arms=(float(arms[0]), float(arms[1])),
        skin=pick(_SKIN, 0.02),
        hair=pick(_HAIR, 0.02),
        top=pick(domain.clothes),
        trousers=pick(_TROUSERS, 0.03),
        cloth=pick(domain.clothes),
        headwear=_HEADWEAR[int(rng.integers(len(_HEADWEAR)))],
        lower=("trousers", "trousers", "trousers", "skirt", "bare")[int(rng.integers(5))],
        stripes=rng.uniform() < 0.15,
        bag=rng.uniform() < 0.2,
    )


@dataclass(frozen=True)
class Patch:
    """Part of a picture: float32 [4, h, w], red, green, blue times coverage, coverage; corner."""

    left: int
    top: int
    pixels: np.ndarray


class Canvas:
    """An oversampled canvas in body coordinates: metres from the head's centre, v downwards.

    Vertical lengths are foreshortened by the cosine of the angle the camera looks down at.
    """

    def __init__(self, centre, scale: float, foreshortening: float, box, frame):
        """Cover `box` (left, top, right, bottom; metres), cut to the frame (width, height)."""
        self.scale = scale
        self.left = max(math.floor(centre[0] + box[0] * scale) - 1, 0)
        self.top = max(math.floor(centre[1] + box[1] * scale) - 1, 0)
        right = min(math.ceil(centre[0] + box[2] * scale) + 1, frame[0])
        bottom = min(math.ceil(centre[1] + box[3] * scale) + 1, frame[1])
        self.shape = (max(bottom - self.top, 0), max(right - self.left, 0))
        self.origin = (centre[0] - self.left, centre[1] - self.top)
        # Fixed point of 1/16 pixel; OpenCV's whole numbers are pixel centres, hence the -0.5.
        fine = 16 * _OVERSAMPLING
        self._gain = (scale * fine, scale * foreshortening * fine)
        self._shift = (self.origin[0] * fine - 8, self.origin[1] * fine - 8)
        height, width = self.shape
        self.pixels = np.zeros((height * _OVERSAMPLING, width * _OVERSAMPLING, 4), np.uint8)

    def _place(self, point) -> tuple[int, int]:
        """Return the fixed-point canvas position of a body point."""
        return (
            round(point[0] * self._gain[0] + self._shift[0]),
            round(point[1] * self._gain[1] + self._shift[1]),
        )

    def _chain(self, points) -> list[np.ndarray]:
        return [np.array([self._place(point) for point in points], np.int32)]

    def polygon(self, points, colour: Colour) -> None:
        """Fill a polygon."""
        cv2.fillPoly(self.pixels, self._chain(points), _bytes(colour), shift=4)

    def ellipse(self, centre, radii, colour: Colour) -> None:
        """Fill an upright ellipse; its radii are not foreshortened."""
        position = self._place(centre)
        axes = [round(radius * self.scale * 16 * _OVERSAMPLING) for radius in radii]
        cv2.ellipse(self.pixels, position, axes, 0, 0, 360, _bytes(colour), -1, shift=4)

    def limb(self, points, width: float, colour: Colour) -> None:
        """Draw a chain of round-ended strokes."""
        thickness = max(round(width * self.scale * _OVERSAMPLING), 1)
        cv2.polylines(self.pixels, self._chain(points), False, _bytes(colour), thickness, shift=4)

    def patch(self, shade: np.ndarray) -> Patch:
        """Return the canvas at the photo's resolution, its colours times `shade` [h, w]."""
        small = cv2.resize(self.pixels, self.shape[::-1], interpolation=cv2.INTER_AREA)
        pixels = np.array(small.transpose(2, 0, 1), dtype=np.float32, order="C")
        pixels *= np.float32(1 / 255)
        pixels[:3] *= shade
        return Patch(self.left, self.top, pixels)


def _bytes(colour: Colour) -> tuple[float, ...]:
    return (*(float(value * 255) for value in colour), 255.0)


def _darker(colour: Colour, factor: float) -> Colour:
    return tuple(value * factor for value in colour)


def draw_body(person: Person, centre, scale: float, angle: float, light, frame) -> Patch | None:
    """Draw legs, torso, arms and long hair of a person whose head is at `centre`.

    Args:
        person: Looks.
        centre: Head centre (x, y), pixels.
        scale: Pixels per metre at the person.
        angle: Angle below the horizontal at which the camera sees the person, radians.
        light: Unit vector towards the light, (right, down, to the camera).
        frame: Width and height of the photo.

    Returns:
        The patch, or None where nothing of it lies inside the photo.
    """
    scale = scale * person.size
    squash = math.cos(angle)
    wide, high = (0.75, 0.6) if max(person.arms) > 1 else (0.5, 0.12)
    canvas = Canvas(centre, scale, squash, (-wide, -high, wide, 1.62 * squash + 0.02), frame)
    if 0 in canvas.shape:
        return None
    girth = person.girth * (0.78 + 0.22 * abs(math.cos(person.facing)))
    _draw_legs(canvas, person, girth)
    _draw_torso(canvas, person, girth, math.sin(angle))
    across = (np.arange(canvas.shape[1], dtype=np.float32) + 0.5 - canvas.origin[0]) / scale
    down = (np.arange(canvas.shape[0], dtype=np.float32) + 0.5 - canvas.origin[1]) / scale
    across = across.clip(-0.3, 0.3)
    side = 1.0 + 0.9 * light[0] * across - 2.0 * across**2
    chin = np.exp(-(((down - 0.13) / 0.06) ** 2))
    depth = 1.0 - 0.28 * (down / 1.2).clip(0, 1) - 0.3 * chin
    return canvas.patch(np.outer(depth, side).clip(0.2, 1.0).astype(np.float32))


def _draw_legs(canvas: Canvas, person: Person, girth: float) -> None:
    hip, knee, foot = 0.78, 1.15, 1.55
    skin = person.lower != "trousers"
    for side, colour in ((-1, 0.82), (1, 1.0)):
        leg = _darker(person.skin if skin else person.trousers, colour)
        step = side * person.stride
        chain = [
            (side * 0.085 * girth, hip),
            (side * 0.08 * girth + 0.5 * step, knee),
            (side * 0.075 + step * 0.8, foot - 0.05 * abs(step)),
        ]
        canvas.limb(chain, 0.14 * girth if not skin else 0.1, leg)
        toe = (chain[-1][0] + 0.03 * np.sin(person.facing), foot + 0.02)
        canvas.ellipse(toe, (0.065, 0.04), _SHOES)
    if person.lower == "skirt":
        hem = 0.24 * girth
        outline = [(-0.16 * girth, 0.6), (0.16 * girth, 0.6), (hem, 1.08), (-hem, 1.08)]
        canvas.polygon(outline, person.trousers)
    elif person.lower == "bare":
        for side in (-1, 1):
            chain = [(side * 0.085 * girth, hip), (side * 0.09 * girth, 0.98)]
            canvas.limb(chain, 0.16 * girth, person.trousers)


def _draw_torso(canvas: Canvas, person: Person, girth: float, sine: float) -> None:
    shoulder, waist = 0.205 * girth, 0.165 * girth
    away = np.cos(person.facing) < 0
    if person.bag and not away:
        canvas.ellipse((0.0, 0.42), (0.23 * girth, 0.17), _darker(person.cloth, 0.6))
    for side, swing in zip((-1, 1), person.arms, strict=True):
        elbow = (side * (shoulder + 0.04 + 0.27 * np.sin(swing)), 0.24 + 0.27 * np.cos(swing))
        hand = (elbow[0] - side * 0.02, elbow[1] + 0.22 * np.cos(swing))
        canvas.limb([(side * shoulder, 0.24), elbow], 0.1, _darker(person.top, 0.85))
        canvas.limb([elbow, hand], 0.075, _darker(person.top if swing < 0.2 else person.skin, 0.9))
        canvas.ellipse(hand, (0.045, 0.045), person.skin)
    outline = [(-shoulder, 0.22), (shoulder, 0.22), (waist * 1.08, 0.5), (waist * 1.05, 0.84)]
    canvas.polygon([*outline, (-waist * 1.05, 0.84), (-waist * 1.08, 0.5)], person.top)
    canvas.ellipse((0, 0.235), (shoulder + 0.04, 0.055 + 0.09 * sine), person.top)
    if person.stripes:
        for v in (0.3, 0.42, 0.54, 0.66):
            chain = [(-waist * 0.95, v), (waist * 0.95, v)]
            canvas.limb(chain, 0.05, person.cloth)
    canvas.ellipse((0, 0.15), (0.055, 0.07), _darker(person.skin, 0.8))
    if person.bag and away:
        pack = [(-0.11, 0.24), (0.11, 0.24), (0.14, 0.34), (0.13, 0.6), (-0.13, 0.6), (-0.14, 0.34)]
        canvas.polygon(pack, _darker(person.cloth, 0.7))
        canvas.limb([(-0.1, 0.5), (0.1, 0.5)], 0.03, _darker(person.cloth, 0.45))
    if person.headwear == "long":
        canvas.ellipse((0, 0.12), (0.11, 0.17 if away else 0.13), _darker(person.hair, 0.9))
