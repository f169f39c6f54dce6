"""GST's training crops: a processed set on disk, augmented (grey, scale, crop, flip).

Randomness comes from a NumPy generator alone, so that a crop can be drawn again.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageEnhance
from torch.utils.data import DataLoader, Dataset

from crowd.data.images import read_size
from crowd.data.network_input import photo_tensor, read_photo
from crowd.data.processed import PREPROCESS, read_annotation, require_beside, split_photos
from crowd.data.resize import place_window, scaled_size, scaled_window, target_size
from crowd.data.stage import read_record, record_path
from crowd.io.errors import InputError
from crowd.io.files import content_hash
from crowd.io.progress import note, progress
from crowd.train.loading import Cache, crop_loader, require_upright
from crowd.train.state import TrainingPhotos, fingerprint
from GS2D.process_gaussians import RATIO_LIMIT
from GS2D.store import gaussians_path, read_gaussians, stand_at
from gst.heads import Heads, round_scales
from gst.options import SCALE_RANGE, SMALLEST_SHARE
from gst.photos import Preprocessing

FIT = "run 2dgs_counting_1gs_gsplat.py again"
GREY_PROBABILITY = 0.12
FLIP_PROBABILITY = 0.5
BOX_SIDES = (4.0, 128.0)
# ImageNet's mean colour: zero after its normalisation, what the padding inside VGG shows; `light`
# pads with grey 127.
PADDING_COLOR = (124, 116, 104)


class Batch(NamedTuple):
    """Crops [B, 3, S, S], with the heads of each, and its photo's name and short side, pixels."""

    images: torch.Tensor
    heads: list[Heads]
    names: list[str]
    short_sides: list[float]


class CrowdCrops(Dataset):
    """Random crops of the training photos; crop (epoch, index) depends on nothing but the seed.

    All annotations and Gaussians (`train/NAME.jpg`, `NAME.npy`, `gs_params/NAME_gs_params.h5`) are
    read and checked when the sets are opened; photos are decoded once and kept as uint8 while they
    fit into `cache_gib`, of each worker process.

    `data_dirs` are sets processed with `preprocessing`, `crop_size` is a multiple of 16 pixels (the
    encoder's stride), `fitted` says whether the loss needs the fitted Gaussians, `augmentation` are
    options of `augment`. Raises `InputError` when a file is missing, or photo, annotation and
    Gaussians do not belong together.
    """

    def __init__(
        self,
        data_dirs: Sequence[str | os.PathLike],
        crop_size: int,
        seed: int,
        preprocessing: Preprocessing,
        cache_gib: float = 2.0,
        fitted: bool = True,
        **augmentation,
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
        self.augmentation = augmentation
        listed = progress(self.paths, "reading heads", unit="photo")
        self.heads = [read_heads(path, preprocessing, fitted) for path in listed]
        if fitted:
            note_deformed(np.concatenate([scales for _, scales, *_ in self.heads]))
        self._cache = Cache(cache_gib)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, Heads, str, float]:
        epoch, index = key
        rng = np.random.default_rng([self.seed, epoch, index])
        path = self.paths[index]
        (image,) = self._cache.get(path, lambda: (read_photo(path, self.preprocessing),))
        sample = Sample(image, *self.heads[index])
        crop, targets, short_side = augment(sample, self.crop_size, rng, **self.augmentation)
        arrays = (crop.points, crop.scales, crop.rotations, targets)
        heads = Heads(*(torch.from_numpy(array) for array in arrays))
        return photo_tensor(crop.image, self.preprocessing), heads, path.name, short_side

    def described(self) -> TrainingPhotos:
        """Fingerprint of photos, annotations and Gaussians, checked by --resume."""
        median = float(np.median([len(points) for points, *_ in self.heads]))
        labels = (array for one in self.heads for array in one)
        return TrainingPhotos(len(self), median, fingerprint(self.paths, labels))


def note_deformed(scales: np.ndarray) -> None:
    """Note how many Gaussians, of standard deviations [N, 2], step 3 of GST would make round."""
    deformed = int((scales.max(axis=1) / scales.min(axis=1) > RATIO_LIMIT).sum())
    if deformed:
        note(
            f"{deformed} of {len(scales)} Gaussians have an axis ratio above {RATIO_LIMIT}: "
            "run GS2D/process_gaussians.py first, unless they are meant to"
        )


def read_heads(
    path: Path, preprocessing: Preprocessing, fitted: bool = True
) -> tuple[np.ndarray, ...]:
    """Read points [N, 2], scales [N, 2], rotations [N] and box sides [N] of a training photo.

    A Gaussian whose scales were not fitted (NaN) becomes round with a sixth of its head's extent
    (released code); without `fitted` all are, and no file of Gaussians is read.
    Raises `InputError` naming the file that does not fit, or was fitted to another photo.
    """
    require_upright(path)
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
        # None of the released files, which come without.
        known = read_record(record_path(gaussians_path(path)))
        if known and known["sources"].get(path.name) != content_hash(path):
            raise InputError(
                f"{gaussians_path(path)} was not fitted to {path.name} as it is now: {FIT}"
            )
        if not stand_at(params, points):
            raise InputError(
                f"{gaussians_path(path)} holds {len(params)} Gaussians that are not at the "
                f"{len(points)} heads of {path.name}: {FIT}"
            )
        whole = np.isfinite(params[:, 2:4]).all(axis=1, keepdims=True)
        scales, rotations = np.where(whole, params[:, 2:4], scales), params[:, 4]
    return points, scales, rotations, box_sides(extents)


def collate(items: list[tuple[torch.Tensor, Heads, str, float]]) -> Batch:
    """Join crops to a batch."""
    images, *lists = zip(*items, strict=True)
    return Batch(torch.stack(images), *map(list, lists))


