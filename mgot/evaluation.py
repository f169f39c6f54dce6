"""A trained counter, and the heads it finds in whole photos: FIDT map, peaks, counts, places.

AdaBN and one factor for all counts are cheap controls of an adaptation: no label of the target.
"""

import functools
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.count import counter
from crowd.count.counter import Counter, Method
from crowd.count.evaluation import PhotoCount, for_each_photo
from crowd.count.photos import Annotate, Seen
from crowd.data.images import read_image
from crowd.data.network_input import photo_tensor, read_photo
from crowd.data.processed import list_split
from crowd.data.resize import scaled_size
from crowd.io.errors import InputError
from crowd.io.progress import progress
from crowd.metrics import localization, pool_localization
from crowd.pictures.overlays import heads_overlay
from crowd.train.distributed import all_gather
from crowd.train.loading import CountedPhotos, photo_loader
from mgot.fidt import Preprocessing, read_preprocessing
from mgot.maps import local_maxima, smoothed
from mgot.models import MODELS, build_model

MGOT = Method(build_model, MODELS, Preprocessing, "mgot.train_baseline")
# Of mgot.train_baseline or train_baseline_weight.py, or released weights.
load_counter = functools.partial(counter.load_counter, method=MGOT)
# Context around a tile, and what tiles begin on: the coarsest grid of all networks.
MARGIN = 128
GRID = 32


@torch.inference_mode()
def predict_map(model: nn.Module, image: Tensor, tile: int = 0, scale: float = 1.0) -> Tensor:
    """Predict the FIDT map of a photo, or of the photo scaled.

    Whole by default, as in the release. With `tile`, which bounds the memory, the photo is cut
    into overlapping tiles that begin on the network's coarsest grid, and of each only what lies
    `MARGIN` or more from its cut edges is kept. Networks see a little farther, so that counts
    change by a few in a thousand; those of `hrnet_small` change more, for its GroupNorm takes
    statistics over each tile by itself.

    Args:
        model: in evaluation mode, [1, 3, h, w] -> [1, 1, h, w].
        image: normalised photo [3, H, W] on any device.
        tile: largest side of a tile, pixels, a multiple of 32 above 256; 0 for the whole photo.
        scale: factor by which the model sees the photo scaled (bilinear).

    Returns the map on the CPU, float32 [H, W], of a scaled photo as large as that; `in_photo` takes
    its peaks back. Raises `InputError` where `tile` is no such number.
    """
    device = next(model.parameters()).device
    image = _scaled(image, scale)
    height, width = image.shape[1:]
    fidt_map = torch.empty(height, width)
    for (rows, *down), (columns, *across) in itertools.product(
        tile_windows(height, tile), tile_windows(width, tile)
    ):
        window = image[None, :, rows, columns].to(device)
        if device.type == "cuda":
            window = window.contiguous(memory_format=torch.channels_last)
        predicted = model(window)[0, 0].float().cpu()
        fidt_map[down[0], across[0]] = predicted[down[1], across[1]]
    return fidt_map


def _scaled(image: Tensor, scale: float) -> Tensor:
    """Scale a photo [3, H, W] by a factor, bilinear."""
    if scale == 1:
        return image
    size = scaled_size(*image.shape[1:], scale)
    return functional.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


def check_tile(tile: int) -> None:
    """Raise `InputError` unless `tile` is a side that `predict_map` can cut tiles of, or 0."""
    if tile and (tile % GRID or tile <= 2 * MARGIN):
        raise InputError(
            f"--tile {tile} is no tile: name a multiple of {GRID} above {2 * MARGIN}, or 0 for "
            "whole photos"
        )


def tile_windows(side: int, tile: int) -> list[tuple[slice, slice, slice]]:
    """Cut a side into (window, core, core in the window); the cores cover it once."""
    check_tile(tile)
    if not tile or side <= tile:
        return [(slice(0, side),) * 3]
    windows, core = [], tile - 2 * MARGIN
    for start in range(0, side, core):
        stop, first = min(start + core, side), max(start - MARGIN, 0)
        window = slice(first, min(start + core + MARGIN, side))
        windows.append((window, slice(start, stop), slice(start - first, stop - first)))
    return windows


def peak_centers(fidt_map: Tensor, name: str, smooth: bool = False) -> np.ndarray:
    """Return the centres (x, y) of the peaks of a predicted map [H, W], float32 [M, 2], pixels.

    Raises `InputError` naming the photo when the map is not finite.
    """
    if not fidt_map.isfinite().all():
        raise InputError(
            f"the map predicted for {name} is not finite: use a checkpoint that has not diverged"
        )
    return local_maxima(fidt_map, smooth).astype(np.float32) + 0.5


def in_photo(heads: np.ndarray, fidt_map: Tensor, width: int, height: int) -> np.ndarray:
    """Take places (x, y) in a map [h, w] to a photo of that size, of which it is, scaled."""
    return (heads * np.divide((width, height), fidt_map.shape[::-1])).astype(np.float32)


