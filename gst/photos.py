"""From a photo to the network's input: the one way used in training, testing and `--image`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

from crowd.errors import InputError
from crowd.images import read_image
from gst.preprocess import resize_photo


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """What happens to a photo before the network sees it; travels with the weights.

    Attributes:
        min_size, max_size: the short side is clamped to this range, pixels (aspect kept).
        interpolation: of that resizing, `bilinear` or `bicubic`.
        tile: photos with a side of more than this are evaluated in tiles, pixels.
        mean, std: of the RGB channels in [0, 1]; ImageNet's, which the encoder was trained with.
    """

    min_size: int = 512
    max_size: int = 2048
    interpolation: str = "bilinear"
    tile: int = 512
    mean: Sequence[float] = (0.485, 0.456, 0.406)
    std: Sequence[float] = (0.229, 0.224, 0.225)


def read_preprocessing(data_dir: str | os.PathLike) -> Preprocessing:
    """Return how a processed set was made: `preprocess.yml` in it, or the defaults without one.

    Raises `InputError` when the file or its values are damaged.
    """
    path = Path(data_dir) / "preprocess.yml"
    if not path.is_file():
        return Preprocessing()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        known = {name: values[name] for name in ("min_size", "max_size", "interpolation")}
        if not 1 <= known["min_size"] <= known["max_size"]:
            raise ValueError
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: run preprocess_dataset_ucf.py again") from error
    return Preprocessing(**known)


def read_photo(path: str | os.PathLike, preprocessing: Preprocessing) -> np.ndarray:
    """Read a photo upright at the size the network was trained on, uint8 [H, W, 3].

    A photo of a processed set has this size already and comes back as it is stored.
    Raises `InputError` as `crowd.images.read_image` does.
    """
    return resize_photo(
        read_image(path),
        preprocessing.min_size,
        preprocessing.max_size,
        preprocessing.interpolation,
    )


def photo_tensor(image: np.ndarray, preprocessing: Preprocessing) -> torch.Tensor:
    """Turn a photo or crop, uint8 [H, W, 3], into the network's input, float32 [3, H, W]."""
    values = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float()
    mean, std = (
        255 * torch.tensor(values)[:, None, None]
        for values in (preprocessing.mean, preprocessing.std)
    )
    return values.sub_(mean).div_(std)
