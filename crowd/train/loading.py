"""Feeding a training: crops in an order that the seed decides, whole photos, photos kept in memory.

A resumed training must see what an uninterrupted one saw, so nothing here draws from a global
generator or depends on what was loaded before.
"""

import functools
import os
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from crowd.data.images import read_orientation
from crowd.data.network_input import Preprocessing, photo_tensor, read_photo
from crowd.data.processed import PREPROCESS, read_annotation, split_photos
from crowd.io.errors import InputError
from crowd.train.distributed import rank_and_world_size


def seed_epoch(seed: int, epoch: int) -> None:
    """Seed torch (dropout) from (seed, epoch), so that a resumed epoch repeats the lost one.

    Processes that train together drop differently.
    """
    rank, _ = rank_and_world_size()
    sequence = np.random.SeedSequence([seed, epoch, rank] if rank else [seed, epoch])
    torch.manual_seed(int(sequence.generate_state(1)[0]))


class EpochBatches(Sampler):
    """Batches of shuffled keys (epoch, index, counts); seed and epoch alone decide the order.

    Of processes that train together each takes every size-th crop of a batch. One that is left
    without, as happens in the last batch, takes another's crop, which does not count: all of them
    must run the model.
    """

    def __init__(self, length: int, batch_size: int, seed: int):
        self.length, self.batch_size, self.seed, self.epoch = length, batch_size, seed, 0

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int, bool]]]:
        rank, size = rank_and_world_size()
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.length).tolist()
        for first in range(0, self.length, self.batch_size):
            batch = order[first : first + self.batch_size]
            share = [(self.epoch, index, True) for index in batch[rank::size]]
            yield share or [(self.epoch, batch[0], False)]


class _Marked(Dataset):
    """Crops, each with whether it counts."""

    def __init__(self, crops: Dataset):
        self.crops = crops

    def __getitem__(self, key: tuple[int, int, bool]) -> tuple:
        epoch, index, counts = key
        return self.crops[epoch, index], counts


def _collate(collate: Callable, marked: list[tuple]):
    """Join crops to a batch, which has no names where it does not count."""
    crops, counts = zip(*marked, strict=True)
    batch = collate(list(crops))
    return batch if all(counts) else batch._replace(names=[])


class Cache:
    """Arrays that were read once, kept while they fit into `gib` GiB (of each worker process)."""

    def __init__(self, gib: float):
        self._kept: dict[Hashable, tuple[np.ndarray, ...]] = {}
        self._free = gib * 2**30

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Hashable, read: Callable[[], tuple]) -> tuple[np.ndarray, ...]:
        """Return what `read` returned for `key`, now or before; not to be changed in place."""
        if key in self._kept:
            return self._kept[key]
        arrays = read()
        size = sum(array.nbytes for array in arrays)
        if size <= self._free:
            self._kept[key] = arrays
            self._free -= size
        return arrays


def require_upright(path: Path) -> None:
    """Raise `InputError` for a photo whose EXIF turns it: its annotation is of it as stored."""
    if read_orientation(path) != 1:
        raise InputError(
            f"{path} is turned by its EXIF orientation, and its annotation is not: {PREPROCESS}"
        )


class CountedPhotos(Dataset):
    """Whole photos of a split with their counts: (input [3, H, W], count, name).

    `points` holds the annotations, float32 [N, 2 or more], x and y first, in pixels of each photo
    as it is stored, which may not be turned by its EXIF.
    """

    def __init__(self, data_dir: str | os.PathLike, split: str, preprocessing: Preprocessing):
        self.paths = split_photos(data_dir, split)
        for path in self.paths:
            require_upright(path)
        self.preprocessing = preprocessing
        self.points = [read_annotation(path) for path in self.paths]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int, str]:
        path = self.paths[index]
        image = read_photo(path, self.preprocessing)
        return photo_tensor(image, self.preprocessing), len(self.points[index]), path.name


def crop_loader(
    crops: Dataset, seed: int, batch_size: int, workers: int, pin_memory: bool, collate: Callable
) -> DataLoader:
    """Return the loader of training batches; set `loader.batch_sampler.epoch` before each epoch.

    Args:
        crops: asked for keys (epoch, index).
        seed: of the order.
        batch_size: crops in a batch of all processes together; the last one of an epoch may have
            fewer.
        workers: processes that read; 0: this one.
        pin_memory: as a GPU likes it.
        collate: joins crops to a batch, a named tuple with `names`.

    Raises:
        InputError: there are more processes than crops in a batch.
    """
    _, size = rank_and_world_size()
    if batch_size < size:
        raise InputError(
            f"a batch of {batch_size} leaves some of {size} processes without a crop: enlarge it, "
            "or start fewer"
        )
    return DataLoader(
        _Marked(crops),
        batch_sampler=EpochBatches(len(crops), batch_size, seed),
        collate_fn=functools.partial(_collate, collate),
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pin_memory,
        # A generator of its own: the loader draws a number each epoch, dropout must not notice.
        generator=torch.Generator(),
    )


def photo_loader(photos: CountedPhotos, workers: int) -> DataLoader:
    """Return a loader of one whole photo at a time: of several processes' every size-th."""
    share, generator = _Share(photos), torch.Generator()
    return DataLoader(
        photos, batch_size=None, sampler=share, num_workers=workers, generator=generator
    )


class _Share(Sampler):
    """Every size-th index, from this process's rank on: known once the processes have joined."""

    def __init__(self, photos: CountedPhotos):
        self.photos = photos

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[int]:
        rank, size = rank_and_world_size()
        return iter(range(rank, len(self.photos), size))
