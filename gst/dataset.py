"""A processed set on disk as training crops with their Gaussians, and as photos with counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from crowd.errors import InputError
from crowd.progress import progress
from GS2D.store import gaussians_path
from gst.augment import Sample, augment
from gst.photos import Preprocessing, photo_tensor, read_photo
from gst.processed import FIT, read_annotation, read_heads, require_beside, split_photos


class Heads(NamedTuple):
    """The Gaussians of one crop: points [n, 2], scales [n, 2], rotations [n], targets t [n]."""

    points: torch.Tensor
    scales: torch.Tensor
    rotations: torch.Tensor
    targets: torch.Tensor


class Batch(NamedTuple):
    """Crops [B, 3, S, S] with the heads and the photo's name of each."""

    images: torch.Tensor
    heads: list[Heads]
    names: list[str]


class CrowdCrops(Dataset):
    """Random crops of the training photos; crop (epoch, index) depends on nothing but the seed.

    All annotations and Gaussians are read and checked when the set is opened; photos are decoded
    once and kept as uint8 while they fit into `cache_gib`.

    Args:
        data_dir: processed set; `train/NAME.jpg`, `NAME.npy` and `gs_params/NAME_gs_params.h5`.
        crop_size: side of a crop, pixels, a multiple of 16 (the encoder's stride).
        seed: of the augmentation.
        preprocessing: constants of `gst.photos`; the set must have been processed with the same.
        cache_gib: memory for decoded photos, GiB (of each worker process).

    Raises:
        InputError: a folder or file is missing, or photo, annotation and Gaussians do not belong
            together.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        crop_size: int,
        seed: int,
        preprocessing: Preprocessing,
        cache_gib: float = 2.0,
    ):
        if crop_size < 16 or crop_size % 16:
            raise InputError(f"crop_size {crop_size} is no multiple of 16: choose one")
        self.paths = split_photos(data_dir, "train")
        require_beside(self.paths, gaussians_path, "Gaussians", FIT)
        self.crop_size, self.seed, self.preprocessing = crop_size, seed, preprocessing
        listed = progress(self.paths, "reading Gaussians", unit="photo")
        self.heads = [read_heads(path, preprocessing) for path in listed]
        self._cache: dict[int, np.ndarray] = {}
        self._cache_free = int(cache_gib * 2**30)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, Heads, str]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        crop, targets = augment(Sample(self._photo(index), *self.heads[index]), self.crop_size, rng)
        arrays = (crop.points, crop.scales, crop.rotations, targets)
        heads = Heads(*(torch.from_numpy(array) for array in arrays))
        return photo_tensor(crop.image, self.preprocessing), heads, self.paths[index].name

    def counts(self) -> np.ndarray:
        """Return the number of heads of every photo, int [len(self)]."""
        return np.array([len(points) for points, *_ in self.heads])

    def _photo(self, index: int) -> np.ndarray:
        if index in self._cache:
            return self._cache[index]
        image = read_photo(self.paths[index], self.preprocessing)
        if image.nbytes <= self._cache_free:
            self._cache[index] = image
            self._cache_free -= image.nbytes
        return image


class CountedPhotos(Dataset):
    """Whole photos of `val` or `test` with their counts: (input [3, H, W], count, name)."""

    def __init__(self, data_dir: str | os.PathLike, split: str, preprocessing: Preprocessing):
        self.paths = split_photos(data_dir, split)
        self.preprocessing = preprocessing
        self.counts = [len(read_annotation(path)) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, str]:
        if index >= len(self):
            raise IndexError(index)
        path = self.paths[index]
        image = read_photo(path, self.preprocessing)
        return photo_tensor(image, self.preprocessing), self.counts[index], path.name


class EpochSampler(Sampler):
    """Shuffled keys (epoch, index); the order depends on seed and epoch only."""

    def __init__(self, length: int, seed: int):
        self.length, self.seed, self.epoch = length, seed, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return iter([(self.epoch, int(index)) for index in order])


def collate(items: list[tuple[torch.Tensor, Heads, str]]) -> Batch:
    """Join crops to a batch."""
    images, heads, names = zip(*items, strict=True)
    return Batch(torch.stack(images), list(heads), list(names))


def crop_batches(crops: CrowdCrops, batch_size: int, workers: int, pin_memory: bool) -> DataLoader:
    """Return the loader of training batches; set `loader.sampler.epoch` before each epoch."""
    return DataLoader(
        crops,
        batch_size=batch_size,
        sampler=EpochSampler(len(crops), crops.seed),
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        # A generator of its own: the loader draws a number each epoch, dropout must not notice.
        generator=torch.Generator(),
    )


def photo_loader(photos: CountedPhotos, workers: int) -> DataLoader:
    """Return a loader of one whole photo at a time, for `gst.evaluation.evaluate`."""
    return DataLoader(photos, batch_size=None, num_workers=workers, generator=torch.Generator())
