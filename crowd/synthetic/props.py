"""Things that are no people: lamps, bushes, bollards and bins, some of them as round as heads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowd.synthetic.camera import Camera
from crowd.synthetic.domains import Domain
from crowd.synthetic.noise import noise
from crowd.synthetic.person import Canvas, Patch

KINDS = ("lamp", "bush", "bollard", "bin", "bush")


@dataclass(frozen=True)
class Prop:
    """A thing on the ground at (x, z) metres."""

    kind: str
    x: float
    z: float
    size: float
    colour: tuple[float, float, float]
    seed: int


def place_props(rng: np.random.Generator, domain: Domain, camera: Camera) -> list[Prop]:
    """Draw a handful of props anywhere on the visible ground."""
    top = max(camera.head_row(domain.smallest_head), 0.0)
    props = []
    for _ in range(int(rng.integers(0, 7))):
        column, row = rng.uniform(0, camera.width), rng.uniform(top, camera.height * 1.1)
        x, z = camera.intersect(column, row, 0.8)
        kind = KINDS[int(rng.integers(len(KINDS)))]
        colour = tuple(float(value) for value in rng.uniform(0.15, 0.55, 3))
        seed = int(rng.integers(2**31))
        props.append(Prop(kind, float(x), float(z), rng.uniform(0.8, 1.3), colour, seed))
    return props


def draw_prop(prop: Prop, camera: Camera) -> Patch | None:
    """Draw a prop upright on the ground; None where nothing of it lies inside the photo."""
    x, y, scale = camera.project(prop.x, prop.z, 0.0)
    tall = {"lamp": 3.6, "bush": 1.2, "bollard": 1.1, "bin": 1.0}[prop.kind] * prop.size
    wide = {"lamp": 0.3, "bush": 1.0, "bollard": 0.2, "bin": 0.35}[prop.kind] * prop.size
    squash = float(np.cos(camera.view_angle(prop.z, 0.0)))
    box = (-wide * 1.2, -tall * squash - 0.5, wide * 1.2, 0.35)
    frame = (camera.width, camera.height)
    canvas = Canvas((float(x), float(y)), float(scale), squash, box, frame)
    if 0 in canvas.shape:
        return None
    _DRAW[prop.kind](canvas, prop, tall, wide)
    across = (np.arange(canvas.shape[1]) + 0.5 - canvas.origin[0]) / (wide * scale)
    shade = (1.0 - 0.25 * across - 0.2 * across**2).clip(0.4, 1.15).astype(np.float32)[None]
    if prop.kind == "bush":
        grain = noise(np.random.default_rng(prop.seed), *canvas.shape, 12, 4)
        shade = shade * (1.0 + 0.3 * grain).clip(0.4, 1.6)
    return canvas.patch(np.broadcast_to(shade, canvas.shape).clip(0.3, 1.0))


def _draw_lamp(canvas: Canvas, prop: Prop, tall: float, wide: float) -> None:
    del prop
    canvas.limb([(0, 0), (0, -tall + 0.2)], 0.09, (0.16, 0.17, 0.18))
    canvas.ellipse((0, -tall + 0.1), (wide * 0.6, wide * 0.6), (0.92, 0.90, 0.82))


def _draw_bush(canvas: Canvas, prop: Prop, tall: float, wide: float) -> None:
    rng = np.random.default_rng(prop.seed)
    green = tuple(float(v) for v in np.array([0.20, 0.33, 0.15]) + rng.normal(0, 0.03, 3))
    for _ in range(60):
        u, v = rng.triangular(-0.95, 0, 0.95) * wide, -(0.42 + rng.uniform(-0.35, 0.35)) * tall
        radius = wide * rng.uniform(0.1, 0.22)
        canvas.ellipse((u, v), (radius, radius), tuple(c * rng.uniform(0.85, 1.1) for c in green))


def _draw_bollard(canvas: Canvas, prop: Prop, tall: float, wide: float) -> None:
    canvas.limb([(0, 0), (0, -tall + wide)], 1.2 * wide, prop.colour)
    canvas.ellipse((0, -tall + wide), (wide * 0.8, wide * 0.8), prop.colour)


def _draw_bin(canvas: Canvas, prop: Prop, tall: float, wide: float) -> None:
    outline = [(-0.8 * wide, 0), (0.8 * wide, 0), (wide, -0.9 * tall), (-wide, -0.9 * tall)]
    canvas.polygon(outline, prop.colour)
    canvas.ellipse((0, -0.9 * tall), (wide, wide * 0.4), tuple(0.5 * v for v in prop.colour))


_DRAW = {"lamp": _draw_lamp, "bush": _draw_bush, "bollard": _draw_bollard, "bin": _draw_bin}
