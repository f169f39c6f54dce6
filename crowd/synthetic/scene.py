"""One scene: people on level ground, the far ones smaller, closer together and in haze.

Lengths on the ground are in head diameters, colours RGB in 0-1.
"""

import math
from typing import NamedTuple

import numpy as np

from crowd.io.errors import extra
from crowd.synthetic.domains import DOMAINS, HAIR, SKIN, TROUSERS, WALLS, Colour, Domain

with extra("commands", "drawing scenes"):
    import cv2

SPLITS = ("train", "test")
VISIBLE_SHARE = 0.3
HEAD = (0.46, 0.57)  # half its width and length
BODY = 7.0  # from the head's centre to the feet
OVERSAMPLING = 2  # scenes are drawn larger, then averaged
FEW_HEADS_SHARE = 0.08  # of scenes with 0, 1 or 2 people


class View(NamedTuple):
    """A camera above everyone's head: a head's diameter grows linearly from the horizon's row."""

    width: int
    height: int
    horizon: float  # row
    nearest: float  # diameter of a head at the lower edge

    def diameter(self, row):
        """Diameter in pixels of heads at a row."""
        return self.nearest * (row - self.horizon) / (self.height - self.horizon)

    def row(self, diameter):
        """Row of heads of this diameter."""
        return self.horizon + diameter / self.nearest * (self.height - self.horizon)

    def to_ground(self, column, row):
        """Where on the ground (x to the right, z away) the person with this head stands."""
        diameter = self.diameter(row)
        return (column - self.width / 2) / diameter, 1.2 * self.width / diameter

    def to_photo(self, x, z):
        """Column, row and diameter of the head of a person at (x, z)."""
        diameter = 1.2 * self.width / z
        return self.width / 2 + x * diameter, self.row(diameter), diameter


class Person(NamedTuple):
    """Place and looks of a person; `facing` is 0 towards the camera, ±π away from it."""

    x: float
    z: float
    size: float
    facing: float
    stride: float
    skin: Colour
    hair: Colour
    top: Colour
    trousers: Colour


class Scene(NamedTuple):
    """A photo and its truth."""

    image: np.ndarray  # uint8 [H, W, 3], RGB
    points: np.ndarray  # float32 [N, 2], centres (x, y) of visible heads, pixel centres at +0.5
    head_map: np.ndarray  # int32 [2H, 2W], number of the head seen at each place; 0: none


def render_scene(
    seed: int, domain: str, index: int, split: str = "train", size: tuple[int, int] = (680, 512)
) -> Scene:
    """Render scene `index` of a data set; the same arguments always give the same scene.

    A head gets a point when its centre lies inside the photo and, after everything nearer has been
    drawn over it, at least 30 % of it is left to see (`VISIBLE_SHARE`). `index` counts within the
    split, "train" or "test", which never share a scene; `size` is (width, height).
    """
    looks = DOMAINS[domain]
    rng = np.random.default_rng([seed, looks.code, SPLITS.index(split), index])
    view = View(*size, size[1] * rng.uniform(*looks.horizon), rng.uniform(*looks.nearest))
    people = [draw_person(rng, looks, x, z) for x, z in place_people(rng, looks, view)]
    return compose_scene(rng, looks, view, people)


def place_people(rng: np.random.Generator, domain: Domain, view: View) -> np.ndarray:
    """Places [n, 2] (x, z) of people whose heads lie in the photo, half of them in clusters."""
    area = view.width * view.height / (512 * 680)
    number = max(round(math.exp(rng.uniform(*np.log(domain.people))) * area), 1)
    if rng.uniform() < FEW_HEADS_SHARE:
        number = int(rng.integers(0, 3))
    top = max(view.row(domain.smallest), 0.0)

    def anywhere(count: int) -> np.ndarray:
        column, row = rng.uniform(0, view.width, count), rng.uniform(top, view.height, count)
        return np.stack(view.to_ground(column, row), axis=1)

    centres, kept = anywhere(int(rng.integers(1, 7))), np.empty((0, 2))
    for _ in range(30):
        places = anywhere(2 * number + 4)
        near = centres[rng.integers(len(centres), size=len(places))]
        near = near + rng.normal(0, 7, near.shape)
        places = np.where(rng.uniform(size=(len(places), 1)) < 0.5, near, places)
        column, row, _ = view.to_photo(*places.T)
        inside = (column > 0) & (column < view.width) & (row > top) & (row < view.height)
        for place in places[inside & (places[:, 1] > 0)]:
            if len(kept) == number:
                return kept
            if np.hypot(*(kept - place).T).min(initial=np.inf) > domain.spacing:
                kept = np.vstack([kept, place])
    return kept


