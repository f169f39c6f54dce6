"""From a photo to a network's input: the one way used in training, testing and `--image`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

import numpy as np

from crowd.data.images import AUTO, depth_option, read_image
from crowd.data.processed import SETTINGS
from crowd.data.resize import INTERPOLATIONS, JPEG_LIMIT, SHORT, target_size
from crowd.io.errors import InputError, extra
from crowd.io.files import read_yaml

if TYPE_CHECKING:
    import torch


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What happens to a photo before the network sees it; travels with the weights."""

    bounded: ClassVar[str] = SHORT  # the side that `max_size` is about; belongs to the method

    min_size: int = 512  # pixels (see `crowd.data.resize.target_size`)
    max_size: int = 2048
    interpolation: str = "bilinear"  # of that resizing, or `bicubic`
    depth: str = AUTO  # how a photo of more than 8 bits becomes one of 8 (`crowd.data.images`)
    # Of the RGB channels in [0, 1]; ImageNet's, which the encoders were trained with.
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)

    def __post_init__(self):
        """Raise `ValueError` or `TypeError` for values, read from a file, that cannot be."""
        if not 1 <= self.min_size <= min(self.max_size, JPEG_LIMIT):
            raise ValueError(f"sizes {self.min_size} to {self.max_size}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation {self.interpolation}")
        depth_option(self.depth)
        if not len(self.mean) == len(self.std) == 3 or not min(self.std) > 0:
            raise ValueError(f"mean {self.mean} and std {self.std}")

    def require_drawable(self, width: int, height: int, name: object) -> None:
        """Raise `InputError` for a photo so narrow that no JPEG would hold it at that size."""
        if max(self._size(width, height)) > JPEG_LIMIT:
            raise InputError(f"{name}: {width} x {height} is too narrow a strip: crop it")

    def resize(self, image: np.ndarray) -> np.ndarray:
        """Bring a photo, uint8 [H, W, 3], to the size at which the network sees it.

        GST's released code means bicubic and runs bilinear (its flag lands in another argument of
        OpenCV's resize), FIDT's resizes UCF-QNRF bilinearly and JHU-Crowd++ bicubically: that is
        what the published figures rest on.
        """
        height, width = image.shape[:2]
        size = self._size(width, height)
        if size == (width, height):
            return image
        with extra("commands", "resizing photos"):
            import cv2
        flags = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}
        return cv2.resize(image, size, interpolation=flags[self.interpolation])

    def _size(self, width: int, height: int) -> tuple[int, int]:
        return target_size(width, height, self.min_size, self.max_size, self.bounded)


Kind = TypeVar("Kind", bound=Preprocessing)


def read_preprocessing(
    data_dir: str | os.PathLike, kind: type[Kind], names: dict[str, str], command: str
) -> Kind:
    """Return how `command` made a processed set: its `preprocess.yml`, or the defaults without one.

    `names` are keys of that file by fields of `kind`. Raises `InputError` when one is missing, the
    file or a value is damaged, or `command` did not end.
    """
    path = Path(data_dir) / SETTINGS
    if not path.is_file():
        return kind()
    try:
        # Sets of before it could be chosen hold no photos that needed it.
        values = {"depth": AUTO} | read_yaml(path, f"run {command} again")
        if values.get("unfinished"):
            raise InputError(f"{path} says that the set is unfinished: run {command} again")
        return kind(**{field: values[name] for field, name in names.items()})
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or of a set for another method: run {command} again"
        ) from error


def read_photo(path: str | os.PathLike, preprocessing: Preprocessing) -> np.ndarray:
    """Read a photo upright at the size the network is to see, uint8 [H, W, 3].

    A photo of a processed set has this size already and comes back as it is stored.
    Raises `InputError` as `crowd.data.images.read_image` does.
    """
    return preprocessing.resize(read_image(path, preprocessing.depth))


def photo_tensor(image: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """Turn a photo or crop, uint8 [H, W, 3], into the network's input, float32 [3, H, W]."""
    import torch  # commands read how photos are prepared without it

    values = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
    mean, std = 255 * torch.tensor([preprocessing.mean, preprocessing.std])[..., None, None]
    return values.sub_(mean).div_(std)
