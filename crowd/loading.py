"""Feeding a training: crops in an order that the seed decides, whole photos, photos kept in memory.

A resumed training must see what an uninterrupted one saw, so nothing here draws from a global
generator or depends on what was loaded before.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from crowd.photos import Preprocessing, photo_tensor, read_photo
from crowd.processed import read_annotation, split_photos


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed torch (dropout) from (seed, epoch), so that a resumed epoch repeats the lost one."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))


class EpochSampler(Sampler):
    """Shuffled keys (epoch, index); the order depends on seed and epoch only."""

    def __init__(self, length: int, seed: int):
        self.length, self.seed, self.epoch = length, seed, 0

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length)
        return iter([(self.epoch, int(index)) for index in order])


class Cache:
    """Arrays that were read once, kept while they fit into `gib` GiB (of each worker process)."""

    def __init__(self, gib: float):
        self._kept: dict[Hashable, tuple[np.ndarray, ...]] = {}
        self._free = gib * 2**30

    def __len__(self) -> int:
        return len(self._kept)

    def get(
        self, key: Hashable, read: Callable[[], tuple[np.ndarray, ...]]
    ) -> tuple[np.ndarray, ...]:
        """Return what `read` returned for `key`, now or before; not to be changed in place."""
        if key in self._kept:
            return self._kept[key]
        arrays = read()
        size = sum(array.nbytes for array in arrays)
        if size <= self._free:
            self._kept[key] = arrays
            self._free -= size
        return arrays


class CountedPhotos(Dataset):
    """Whole photos of a split with their counts: (input [3, H, W], count, name).

    `points` holds the annotations, float32 [N, 2 or more], x and y first, in pixels of each photo
    as it is stored.
    """

    def __init__(self, data_dir: str | os.PathLike, split: str, preprocessing: Preprocessing):
        self.paths = split_photos(data_dir, split)
        self.preprocessing = preprocessing
        self.points = [read_annotation(path) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, str]:
        if index >= len(self):
            raise IndexError(index)
        path = self.paths[index]
        image = read_photo(path, self.preprocessing)
        return photo_tensor(image, self.preprocessing), len(self.points[index]), path.name


def crop_loader(
    crops: Dataset, seed: int, batch_size: int, workers: int, pin_memory: bool, collate: Callable
) -> DataLoader:
    """Return the loader of training batches; set `loader.sampler.epoch` before each epoch.

    Args:
        crops: asked for keys (epoch, index).
        seed: of the order.
        batch_size: crops in a batch; the last one of an epoch may have fewer.
        workers: processes that read; 0: this one.
        pin_memory: as a GPU likes it.
        collate: joins crops to a batch.
    """
    return DataLoader(
        crops,
        batch_size=batch_size,
        sampler=EpochSampler(len(crops), seed),
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        # A generator of its own: the loader draws a number each epoch, dropout must not notice.
        generator=torch.Generator(),
    )


def photo_loader(photos: CountedPhotos, workers: int) -> DataLoader:
    """Return a loader of one whole photo at a time."""
    return DataLoader(photos, batch_size=None, num_workers=workers, generator=torch.Generator())