def draw_person(rng: np.random.Generator, domain: Domain, x: float, z: float) -> Person:
    """Draw the looks of a person at (x, z)."""

    def pick(colours) -> Colour:
        return tuple((colours[rng.integers(len(colours))] + rng.normal(0, 0.03, 3)).clip(0, 1))

    numbers = rng.uniform((0.88, -math.pi, -1), (1.07, math.pi, 1))
    return Person(x, z, *numbers, *map(pick, (SKIN, HAIR, domain.clothes, TROUSERS)))


def compose_scene(
    rng: np.random.Generator, domain: Domain, view: View, people: list[Person]
) -> Scene:
    """Draw people on the ground from far to near, and take the photo.

    Heads are numbered from 1 in the order in which they are drawn, the farthest first.
    """
    canvas = Canvas(draw_ground(rng, domain, view), domain.light)
    far = rng.uniform(*domain.haze) * domain.smallest  # haze times diameter
    people = sorted(people, key=lambda one: -one.z)
    heads = np.reshape([view.to_photo(one.x, one.z) for one in people], (-1, 3))
    sizes, points = heads[:, 2] * [one.size for one in people], np.float32(heads[:, :2])
    canvas.shade(points, sizes, domain.shadow)
    for number, person in enumerate(people):
        canvas.haze = far / heads[number, 2]
        draw_body(canvas, person, points[number], sizes[number])
        draw_head(canvas, person, points[number], sizes[number], number + 1)
    seen = np.bincount(canvas.head_map.ravel(), minlength=len(people) + 1)[1:]
    whole = math.pi * HEAD[0] * HEAD[1] * (sizes * OVERSAMPLING) ** 2
    inside = ((points > 0) & (points < [view.width, view.height])).all(axis=1)
    visible = inside & (seen >= VISIBLE_SHARE * whole)
    return Scene(expose(rng, domain, canvas.image), points[visible], canvas.head_map)


class Canvas:
    """A picture `OVERSAMPLING` times too large, and the number of the head at each of its pixels.

    `haze` is the share of grey in what is drawn from now on.
    """

    def __init__(self, image: np.ndarray, light: Colour):
        self.light, self.haze = np.array(light), 0.0
        image = np.uint8(255 * (image * np.float32(light)).clip(0, 1))
        self.image = image.repeat(OVERSAMPLING, axis=0).repeat(OVERSAMPLING, axis=1)
        self.head_map = np.zeros(self.image.shape[:2], np.int32)

    def draw(self, points, colour: Colour, width: float = 0.0, number: int = 0) -> None:
        """Fill a polygon (x, y), pixels of the photo, or draw a line of `width` through it."""
        # In 1/16 pixel; OpenCV's whole numbers are pixel centres, hence the -8.
        places = [(np.array(points) * 16 * OVERSAMPLING - 8).round().astype(np.int32)]
        mixed = (np.array(colour) * self.light).clip(0, 1) * (1 - self.haze) + 0.6 * self.haze
        # Smooth lines in the picture; in whole numbers OpenCV has none.
        for picture, value in ((self.image, (255 * mixed).tolist()), (self.head_map, number)):
            if width:
                thick = max(round(width * OVERSAMPLING), 1)
                cv2.polylines(picture, places, False, value, thick, cv2.LINE_AA, shift=4)
            else:
                cv2.fillPoly(picture, places, value, cv2.LINE_AA, shift=4)

    def shade(self, heads: np.ndarray, sizes: np.ndarray, strength: float) -> None:
        """Darken the ground at the feet of people; shadows join, they do not add up."""
        mask = np.zeros(self.head_map.shape, np.uint8)
        for (u, v), size in zip(OVERSAMPLING * heads, OVERSAMPLING * sizes, strict=True):
            feet = (int(u), int(v + BODY * size))
            cv2.ellipse(mask, feet, (int(2 * size) + 1, int(0.7 * size) + 1), 0, 0, 360, 255, -1)
        dark = 1 - cv2.GaussianBlur(mask, (0, 0), 2 * OVERSAMPLING) * np.float32(strength / 255)
        self.image = np.uint8(self.image * dark[..., None])


