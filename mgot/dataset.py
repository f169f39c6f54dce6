"""Training crops with their FIDT maps, of photos or of weighted patches: random crop, flip."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from crowd.data.images import read_image, read_size
from crowd.data.network_input import photo_tensor
from crowd.data.processed import read_annotation, require_beside
from crowd.data.resize import place_window, scaled_size, scaled_window
from crowd.io.errors import InputError
from crowd.io.progress import progress
from crowd.train.loading import Cache, crop_loader, require_upright
from mgot.fidt import Preprocessing
from mgot.maps import REACH, fidt_map, head_pixels
from mgot.patches import FIDT, read_labels

FLIP_PROBABILITY = 0.5
UNSCALED = (1.0, 1.0)


class Batch(NamedTuple):
    """Crops, normalised [B, 3, S, S], with their FIDT maps [B, 1, S, S], the centres (x, y) of
    their head pixels [n, 2] each, weights [B], and the names of their photos.
    """

    images: torch.Tensor
    maps: torch.Tensor
    heads: list[torch.Tensor]
    weights: torch.Tensor
    names: list[str]


class FidtCrops(Dataset):
    """Random crops of photos or patches; crop (epoch, index) depends on nothing but the seed.

    The heads of all are read and checked when the set is opened; photos and maps stay in memory
    while they fit into `cache_gib`. What a crop reaches beyond a smaller photo is mean colour,
    far from any head.

    Args:
        paths: photos, each with `NAME.h5` beside it; one may be listed several times.
        crop_size: side of a crop, pixels.
        seed: of the augmentation.
        preprocessing: mean and std of the input.
        weights: of selected patches, one a path, in the loss; None for whole photos.
        cache_gib: memory for photos and maps, GiB (of each worker process).
        scale_range: smallest and largest factor by which photos are scaled; a scaled photo's map
            is made anew from `NAME.npy`, so that its peaks stay 1 and a pixel wide.

    Raises:
        InputError: there are no photos, one is turned by its EXIF, or a map is missing, damaged or
            of another size.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        crop_size: int,
        seed: int,
        preprocessing: Preprocessing,
        weights: np.ndarray | None = None,
        cache_gib: float = 2.0,
        scale_range: tuple[float, float] = UNSCALED,
    ):
        if not len(paths):
            raise InputError("there is no photo to train on: select or label some first")
        self.paths = list(paths)
        require_beside(self.paths, labels_path, "FIDT map", FIDT)
        self.of_patches = weights is not None
        weights = np.ones(len(paths)) if weights is None else weights
        self.weights = np.asarray(weights, np.float32)
        self.crop_size, self.seed, self.preprocessing = crop_size, seed, preprocessing
        heads = {}
        for path in progress(dict.fromkeys(self.paths), "reading heads", unit="photo"):
            require_upright(path)
            marks = read_labels(path, read_size(path)[::-1], ("kpoint",))["kpoint"]
            heads[path] = int(np.count_nonzero(marks))
        self.counts = np.array([heads[path] for path in self.paths])
        self.scale_range = scale_range
        self._cache = Cache(cache_gib)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        path = self.paths[index]
        if self.scale_range == UNSCALED:
            sample = self._cache.get(path, lambda: read_sample(path))
            pixels, values, kpoint = augment(sample, self.crop_size, rng)
        else:
            photo = self._cache.get(path, lambda: read_annotated(path))
            pixels, values, kpoint = augment_scaled(*photo, self.crop_size, rng, self.scale_range)
        height, width = kpoint.shape
        margin = (0, self.crop_size - width, 0, self.crop_size - height)
        image = functional.pad(photo_tensor(pixels, self.preprocessing), margin)
        target = functional.pad(torch.from_numpy(values.copy())[None], margin)
        # Centres (x, y) of the marked pixels, in reading order.
        heads = torch.from_numpy(np.argwhere(kpoint)[:, ::-1].astype(np.float32) + 0.5)
        return image, target, heads, float(self.weights[index]), path.name


