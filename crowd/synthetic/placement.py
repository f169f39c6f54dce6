"""Where people stand: clusters, scattered walkers and empty patches on the ground."""

from __future__ import annotations

import numpy as np

from crowd.synthetic.camera import HEAD_HEIGHT, Camera
from crowd.synthetic.domains import Domain

FEW_HEADS_SHARE = 0.08
_REFERENCE_AREA = 512 * 680


def draw_number(rng: np.random.Generator, domain: Domain, camera: Camera) -> int:
    """Draw the number of people: log-uniform for the photo's area, now and then 0, 1 or 2."""
    few = rng.uniform() < FEW_HEADS_SHARE
    least, most = domain.people
    area = camera.width * camera.height / _REFERENCE_AREA
    number = np.exp(rng.uniform(np.log(least), np.log(most))) * area
    few_heads = int(rng.integers(0, 3))
    return few_heads if few else max(round(number), 1)


def place_people(
    rng: np.random.Generator, domain: Domain, camera: Camera, number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Place up to `number` people with heads inside the photo and apart by `domain.spacing`.

    Returns:
        Positions [n, 2] (x, z in metres) and a group number per person [n], 0 for scattered ones;
        n < `number` where the ground is full.
    """
    top = max(camera.head_row(domain.smallest_head), 0.0)
    clusters = _draw_clusters(rng, camera, top)
    holes = _draw_points(rng, camera, top, int(rng.integers(0, 3)))
    hole_radius = rng.uniform(0.8, 2.5)
    share = rng.uniform(*domain.clustered)
    kept, groups, count = np.empty((number, 2)), np.zeros(number, dtype=int), 0
    for _ in range(30):
        if count == number:
            break
        points, group = _draw_candidates(rng, camera, top, clusters, share, 2 * number + 4)
        column, row, _ = camera.project(points[:, 0], points[:, 1], HEAD_HEIGHT)
        inside = (column > 0) & (column < camera.width) & (row > top) & (row < camera.height)
        for hole in holes:
            inside &= np.hypot(*(points - hole).T) > hole_radius
        for point, name in zip(points[inside], group[inside], strict=True):
            apart = np.square(kept[:count] - point).sum(axis=1).min(initial=np.inf)
            if count < number and apart > domain.spacing**2:
                kept[count], groups[count] = point, name
                count += 1
    return kept[:count], groups[:count]


def _draw_points(rng, camera: Camera, top: float, number: int) -> np.ndarray:
    """Draw ground positions uniform in the photo's head rows, so that near and far both occur."""
    column = rng.uniform(0, camera.width, number)
    row = rng.uniform(top, camera.height, number)
    return np.stack(camera.intersect(column, row, HEAD_HEIGHT), axis=1)


def _draw_clusters(rng, camera: Camera, top: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Draw clusters as centre and 2 × 2 matrix that spreads a normal variate (metres)."""
    clusters = []
    for centre in _draw_points(rng, camera, top, int(rng.integers(1, 7))):
        angle = rng.uniform(0, np.pi)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        clusters.append((centre, turn * rng.uniform(0.5, 3.0, 2)))
    return clusters


def _draw_candidates(rng, camera, top, clusters, share, number):
    points = _draw_points(rng, camera, top, number)
    group = np.zeros(number, dtype=int)
    for i in np.flatnonzero(rng.uniform(size=number) < share):
        group[i] = int(rng.integers(1, len(clusters) + 1))
        centre, spread = clusters[group[i] - 1]
        points[i] = centre + spread @ rng.standard_normal(2)
    return points, group