def draw_body(canvas: Canvas, person: Person, centre, size: float) -> None:
    """Draw the body of a person whose head, of diameter `size`, is at `centre`; pixels."""
    girth = 1.05 * (0.78 + 0.22 * abs(math.cos(person.facing)))

    def draw(points, colour, width: float = 0.0, shade: float = 1.0) -> None:
        canvas.draw(centre + size * np.array(points), np.multiply(colour, shade), width * size)

    for side in (-1, 1):
        foot = side * 0.35 + 0.8 * side * person.stride
        leg = [(side * 0.4, 3.3), (side * (0.4 + 0.4 * person.stride), 5.1), (foot, BODY - 0.2)]
        draw(leg, person.trousers, 0.62, 0.92 + 0.08 * side)
        shoe = [(foot - 0.1, BODY), (foot + 0.15 * math.sin(person.facing), BODY)]
        draw(shoe, (0.12, 0.1, 0.1), 0.4)
        elbow, hand = (side * (girth + 0.25), 2.2), (side * (girth + 0.15), 3.2)
        draw([elbow, hand], person.skin, 0.34)
        draw([(side * girth * 0.9, 1.1), elbow], person.top, 0.45, 0.8)
    draw([(-girth, 1.0), (girth, 1.0), (0.8 * girth, 3.7), (-0.8 * girth, 3.7)], person.top)
    draw([(0.3 * girth, 1.0), (girth, 1.0), (0.8 * girth, 3.7), (0.3, 3.7)], person.top, 0, 0.85)
    draw([(-0.9 * girth, 1.1), (0.9 * girth, 1.1)], person.top, 0.45)
    draw([(0, 0.4), (0, 0.8)], person.skin, 0.5, 0.75)


def draw_head(canvas: Canvas, person: Person, centre, size: float, number: int) -> None:
    """Draw a head of diameter `size` at `centre`, pixels: hair, light on it, and a face."""
    turn = np.linspace(0, 2 * math.pi, 32, endpoint=False)

    def draw(right, down, wide, long, colour) -> None:
        corners = np.stack([right + wide * np.cos(turn), down + long * np.sin(turn)], axis=1)
        canvas.draw(centre + size * corners, colour, number=number)

    draw(0, 0, *HEAD, np.multiply(person.hair, 0.8))
    draw(-0.1, -0.15, 0.3, 0.34, np.multiply(person.hair, 1.15))
    front = math.cos(person.facing)
    if front > -0.35:
        wide = 0.2 + 0.16 * max(front, 0.0)
        draw(0.2 * math.sin(person.facing), 0.14, wide, 0.4, person.skin)


def draw_ground(rng: np.random.Generator, domain: Domain, view: View) -> np.ndarray:
    """Draw paved ground, whose stones shrink with the distance, and what is above its end."""
    rows, columns = np.arange(0.5, view.height)[:, None], np.arange(0.5, view.width)
    end = view.row(domain.smallest * rng.uniform(0.8, 0.95)) + 0.2 * BODY * domain.smallest
    end = max(int(end), 0)
    near = np.maximum(rows, end)
    x, z = view.to_ground(columns, near)
    seam = ((x % 6 < 0.2) | (z % 6 < 0.2)) * (view.diameter(near) / view.nearest)
    shades = rng.normal(0, rng.uniform(*domain.stones), (64, 64))
    stones = shades[np.int32(z) % 64, np.int32(np.floor(x)) % 64]
    blots = cv2.resize(rng.normal(0, 0.04, (12, 16)), x.T.shape, interpolation=cv2.INTER_CUBIC)
    grain = 0.03 * rng.standard_normal(x.shape, dtype=np.float32)
    colour = np.float32(domain.ground[rng.integers(len(domain.ground))])
    image = colour * np.float32(1 - rng.uniform(0, 0.2) * seam + stones + blots + grain)[..., None]
    image[:end] = domain.sky
    if domain.houses:
        draw_houses(rng, image, end, 5 * domain.smallest)
    return image


def draw_houses(rng: np.random.Generator, image: np.ndarray, foot: int, scale: float) -> None:
    """Draw a row of houses into a picture, from its row `foot` up; `scale` is their pitch."""
    left = 0
    while left < image.shape[1]:
        wide, high = rng.uniform(1, 2.5, 2) * scale
        house = image[max(int(foot - high), 0) : foot, left : left + int(wide)]
        house[:] = WALLS[rng.integers(len(WALLS))]
        rows, columns = (np.arange(side) % (0.45 * scale) > 0.2 * scale for side in house.shape[:2])
        house[np.outer(rows, columns)] *= 0.4
        left += int(wide + rng.choice([0, 0, 0.4]) * scale)


def expose(rng: np.random.Generator, domain: Domain, image: np.ndarray) -> np.ndarray:
    """Lens, contrast, exposure and noise: a drawn picture becomes a photo, uint8 [H, W, 3]."""
    size = [side // OVERSAMPLING for side in image.shape[1::-1]]
    photo = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    photo = cv2.GaussianBlur(photo, (0, 0), 0.5)
    photo = (0.5 + domain.contrast * (photo - 0.5)) * rng.uniform(0.9, 1.12)
    photo += domain.noise * rng.standard_normal(photo.shape, dtype=np.float32)
    return (255 * photo).round().clip(0, 255).astype(np.uint8)