def crop_batches(crops: CrowdCrops, batch_size: int, workers: int, pin_memory: bool) -> DataLoader:
    """Return the loader of training batches (`crowd.train.loading.crop_loader`)."""
    return crop_loader(crops, crops.seed, batch_size, workers, pin_memory, collate)


class Sample(NamedTuple):
    """A photo (or a crop of it) and one Gaussian per head, in pixels of that picture.

    Attributes:
        image: RGB, uint8 [H, W, 3].
        points: centres (x, y), float32 [N, 2]; a head at the border of a crop may lie outside it.
        scales: standard deviations along the two axes, float32 [N, 2].
        rotations: angle of the first axis, radians, float32 [N].
        sides: side of the square box that stands for the head, float32 [N].
    """

    image: np.ndarray
    points: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    sides: np.ndarray


def box_sides(distances: np.ndarray) -> np.ndarray:
    """Return the side of each head's box: the mean neighbour distance, clamped to [4, 128] px."""
    return np.clip(np.asarray(distances, dtype=np.float32), *BOX_SIDES)


def recolour(sample: Sample, saturation: float, contrast: float, brightness: float) -> Sample:
    """Change saturation, contrast (about the mean luma) and brightness by factors, 1 for none.

    Without saturation colours become their luma (ITU-R 601), three equal channels.
    """
    image = ImageEnhance.Color(Image.fromarray(sample.image)).enhance(saturation)
    image = ImageEnhance.Contrast(image).enhance(contrast)
    image = ImageEnhance.Brightness(image).enhance(brightness)
    return sample._replace(image=np.asarray(image))


def flip(sample: Sample) -> Sample:
    """Mirror left and right: x becomes W - x, and the angle of every Gaussian its negative."""
    points = sample.points.copy()
    points[:, 0] = sample.image.shape[1] - points[:, 0]
    image = np.ascontiguousarray(sample.image[:, ::-1])
    return sample._replace(image=image, points=points, rotations=-sample.rotations)


def scale_and_crop(sample: Sample, factor: float, left: int, top: int, size: int) -> Sample:
    """Scale a photo by `factor` (bilinear) and cut the size × size window at (left, top) out of it.

    What the window reaches beyond the scaled photo, right or below, is filled with the mean
    colour. All heads are kept, in the window's coordinates; the points follow the rounded sides
    exactly, scales and boxes follow `factor`.
    """
    height, width = sample.image.shape[:2]
    stretch = np.array(scaled_size(width, height, factor)) / (width, height)
    inside = scaled_window(sample.image, factor, left, top, size)
    window = np.full((size, size, 3), PADDING_COLOR, np.uint8)
    window[: inside.shape[0], : inside.shape[1]] = inside
    return Sample(
        image=window,
        points=(sample.points * stretch - (left, top)).astype(np.float32),
        scales=(sample.scales * factor).astype(np.float32),
        rotations=sample.rotations,
        sides=(sample.sides * factor).astype(np.float32),
    )


def box_shares(points: np.ndarray, sides: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return which share of each head's box lies inside a width × height window, float32 [N].

    Over windows that partition a photo the shares of a box inside the photo sum to 1, so that no
    head is counted twice (released code; the rule of the Bayesian loss).
    """
    half = sides[:, None] / 2
    low = np.maximum(points - half, 0)
    high = np.minimum(points + half, (width, height))
    return (np.clip(high - low, 0, None).prod(axis=1) / sides**2).astype(np.float32)


def augment(
    sample: Sample,
    crop_size: int,
    rng: np.random.Generator,
    scale_range: tuple[float, float] = SCALE_RANGE,
    colour_jitter: float = 0.0,
    smallest_share: float = SMALLEST_SHARE,
    clip_boxes: bool = False,
) -> tuple[Sample, np.ndarray, float]:
    """Draw one training crop.

    Grey with probability 0.12; scaled by `scale_range` where the short side stays at least
    `crop_size`; cropped at random; flipped with probability 0.5; saturation, contrast and
    brightness changed by factors within `colour_jitter` of 1 (not released). A photo smaller than
    the crop is padded, not enlarged: heads keep the size that they have when the photo is tested.
    `rng` is always asked for the same five numbers, and with `colour_jitter` for three more.

    Returns the crop with the heads of whose box `smallest_share` or more lies in it, their shares,
    the targets t_n of the loss, float32 [n], and the short side of the photo as it was scaled.
    With 0 they are all that lie in it to some part, and over all places of the crop no part of a
    box is lost that lies inside the photo. With `clip_boxes` (not released) a box is only what of
    it lies inside the photo, so that no part of a head is lost at the photo's border either.
    """
    grey, position_x, position_y, mirror = rng.random(4)
    factor = rng.uniform(*scale_range)
    height, width = sample.image.shape[:2]
    factor, left, top = place_window(width, height, crop_size, factor, (position_x, position_y))
    crop = scale_and_crop(sample, factor, left, top, crop_size)
    shares = box_shares(crop.points, crop.sides, crop_size, crop_size)
    if clip_boxes:
        shares = np.minimum(shares / box_shares(sample.points, sample.sides, width, height), 1)
    kept = (shares >= smallest_share) & (shares > 0)
    crop, shares = Sample(crop.image, *(part[kept] for part in crop[1:])), shares[kept]
    if grey < GREY_PROBABILITY:
        crop = recolour(crop, 0, 1, 1)
    if mirror < FLIP_PROBABILITY:
        crop = flip(crop)
    if colour_jitter:
        crop = recolour(crop, *rng.uniform(1 - colour_jitter, 1 + colour_jitter, 3))
    return crop, shares, factor * min(width, height)
