"""Augmentation of a photo together with its Gaussians: grey, scale, crop, flip.

Every function takes and returns a `Sample`; randomness comes from a NumPy generator alone, so that
a crop can be drawn again.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image

from crowd.data.resize import place_window, scaled_size, scaled_window

GREY_PROBABILITY = 0.12
SCALE_RANGE = (0.75, 1.25)
FLIP_PROBABILITY = 0.5
SMALLEST_SHARE = 0.3
BOX_SIDES = (4.0, 128.0)
# ImageNet's mean colour: zero after normalisation, what the network's own padding shows.
PADDING_COLOR = (124, 116, 104)


class Sample(NamedTuple):
    """A photo (or a crop of it) and one Gaussian per head, in pixels of that picture.

    Attributes:
        image: RGB, uint8 [H, W, 3].
        points: centres (x, y), float32 [N, 2]; a head at the border of a crop may lie outside it.
        scales: standard deviations along the two axes, float32 [N, 2].
        rotations: angle of the first axis, radians, float32 [N].
        sides: side of the square box that stands for the head, float32 [N].
    """

    image: np.ndarray
    points: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    sides: np.ndarray


def box_sides(distances: np.ndarray) -> np.ndarray:
    """Return the side of each head's box: the mean neighbour distance, clamped to [4, 128] px."""
    return np.clip(np.asarray(distances, dtype=np.float32), *BOX_SIDES)


def to_grey(sample: Sample) -> Sample:
    """Replace the colours by their luma (ITU-R 601), three equal channels."""
    grey = Image.fromarray(sample.image).convert("L").convert("RGB")
    return sample._replace(image=np.asarray(grey))


def flip(sample: Sample) -> Sample:
    """Mirror left and right: x becomes W - x, and the angle of every Gaussian its negative."""
    points = sample.points.copy()
    points[:, 0] = sample.image.shape[1] - points[:, 0]
    image = np.ascontiguousarray(sample.image[:, ::-1])
    return sample._replace(image=image, points=points, rotations=-sample.rotations)


def scale_and_crop(sample: Sample, factor: float, left: int, top: int, size: int) -> Sample:
    """Scale a photo by `factor` (bilinear) and cut the size × size window at (left, top) out of it.

    What the window reaches beyond the scaled photo, right or below, is filled with the mean
    colour. All heads are kept, in the window's coordinates; the points follow the rounded sides
    exactly, scales and boxes follow `factor`.
    """
    height, width = sample.image.shape[:2]
    stretch = np.array(scaled_size(width, height, factor)) / (width, height)
    inside = scaled_window(sample.image, factor, left, top, size)
    window = np.empty((size, size, 3), np.uint8)
    window[:] = PADDING_COLOR
    window[: inside.shape[0], : inside.shape[1]] = inside
    return Sample(
        image=window,
        points=(sample.points * stretch - (left, top)).astype(np.float32),
        scales=(sample.scales * factor).astype(np.float32),
        rotations=sample.rotations,
        sides=(sample.sides * factor).astype(np.float32),
    )


def box_shares(points: np.ndarray, sides: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return which share of each head's box lies inside a width × height window, float32 [N].

    Over windows that partition a photo the shares of a box inside the photo sum to 1, so that no
    head is counted twice (released code; the rule of the Bayesian loss).
    """
    half = sides[:, None] / 2
    low = np.maximum(points - half, 0)
    high = np.minimum(points + half, (width, height))
    return (np.clip(high - low, 0, None).prod(axis=1) / sides**2).astype(np.float32)


def augment(
    sample: Sample,
    crop_size: int,
    rng: np.random.Generator,
    scale_range: tuple[float, float] = SCALE_RANGE,
) -> tuple[Sample, np.ndarray]:
    """Draw one training crop.

    Grey with probability 0.12; scaled by `scale_range` where the short side stays at least
    `crop_size`; cropped at random; flipped with probability 0.5. A photo smaller than the crop is
    padded, not enlarged: heads keep the size that they have when the photo is tested.

    Args:
        sample: a whole photo with all its heads.
        crop_size: side of the crop, pixels.
        rng: source of every random number; always asked for the same five.
        scale_range: smallest and largest factor of the scaling (released code: 0.75, 1.25).

    Returns:
        the crop with the heads whose box lies in it to 30 % or more, and their shares, the targets
        t_n of the loss, float32 [n].
    """
    grey, position_x, position_y, mirror = rng.random(4)
    factor = rng.uniform(*scale_range)
    height, width = sample.image.shape[:2]
    factor, left, top = place_window(width, height, crop_size, factor, (position_x, position_y))
    crop = scale_and_crop(sample, factor, left, top, crop_size)
    shares = box_shares(crop.points, crop.sides, crop_size, crop_size)
    kept = shares >= SMALLEST_SHARE
    crop, shares = Sample(crop.image, *(part[kept] for part in crop[1:])), shares[kept]
    if grey < GREY_PROBABILITY:
        crop = to_grey(crop)
    if mirror < FLIP_PROBABILITY:
        crop = flip(crop)
    return crop, shares
