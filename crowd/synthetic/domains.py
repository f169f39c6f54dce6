"""What scenes are drawn from: the two domains `a` and `b`, and a pinhole camera above a plane."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowd.io.errors import InputError

HEAD_DIAMETER = 0.22
HEAD_HEIGHT = 1.6
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


def find_domain(name: str) -> Domain:
    """Return the domain called `name`; raise `InputError` when there is none."""
    if name not in DOMAINS:
        raise InputError(f"unknown domain '{name}': choose one of {', '.join(DOMAINS)}")
    return DOMAINS[name]


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