def read_sample(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read a photo uint8 [H, W, 3], its FIDT map float32 [H, W] and its head pixels uint8 [H, W].

    Raises `InputError` when a file is missing or damaged, sizes differ, or the map is not finite.
    """
    image = read_image(path)
    labels = read_labels(path, image.shape[:2])
    if not np.isfinite(labels["fidt_map"]).all():
        raise InputError(
            f"{labels_path(path)} holds values that are not finite: make it again with a model "
            "that has not diverged"
        )
    return image, labels["fidt_map"].astype(np.float32, copy=False), labels["kpoint"]


def read_annotated(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a photo uint8 [H, W, 3] and its heads float32 [N, 2].

    Raises `InputError` as `read_sample` and `crowd.data.processed.read_annotation` do, and when the
    photo's map is not that of the heads, as one that a model predicted.
    """
    image, stored, _ = read_sample(path)
    height, width = image.shape[:2]
    heads = read_annotation(path, 2, (width, height))
    if not np.allclose(stored, fidt_map(heads, height, width), atol=1e-3):
        raise InputError(
            f"{labels_path(path)} holds another map than that of the heads in {path.stem}.npy, "
            "which alone can be scaled: leave --scale-range out"
        )
    return image, heads


def labels_path(path: Path) -> Path:
    """Where the FIDT map and head pixels of a photo are stored."""
    return path.with_suffix(".h5")


def collate(items: list[tuple]) -> Batch:
    """Join crops to a batch."""
    images, maps, heads, weights, names = map(list, zip(*items, strict=True))
    return Batch(torch.stack(images), torch.stack(maps), heads, torch.tensor(weights), names)


def crop_batches(crops: FidtCrops, batch_size: int, workers: int, pin_memory: bool) -> DataLoader:
    """The loader of training batches (`crowd.train.loading.crop_loader`)."""
    return crop_loader(crops, crops.seed, batch_size, workers, pin_memory, collate)


def augment_scaled(
    image: np.ndarray,
    heads: np.ndarray,
    crop_size: int,
    rng: np.random.Generator,
    scale_range: tuple[float, float],
) -> list[np.ndarray]:
    """Draw one training crop as `augment` does, of the photo scaled by `scale_range`.

    Takes the photo, uint8 [H, W, 3], and its heads [N, 2], x and y in pixels; returns pixels uint8
    [h, w, 3], FIDT map float32 and head pixels uint8 [h, w], as mgot.fidt would make them of the
    scaled photo. A photo whose short side would not reach the crop is not scaled.
    """
    position_x, position_y, mirror = rng.random(3)
    height, width = image.shape[:2]
    factor = rng.uniform(*scale_range)
    place = place_window(width, height, crop_size, factor, (position_x, position_y))
    factor, left, top = place
    pixels = scaled_window(image, *place, crop_size)
    scaled = np.array(scaled_size(width, height, factor))
    # Centres of the heads' pixels in the scaled photo, the last one's for a head on its far edge.
    points = np.floor(heads * (scaled / (width, height))).clip(0, scaled - 1) + 0.5
    rows, columns = pixels.shape[:2]
    kpoint = head_pixels(points - (left, top), rows, columns)
    # The map has no peak in the first row and column of a photo (`fidt_map`).
    points = points.clip(1.5) - (left - REACH, top - REACH)
    values = fidt_map(points, rows + 2 * REACH, columns + 2 * REACH)
    crop = [pixels, values[REACH:-REACH, REACH:-REACH], kpoint]
    return [array[:, ::-1] for array in crop] if mirror < FLIP_PROBABILITY else crop


def augment(
    arrays: Sequence[np.ndarray], crop_size: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Draw one training crop: a random window, flipped with probability 0.5 (released code).

    Takes a photo and its labels, `[H, W, …]` in the same pixels; a photo smaller than the window of
    `crop_size` pixels comes back whole.
    """
    position_x, position_y, mirror = rng.random(3)
    height, width = arrays[0].shape[:2]
    _, left, top = place_window(width, height, crop_size, 1.0, (position_x, position_y))
    crop = [array[top : top + crop_size, left : left + crop_size] for array in arrays]
    return [array[:, ::-1] for array in crop] if mirror < FLIP_PROBABILITY else crop
