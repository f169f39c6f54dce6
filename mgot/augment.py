"""Augmentation of a photo together with its FIDT map: random crop, flip."""

from __future__ import annotations

import dataclasses

import numpy as np

FLIP_PROBABILITY = 0.5


@dataclasses.dataclass(frozen=True)
class Sample:
    """A photo (or a crop of it) and its labels, in the same pixels.

    Attributes:
        image: RGB, uint8 [H, W, 3].
        fidt_map: float32 [H, W].
        kpoint: 1 at the pixels of heads, uint8 [H, W].
    """

    image: np.ndarray
    fidt_map: np.ndarray
    kpoint: np.ndarray

    def window(self, rows: slice, columns: slice) -> Sample:
        """Return the part in these rows and columns."""
        return Sample(*(array[rows, columns] for array in (self.image, self.fidt_map, self.kpoint)))


def flip(sample: Sample) -> Sample:
    """Mirror left and right."""
    return sample.window(slice(None), slice(None, None, -1))


def augment(sample: Sample, crop_size: int, rng: np.random.Generator) -> Sample:
    """Draw one training crop: a random window, flipped with probability 0.5 (released code).

    Args:
        sample: a whole photo.
        crop_size: side of the window, pixels; a smaller photo comes back whole.
        rng: source of every random number; always asked for the same three.
    """
    position_x, position_y, mirror = rng.random(3)
    height, width = sample.kpoint.shape
    left = int(position_x * (max(width - crop_size, 0) + 1))
    top = int(position_y * (max(height - crop_size, 0) + 1))
    crop = sample.window(slice(top, top + crop_size), slice(left, left + crop_size))
    return flip(crop) if mirror < FLIP_PROBABILITY else crop


def head_points(kpoint: np.ndarray) -> np.ndarray:
    """Return the centres (x, y) of the marked pixels, float32 [n, 2], in reading order."""
    rows, columns = np.nonzero(kpoint)
    return np.stack([columns, rows], axis=1).astype(np.float32) + 0.5
