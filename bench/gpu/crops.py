"""Training crops drawn on the device, a batch at a time: nothing waits, and nothing is read.

The photos lie in the device's memory as uint8. A batch is one gather of the windows that its crops
see, two batched matrix products that resample them, and a few operations that change their colours;
its heads are one padded array. What is drawn is what `gst.dataset.augment` draws, and colours
beside it; the random numbers come from (seed, epoch) alone, as `--resume` wants it.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from crowd.data.network_input import Preprocessing
from crowd.train.loading import EpochBatches
from gst.dataset import BOX_SIDES, FLIP_PROBABILITY, GREY_PROBABILITY, SMALLEST_SHARE, Batch
from gst.heads import FAR, Heads

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as for `gst.dataset.to_grey`
ROUND_UP = 64  # heads: batches of few different shapes


@dataclasses.dataclass(frozen=True)
class Photo:
    """A photo and its heads.

    Attributes:
        name: of its file.
        image: RGB, uint8 [H, W, 3].
        heads: points, scales, rotation and side of the box, float32 [N, 6].
    """

    name: str
    image: np.ndarray
    heads: np.ndarray


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How crops are drawn.

    Attributes:
        crop_size: pixels.
        scale_range: smallest and largest factor.
        colours: how far brightness, contrast and saturation go from 1; 0: left alone.
        rounds: how often an epoch takes every photo.
        seed: of order and augmentation.
    """

    crop_size: int
    scale_range: tuple[float, float]
    colours: float = 0.0
    rounds: int = 1
    seed: int = 4073


class OutOfTime(Exception):
    """An epoch would end too late, and was not begun."""


