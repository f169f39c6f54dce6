"""GST's way from a photo to the network's input: its short side clamped, counted in tiles."""

from __future__ import annotations

import dataclasses
import os

from crowd import photos
from crowd.photos import photo_tensor, read_photo

__all__ = ["Preprocessing", "photo_tensor", "read_photo", "read_preprocessing"]

FIELDS = {name: name for name in ("min_size", "max_size", "interpolation")}


@dataclasses.dataclass(frozen=True)
class Preprocessing(photos.Preprocessing):
    """As `crowd.photos.Preprocessing`; the short side is clamped to [min_size, max_size].

    Attributes:
        tile: photos with a side of more than this are evaluated in tiles, pixels.
    """

    tile: int = 512

    def __post_init__(self):
        """Raise `ValueError` or `TypeError` for values, read from a file, that cannot be."""
        super().__post_init__()
        if self.tile < 16:
            raise ValueError(f"tile {self.tile}")


def read_preprocessing(data_dir: str | os.PathLike) -> Preprocessing:
    """Return how preprocess_dataset_ucf.py made a set (`crowd.photos.read_preprocessing`)."""
    return photos.read_preprocessing(data_dir, Preprocessing, FIELDS, "preprocess_dataset_ucf.py")
