"""One scene: background and people from far to near, light, haze, lens and sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from crowd.synthetic.background import Background, draw_background
from crowd.synthetic.domains import HEAD_DIAMETER, Camera, Domain, draw_camera, find_domain
from crowd.synthetic.person import (
    Patch,
    Person,
    draw_appearance,
    draw_body,
    draw_head,
    draw_number,
    place_people,
)

SPLITS = ("train", "test")
VISIBLE_SHARE = 0.3
_STREAMS = ("camera", "background", "people", "sensor")


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
