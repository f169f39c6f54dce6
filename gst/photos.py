"""GST's photos: the processed set, and the way to the network's input.

The short side is clamped. `train/NAME.npy` is float32 [N, 3] = x, y, extent of the head: the mean
distance to the three nearest heads, or on JHU-Crowd++ the height of its annotated box. `val/` and
`test/` hold [N, 2]. All in pixels of `NAME.jpg`.
"""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.data import network_input as photos
from crowd.data.prepare import Job, Resized
from crowd.data.processed import SETTINGS
from crowd.io.errors import InputError
from gst.heads import SINGLE_HEAD, neighbour_distance

SMALLEST = 16  # pixels: the stride of VGG-19, below which nothing is left
SMALLEST_TILE = 2 * SMALLEST  # a side that is little longer is cut in two
FIELDS = {name: name for name in ("min_size", "max_size", "interpolation", "depth")}


@dataclasses.dataclass(frozen=True)
class Preprocessing(photos.Preprocessing):
    """As `network_input.Preprocessing`; the short side is clamped to [min_size, max_size].

    Attributes:
        tile: photos with a side of more than this are evaluated in tiles, pixels.
    """

    tile: int = 512

    def __post_init__(self):
        """Raise `ValueError` or `TypeError` for values, read from a file, that cannot be."""
        super().__post_init__()
        if self.min_size < SMALLEST or self.tile < SMALLEST_TILE:
            raise ValueError(f"min_size {self.min_size}, tile {self.tile}")


def read_common_preprocessing(
    data_dirs: Sequence[str | os.PathLike], tile: int = Preprocessing.tile
) -> Preprocessing:
    """Return how sets that are trained on together were made (`read_preprocessing`).

    Raises `InputError` where they differ.
    """
    first, *others = [read_preprocessing(one, tile) for one in data_dirs]
    for folder, other in zip(data_dirs[1:], others, strict=True):
        if other != first:
            raise InputError(
                f"{folder} was not preprocessed as {data_dirs[0]} was: preprocess it again with "
                f"the options {_options(first)}"
            )
    return first


def read_preprocessing(
    data_dir: str | os.PathLike, tile: int = Preprocessing.tile
) -> Preprocessing:
    """Return how preprocess_dataset_ucf.py made a set (`network_input.read_preprocessing`).

    `tile` is of the evaluation, and no matter of the set. Raises `InputError` if it is too small.
    """
    made = photos.read_preprocessing(data_dir, Preprocessing, FIELDS, "preprocess_dataset_ucf.py")
    if tile < SMALLEST_TILE:
        raise InputError(f"--tile {tile} is too small: {SMALLEST_TILE} pixels are the least")
    return dataclasses.replace(made, tile=tile)


def require_same(data_dir: str | os.PathLike, preprocessing: Preprocessing) -> None:
    """Raise `InputError` for a set that was made otherwise than `preprocessing` says.

    Its photos would be resized once more and counted at sizes that are neither the set's nor those
    of the training. A set without `preprocess.yml` is of photos as they are, which is fine.
    """
    path = Path(data_dir) / SETTINGS
    if not path.is_file():
        return
    made = read_preprocessing(data_dir)
    for name in FIELDS:
        was, wanted = getattr(made, name), getattr(preprocessing, name)
        if was != wanted:
            raise InputError(
                f"{path} says {name} {was}, but the counter was trained with {name} {wanted}: "
                f"preprocess the set again with the options {_options(preprocessing)}"
            )


def _options(preprocessing: Preprocessing) -> str:
    """The options of preprocess_dataset_ucf.py that make photos for this preprocessing."""
    # With =, or argparse takes a depth of -20:40 for an option.
    return " ".join(f"--{name.replace('_', '-')}={getattr(preprocessing, name)}" for name in FIELDS)


@dataclasses.dataclass(frozen=True, kw_only=True)
class GaussianJob(Job):
    """One photo to process; where `extents` are wanted, its heads get the third column."""

    extents: bool

    def heads(self, resized: Resized) -> np.ndarray:
        """Return the heads, float32 [N, 3] with their extents (see above) and [N, 2] without."""
        if not self.extents:
            return resized.points
        if self.seen.layout == "jhu":
            box_heights = self.seen.boxes(self.convention)[resized.inside, 1]
            extents = box_heights * resized.ratio
        else:
            extents = neighbour_distance(resized.points, SINGLE_HEAD * resized.ratio)
        return np.column_stack([resized.points, extents]).astype(np.float32)
