"""A pinhole camera above a plane, so that sizes, rows and occlusion agree with each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crowd.synthetic.domains import Domain

HEAD_DIAMETER = 0.22
HEAD_HEIGHT = 1.6


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