class DeviceCrops:
    """Batches of an epoch (`gst.dataset.Batch`, heads padded) for `crowd.train.loop.fit`.

    An epoch that would end after the time `until`, going by the longest from the beginning of one
    to that of the next, is not begun: `OutOfTime`.
    """

    until = math.inf

    def __init__(
        self, photos: Sequence[Photo], drawing: Drawing, batch_size: int, device: torch.device
    ):
        self.drawing, self.device = drawing, device
        self.names = [photo.name for photo in photos]
        self._begun = self._longest = 0.0
        length = len(photos) * drawing.rounds // batch_size * batch_size
        self.batch_sampler = EpochBatches(length, batch_size, drawing.seed)
        sizes = np.array([photo.image.shape[:2] for photo in photos])
        self._sizes = torch.from_numpy(sizes).to(device)
        self._starts = torch.from_numpy(np.cumsum([0, *sizes.prod(1)])[:-1]).to(device)
        pixels = np.concatenate([photo.image.reshape(-1, 3) for photo in photos])
        self._pixels = torch.from_numpy(pixels).to(device)
        most = max(max(len(photo.heads) for photo in photos), 1)
        heads = np.full((len(photos), most, 6), FAR, np.float32)
        for mine, photo in zip(heads, photos, strict=True):
            mine[: len(photo.heads)] = photo.heads
        self._heads = torch.from_numpy(heads).to(device)
        self._most = [most_in_a_crop(photo, drawing) for photo in photos]
        self._mean, self._std = (
            torch.tensor(values, device=device)[:, None, None] * 255
            for values in (Preprocessing.mean, Preprocessing.std)
        )
        self._luma = torch.tensor(LUMA, device=device)[:, None, None]

    def __len__(self) -> int:
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        now = time.time()
        self._longest = max(self._longest, now - self._begun) if self._begun else 0.0
        self._begun = now
        if now + self._longest > self.until:
            raise OutOfTime
        generator = torch.Generator(self.device)
        generator.manual_seed(self.drawing.seed * 100_003 + self.batch_sampler.epoch)
        for keys in self.batch_sampler:
            indices = [key[1] % len(self.names) for key in keys]
            yield self.draw(
                indices, torch.rand(8, len(keys), generator=generator, device=self.device)
            )

    def draw(self, indices: list[int], random: Tensor) -> Batch:
        """Draw a crop of each of these photos, random [8, B] in [0, 1) deciding how."""
        chosen, size = (
            torch.tensor(indices).to(self.device, non_blocking=True),
            self.drawing.crop_size,
        )
        low, high = self.drawing.scale_range
        photo = self._sizes[chosen]
        factor = low + (high - low) * random[0]
        factor = torch.where(factor * photo.amin(1) < size, 1.0, factor)
        scaled = (photo * factor[:, None]).round().clamp(min=1)
        corner = (random[1:3].T * ((scaled - size).clamp(min=0) + 1)).floor()
        mirrored = random[3] < FLIP_PROBABILITY
        images = self._resample(chosen, photo, scaled, corner, mirrored)
        inside = [
            _positions(size, self.device) + corner[:, i, None] < scaled[:, i, None] for i in (0, 1)
        ]
        inside[1] = torch.where(mirrored[:, None], inside[1].flip(1), inside[1])
        shown = (inside[0][:, :, None] & inside[1][:, None, :])[:, None]
        images = torch.where(shown, images, self._mean)
        images = self._recolour(images, random[4] < GREY_PROBABILITY, random[5:8])
        images = (images - self._mean) / self._std
        most = -(-max(self._most[index] for index in indices) // ROUND_UP) * ROUND_UP
        heads = self._place(chosen, factor, scaled / photo, corner, mirrored, most)
        return Batch(images, heads, [self.names[index] for index in indices])

    def _resample(self, chosen, photo, scaled, corner, mirrored) -> Tensor:
        """Windows of the photos, resampled bilinearly as Pillow does, 0 … 255, [B, 3, S, S]."""
        size = self.drawing.crop_size
        reach = math.ceil(size / min(self.drawing.scale_range[0], 1.0)) + 4
        first = (corner / (scaled / photo)).floor().long() - 2
        places = [first[:, i, None] + _positions(reach, self.device) for i in (0, 1)]
        weights = []
        for i in (0, 1):
            stretch = (scaled[:, i] / photo[:, i])[:, None]
            center = (_positions(size, self.device) + corner[:, i, None] + 0.5) / stretch
            apart = (places[i][:, None, :] + 0.5 - center[:, :, None]).abs()
            weight = (1 - apart / (1 / stretch).clamp(min=1)[..., None]).clamp(min=0)
            known = (places[i] >= 0) & (places[i] < photo[:, i, None])
            weight = weight * known[:, None, :]
            weights.append(weight / weight.sum(2, keepdim=True).clamp(min=1e-6))
            places[i] = places[i].clamp(min=0).minimum(photo[:, i, None] - 1)
        weights[1] = torch.where(mirrored[:, None, None], weights[1].flip(1), weights[1])
        index = places[0][:, :, None] * photo[:, 1, None, None] + places[1][:, None, :]
        windows = self._pixels[self._starts[chosen, None, None] + index].permute(0, 3, 1, 2).float()
        return weights[0][:, None] @ windows @ weights[1].mT[:, None]

    def _recolour(self, images: Tensor, grey: Tensor, random: Tensor) -> Tensor:
        """Change saturation, contrast and brightness of each crop; grey has no saturation."""
        saturation, contrast, brightness = 1 + self.drawing.colours * (2 * random - 1)
        saturation = torch.where(grey, 0.0, saturation)[:, None, None, None]
        luma = (images * self._luma).sum(1, keepdim=True)
        images = torch.lerp(luma, images, saturation)
        if not self.drawing.colours:
            return images
        middle = luma.mean((2, 3), keepdim=True)
        images = torch.lerp(middle, images, contrast[:, None, None, None])
        return (images * brightness[:, None, None, None]).clamp(0, 255)

    def _place(self, chosen, factor, stretch, corner, mirrored, most: int) -> Heads:
        """The heads whose box lies in the crop to 30 % or more, padded to `most`."""
        size, heads = self.drawing.crop_size, self._heads[chosen]
        points = heads[..., :2] * stretch.flip(1)[:, None] - corner.flip(1)[:, None]
        sides = heads[..., 5:] * factor[:, None, None]
        low, high = (points - sides / 2).clamp(min=0), (points + sides / 2).clamp(max=size)
        shares = (high - low).clamp(min=0).prod(2) / sides[..., 0] ** 2
        kept = shares >= SMALLEST_SHARE
        # Those that are kept come first, in their order.
        order = kept.float().sort(dim=1, descending=True, stable=True)[1][:, :most]
        kept, shares = kept.gather(1, order), shares.gather(1, order)
        points = points.gather(1, order[..., None].expand(-1, -1, 2))
        x = torch.where(mirrored[:, None], size - points[..., 0], points[..., 0])
        points = torch.stack([x, points[..., 1]], 2).where(kept[..., None], FAR)
        scales = (heads[..., 2:4] * factor[:, None, None]).gather(
            1, order[..., None].expand(-1, -1, 2)
        )
        rotations = heads[..., 4].gather(1, order)
        rotations = torch.where(mirrored[:, None], -rotations, rotations)
        return Heads(points, scales, rotations.where(kept, 0.0), shares.where(kept, 0.0))


def _positions(number: int, device: torch.device) -> Tensor:
    return torch.arange(number, device=device)


def most_in_a_crop(photo: Photo, drawing: Drawing) -> int:
    """No crop of the photo shows more heads than this, wherever it lies and however it is scaled.

    Counted in windows of whole blocks, wide enough for the largest crop and for heads that lie
    beside it with 30 % of the largest box.
    """
    block = 16
    beside = (0.5 - SMALLEST_SHARE) * BOX_SIDES[1]
    window = (drawing.crop_size + 2 * beside + 2) / min(drawing.scale_range[0], 1.0)
    blocks = math.ceil(window / block) + 1
    height, width = (-(-side // block) for side in photo.image.shape[:2])
    column, row = np.floor(photo.heads[:, :2].T / block).astype(int)
    counts = np.zeros((height + 2 * blocks, width + 2 * blocks), int)
    rows, columns = row.clip(0, height - 1) + blocks, column.clip(0, width - 1) + blocks
    np.add.at(counts, (rows, columns), 1)
    sums = np.pad(counts.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    windows = sums[blocks:, blocks:] - sums[:-blocks, blocks:]
    windows = windows - (sums[blocks:, :-blocks] - sums[:-blocks, :-blocks])
    return int(windows.max())
