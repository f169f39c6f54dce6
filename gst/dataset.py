"""GST's training crops: a processed set on disk, cut into crops with their Gaussians."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from crowd.data.images import read_size
from crowd.data.network_input import photo_tensor, read_photo
from crowd.data.processed import PREPROCESS, read_annotation, require_beside, split_photos
from crowd.data.resize import target_size
from crowd.io.errors import InputError
from crowd.io.progress import progress
from crowd.train.loading import Cache, crop_loader
from crowd.train.state import TrainingPhotos, fingerprint
from GS2D.store import gaussians_path, read_gaussians, stand_at
from gst.augment import SCALE_RANGE, Sample, augment, box_sides
from gst.heads import Heads, round_scales
from gst.photos import Preprocessing

FIT = "run 2dgs_counting_1gs_gsplat.py again"


class Batch(NamedTuple):
    """Crops [B, 3, S, S] with the heads and the photo's name of each."""

    images: torch.Tensor
    heads: list[Heads] | Heads
    names: list[str]


class CrowdCrops(Dataset):
    """Random crops of the training photos; crop (epoch, index) depends on nothing but the seed.

    All annotations and Gaussians are read and checked when the set is opened; photos are decoded
    once and kept as uint8 while they fit into `cache_gib`.

    Args:
        data_dirs: processed sets; `train/NAME.jpg`, `NAME.npy` and `gs_params/NAME_gs_params.h5`.
        crop_size: side of a crop, pixels, a multiple of 16 (the encoder's stride).
        seed: of the augmentation.
        preprocessing: constants of `gst.photos`; the sets must have been processed with the same.
        cache_gib: memory for decoded photos, GiB (of each worker process).
        fitted: whether the loss needs the fitted Gaussians.
        scale_range: of the augmentation.

    Raises:
        InputError: a folder or file is missing, or photo, annotation and Gaussians do not belong
            together.
    """

    def __init__(
        self,
        data_dirs: Sequence[str | os.PathLike],
        crop_size: int,
        seed: int,
        preprocessing: Preprocessing,
        cache_gib: float = 2.0,
        fitted: bool = True,
        scale_range: tuple[float, float] = SCALE_RANGE,
    ):
        if crop_size < 16 or crop_size % 16:
            raise InputError(f"crop_size {crop_size} is no multiple of 16: choose one")
        self.paths = []
        for one in data_dirs:
            paths = split_photos(one, "train")
            if fitted:
                require_beside(paths, gaussians_path, "Gaussians", FIT)
            self.paths += paths
        self.crop_size, self.seed, self.preprocessing = crop_size, seed, preprocessing
        self.scale_range = scale_range
        listed = progress(self.paths, "reading heads", unit="photo")
        self.heads = [read_heads(path, preprocessing, fitted) for path in listed]
        self._cache = Cache(cache_gib)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, Heads, str]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        path = self.paths[index]
        (image,) = self._cache.get(index, lambda: (read_photo(path, self.preprocessing),))
        sample = Sample(image, *self.heads[index])
        crop, targets = augment(sample, self.crop_size, rng, self.scale_range)
        arrays = (crop.points, crop.scales, crop.rotations, targets)
        heads = Heads(*(torch.from_numpy(array) for array in arrays))
        return photo_tensor(crop.image, self.preprocessing), heads, path.name

    def described(self) -> TrainingPhotos:
        """Return what a training that sees these photos, annotations and Gaussians is known by."""
        median = float(np.median([len(points) for points, *_ in self.heads]))
        labels = (array for one in self.heads for array in one)
        return TrainingPhotos(len(self), median, fingerprint(self.paths, labels))


def read_heads(
    path: Path, preprocessing: Preprocessing, fitted: bool = True
) -> tuple[np.ndarray, ...]:
    """Read points [N, 2], scales [N, 2], rotations [N] and box sides [N] of a training photo.

    A Gaussian whose scales were not fitted (NaN) becomes round with a sixth of its head's extent
    (released code); without `fitted` all are, and no file of Gaussians is read.
    Raises `InputError` naming the file that does not fit.
    """
    size = read_size(path)
    if target_size(*size, preprocessing.min_size, preprocessing.max_size) != size:
        raise InputError(
            f"{path} is {size[0]} × {size[1]} although short sides must lie in "
            f"[{preprocessing.min_size}, {preprocessing.max_size}]: {PREPROCESS}"
        )
    annotation = read_annotation(path, columns=3)
    points, extents = annotation[:, :2], annotation[:, 2]
    scales, rotations = round_scales(extents), np.zeros_like(extents)
    if fitted:
        params = read_gaussians(gaussians_path(path))
        if not stand_at(params, points):
            raise InputError(
                f"{gaussians_path(path)} holds {len(params)} Gaussians that are not at the "
                f"{len(points)} heads of {path.name}: {FIT}"
            )
        whole = np.isfinite(params[:, 2:4]).all(axis=1, keepdims=True)
        scales, rotations = np.where(whole, params[:, 2:4], scales), params[:, 4]
    return points, scales, rotations, box_sides(extents)


def collate(items: list[tuple[torch.Tensor, Heads, str]]) -> Batch:
    """Join crops to a batch."""
    images, heads, names = zip(*items, strict=True)
    return Batch(torch.stack(images), list(heads), list(names))


def crop_batches(crops: CrowdCrops, batch_size: int, workers: int, pin_memory: bool) -> DataLoader:
    """Return the loader of training batches (`crowd.train.loading.crop_loader`)."""
    return crop_loader(crops, crops.seed, batch_size, workers, pin_memory, collate)