def annotator(counter: Counter, tile: int = 0, scale: float = 1.0) -> Annotate:
    """Return what finds the heads of a photo and marks them in it; raises as `peak_centers`."""
    smooth = counter.preprocessing.smooth

    def look(image: np.ndarray, name: str) -> Seen:
        height, width = image.shape[:2]
        tensor = photo_tensor(image, counter.preprocessing)
        fidt_map = predict_map(counter.model, tensor, tile, scale)
        peaks = peak_centers(fidt_map, name, smooth)
        if smooth:  # what the peaks are of; the map itself may be below 0 there
            fidt_map = smoothed(fidt_map[None])[0]
        columns, rows = peaks.astype(int).T
        confidence = fidt_map.numpy()[rows, columns].clip(0, 1)
        heads = in_photo(peaks, fidt_map, width, height)
        return Seen(len(heads), heads_overlay(image, heads), heads, confidence)

    return look


class CountedSet:
    """The photos of a split of a set that mgot.fidt wrote, as they are stored, to be counted whole.

    `workers` processes read them; `tile` and `scale` are as for `predict_map`. Raises `InputError`
    where the split is missing, empty or damaged, or `tile` is no such number.
    """

    def __init__(
        self,
        data_dir: str | os.PathLike,
        split: str,
        workers: int = 0,
        tile: int = 0,
        scale: float = 1.0,
    ):
        check_tile(tile)  # not after the first epoch, which would be lost
        self.photos = CountedPhotos(data_dir, split, Preprocessing())
        self.smooth = read_preprocessing(data_dir).smooth
        self.split, self.tile, self.scale = split, tile, scale
        self._loader = photo_loader(self.photos, workers)

    def find(self, model: nn.Module) -> list[np.ndarray]:
        """Find the heads of every photo; the model is put into evaluation mode and back.

        Returns the centres (x, y) of the peaks of each photo, float32 [M, 2], pixels. Raises
        `InputError` naming the photo whose predicted map is not finite.
        """

        def find(image: Tensor, _: int, name: str) -> np.ndarray:
            height, width = image.shape[1:]
            fidt_map = predict_map(model, image, self.tile, self.scale)
            return in_photo(peak_centers(fidt_map, name, self.smooth), fidt_map, width, height)

        return all_gather(for_each_photo(model, self._loader, find, self.split))

    def counts(self, found: Sequence[np.ndarray]) -> list[PhotoCount]:
        """Pair the heads found in each photo with its annotation."""
        rows = zip(self.photos.paths, self.photos.points, found, strict=True)
        return [PhotoCount(path.name, len(points), len(heads)) for path, points, heads in rows]

    def localization(self, found: Sequence[np.ndarray], radius: float) -> dict[str, float]:
        """Precision, recall and F1 over all photos, heads matched within `radius` pixels."""
        rows = zip(found, self.photos.points, strict=True)
        return pool_localization(
            localization(heads, actual[:, :2], radius) for heads, actual in rows
        )

    def draw(self, found: Sequence[np.ndarray], folder: Path, limit: int = 4) -> None:
        """Draw the heads found over the first `limit` photos, `folder/NAME_peaks.jpg`, alone."""
        from mgot.pictures import draw_peaks

        for path in folder.glob("*_peaks.jpg"):
            path.unlink()
        rows = zip(self.photos.paths, found, self.photos.points, strict=True)
        for path, heads, points in itertools.islice(rows, limit):
            draw_peaks(folder / f"{path.stem}_peaks.jpg", read_image(path), heads, points[:, :2])


def reset_batch_norm(model: nn.Module, data_dir: str | os.PathLike, scale: float = 1.0) -> None:
    """Take the statistics of every batch normalisation from a set's training photos (AdaBN).

    Each photo counts alike: the statistics are the mean over photos of each one's mean and
    variance. `train/` needs no annotations; `scale` is as for `predict_map`. Leaves the model in
    evaluation mode; raises `InputError` where it has no batch normalisation, the set is unfinished,
    or a photo is missing, damaged or so small that a map is a single pixel.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        raise InputError("this network has no batch normalisation: leave --batch_norm_from out")
    read_preprocessing(data_dir)  # which an unfinished set does not have
    paths, how = list_split(data_dir, "train"), Preprocessing()
    device = next(model.parameters()).device
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over what it sees
        norm.train()
    with torch.inference_mode():
        for path in progress(paths, "statistics of train", "photo"):
            image = _scaled(photo_tensor(read_photo(path, how), how), scale)
            try:
                model(image[None].to(device))
            except ValueError as error:  # torch's, of a map of a single pixel
                raise InputError(
                    f"{path} is too small for statistics ({image.shape[2]} × {image.shape[1]} as "
                    "the network sees it): make the set again with a larger --min-size, or take "
                    "the photo out"
                ) from error
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def count_factor(model: nn.Module, data_dir: str | os.PathLike, tile: int = 0) -> float:
    """Annotated heads per head found on the source's `val`, where points are known.

    The photos are not scaled: the counter was trained on heads of their size. `tile` is as for
    `predict_map`. Raises `InputError` where nothing is found.
    """
    photos = CountedSet(data_dir, "val", tile=tile)
    counts = photos.counts(photos.find(model))
    found = sum(one.predicted for one in counts)
    if not found:
        raise InputError(f"no head is found on val of {data_dir}: there is no factor")
    return sum(one.actual for one in counts) / found
