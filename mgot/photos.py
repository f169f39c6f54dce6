"""MGOT's way from a photo to the network's input, and the sizes that FIDT gives each data set."""

from __future__ import annotations

import dataclasses
import os
from typing import ClassVar, NamedTuple

from crowd.data import network_input as photos
from crowd.data.resize import JPEG_LIMIT, LONG


class Sizes(NamedTuple):
    """Bounds of a data set's photos, pixels (see `crowd.data.resize.target_size`).

    Attributes:
        min_size: lower bound of the short side of training photos.
        max_size: upper bound of the long side.
        test_min_size: lower bound of the short side of photos that are counted whole.
    """

    min_size: int
    max_size: int
    test_min_size: int


AS_STORED = Sizes(1, JPEG_LIMIT, 1)
SIZES = {"sht": AS_STORED, "qnrf": Sizes(512, 2048, 1024)}
OTHER_SIZES = Sizes(512, 2048, 512)
UNSCALED = (1.0, 1.0)
TILE_HELP = "side of tiles, px; 0: whole photos; tiles change the counts of hrnet_small"
# Data sets whose predicted maps are smoothed before peaks are sought (released code).
SMOOTHED = ("qnrf",)
FIELDS = {
    "min_size": "test_min_size",
    "max_size": "max_size",
    "interpolation": "interpolation",
    "depth": "depth",
    "smooth": "smooth",
}


@dataclasses.dataclass(frozen=True)
class Preprocessing(photos.Preprocessing):
    """What happens to a photo before it is counted, and to its map; travels with the weights.

    By default photos stay as they are stored, which is right for those of a set that mgot.fidt
    wrote: they have their size already, whichever set the counter was trained on.

    Attributes:
        smooth: whether the predicted map is smoothed before peaks are sought.
    """

    bounded: ClassVar[str] = LONG

    min_size: int = AS_STORED.test_min_size
    max_size: int = AS_STORED.max_size
    smooth: bool = False


def read_preprocessing(data_dir: str | os.PathLike) -> Preprocessing:
    """Return how mgot.fidt made the val and test photos of a set.

    Raises `InputError` when the set's `preprocess.yml` is damaged; without one photos stay as
    they are.
    """
    return photos.read_preprocessing(data_dir, Preprocessing, FIELDS, "python -m mgot.fidt")


def paper_crop_size(data_dir: str | os.PathLike) -> int:
    """Return the side of a training crop: 256 for photos as they are, 512 for FIDT's large ones."""
    return 256 if read_preprocessing(data_dir).max_size == AS_STORED.max_size else 512
