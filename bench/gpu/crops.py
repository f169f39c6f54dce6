"""Training crops drawn on the device, a batch at a time, and the network's step as CUDA graphs.

The photos lie in the device's memory as uint8. A batch is one gather of the windows that its crops
see, two batched matrix products that resample them, and a few operations that change their colours;
its heads are one padded array. Nothing waits for the device. What is drawn is what
`gst.dataset.augment` draws, from random numbers of (seed, epoch) alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from crowd.data.network_input import Preprocessing
from crowd.io.files import write_text
from crowd.train.devices import mixed_precision, to_device
from crowd.train.loading import EpochBatches
from gst.dataset import (
    BOX_SIDES,
    FLIP_PROBABILITY,
    GREY_PROBABILITY,
    SMALLEST_SHARE,
    Batch,
    Sample,
)
from gst.heads import FAR, Heads

LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, as for `gst.dataset.to_grey`
ROUND_UP = 64  # heads: batches of few different shapes
TOLERANCE = 0.05  # of the gradient's norm: two steps in bfloat16 round differently


class Drawing(NamedTuple):
    """How crops are drawn.

    Attributes:
        crop_size: pixels.
        scale_range: smallest and largest factor.
        colour_jitter: how far saturation, contrast and brightness go from 1.
        rounds: how often an epoch takes every photo.
        seed: of order and augmentation.
    """

    crop_size: int
    scale_range: tuple[float, float]
    colour_jitter: float = 0.0
    rounds: int = 1
    seed: int = 4073


class OutOfTime(Exception):
    """An epoch would end too late, and was not begun."""


class DeviceCrops:
    """Batches of an epoch (`gst.dataset.Batch`, heads padded) for `crowd.train.loop.fit`.

    An epoch that would end after the time `until`, going by the longest from the beginning of one
    to that of the next, is not begun: `OutOfTime`. `photos` are whole ones by their names.
    """

    until = math.inf

    def __init__(
        self, photos: Mapping[str, Sample], drawing: Drawing, batch_size: int, device: torch.device
    ):
        self.names, self.drawing, self.device = list(photos), drawing, device
        self._begun = self._longest = 0.0
        length = len(photos) * drawing.rounds // batch_size * batch_size
        self.batch_sampler = EpochBatches(length, batch_size, drawing.seed)
        samples = list(photos.values())
        self._most = [most_in_a_crop(sample, drawing) for sample in samples]
        sizes = np.array([sample.image.shape[:2] for sample in samples])
        most = max(max(len(sample.points) for sample in samples), 1)
        heads = np.full((len(samples), most, 6), FAR, np.float32)
        for mine, (_, points, scales, rotations, sides) in zip(heads, samples, strict=True):
            mine[: len(points)] = np.column_stack([points, scales, rotations, sides])
        pixels = np.concatenate([sample.image.reshape(-1, 3) for sample in samples])
        starts = np.cumsum([0, *sizes.prod(1)])[:-1]
        self._sizes, self._starts, self._heads, self._pixels = (
            torch.from_numpy(array).to(device) for array in (sizes, starts, heads, pixels)
        )
        self._mean, self._std, self._luma = (
            torch.tensor(values, device=device)[:, None, None]
            for values in (Preprocessing.mean, Preprocessing.std, LUMA)
        )

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
            random = torch.rand(8, len(keys), generator=generator, device=self.device)
            yield self.draw([key[1] % len(self.names) for key in keys], random)

    def draw(self, indices: list[int], random: Tensor) -> Batch:
        """Draw a crop of each of these photos, random [8, B] in [0, 1) deciding how."""
        chosen = torch.tensor(indices).to(self.device, non_blocking=True)
        size, (low, high) = self.drawing.crop_size, self.drawing.scale_range
        photo = self._sizes[chosen]
        factor = low + (high - low) * random[0]
        factor = torch.where(factor * photo.amin(1) < size, 1.0, factor)
        scaled = (photo * factor[:, None]).round().clamp(min=1)
        corner = (random[1:3].T * ((scaled - size).clamp(min=0) + 1)).floor()
        mirrored = random[3] < FLIP_PROBABILITY
        images, shown = self._resample(chosen, photo, scaled, corner, mirrored)
        images = torch.where(shown, images / 255, self._mean)
        images = self._recolour(images, random[4] < GREY_PROBABILITY, random[5:8])
        most = -(-max(self._most[index] for index in indices) // ROUND_UP) * ROUND_UP
        heads = self._place(chosen, factor, scaled / photo, corner, mirrored, most)
        names = [self.names[index] for index in indices]
        return Batch((images - self._mean) / self._std, heads, names)

    def _resample(self, chosen, photo, scaled, corner, mirrored) -> tuple[Tensor, Tensor]:
        """Windows of the photos, resampled bilinearly as Pillow does, 0 … 255, [B, 3, S, S].

        And which of their pixels show the photo, [B, 1, S, S].
        """
        size = self.drawing.crop_size
        reach = math.ceil(size / min(self.drawing.scale_range[0], 1.0)) + 4
        positions = torch.arange(reach, device=self.device)
        first = (corner / (scaled / photo)).floor().long() - 2
        places, weights, inside = [], [], []
        for i in (0, 1):
            stretch, last = (scaled[:, i] / photo[:, i])[:, None], photo[:, i, None] - 1
            place, pixels = first[:, i, None] + positions, positions[:size] + corner[:, i, None]
            apart = (place[:, None, :] + 0.5 - ((pixels + 0.5) / stretch)[:, :, None]).abs()
            weight = (1 - apart / (1 / stretch).clamp(min=1)[..., None]).clamp(min=0)
            weight = weight * ((place >= 0) & (place <= last))[:, None, :]
            weights.append(weight / weight.sum(2, keepdim=True).clamp(min=1e-6))
            places.append(place.clamp(min=0).minimum(last))
            inside.append(pixels < scaled[:, i, None])
        weights[1] = torch.where(mirrored[:, None, None], weights[1].flip(1), weights[1])
        inside[1] = torch.where(mirrored[:, None], inside[1].flip(1), inside[1])
        index = places[0][:, :, None] * photo[:, 1, None, None] + places[1][:, None, :]
        windows = self._pixels[self._starts[chosen, None, None] + index].permute(0, 3, 1, 2).float()
        images = weights[0][:, None] @ windows @ weights[1].mT[:, None]
        return images, (inside[0][:, :, None] & inside[1][:, None, :])[:, None]

    def _recolour(self, images: Tensor, grey: Tensor, random: Tensor) -> Tensor:
        """Change saturation, contrast and brightness of each crop; grey has no saturation."""
        factors = 1 + self.drawing.colour_jitter * (2 * random[..., None, None, None] - 1)
        saturation, contrast, brightness = factors
        luma = (images * self._luma).sum(1, keepdim=True)
        saturation = torch.where(grey[:, None, None, None], 0.0, saturation)
        images = torch.lerp(luma, images, saturation).clamp(0, 1)
        if not self.drawing.colour_jitter:
            return images
        mean = (images * self._luma).sum(1, keepdim=True).mean((2, 3), keepdim=True)
        images = torch.lerp(mean, images, contrast).clamp(0, 1)
        return (images * brightness).clamp(0, 1)

    def _place(self, chosen, factor, stretch, corner, mirrored, most: int) -> Heads:
        """The heads whose box lies in the crop to 30 % or more, padded to `most`."""
        size, factor = self.drawing.crop_size, factor[:, None, None]
        points, scales, rotations, sides = self._heads[chosen].split((2, 2, 1, 1), 2)
        points = points * stretch.flip(1)[:, None] - corner.flip(1)[:, None]
        sides = sides * factor
        low, high = (points - sides / 2).clamp(min=0), (points + sides / 2).clamp(max=size)
        shares = (high - low).clamp(min=0).prod(2, keepdim=True) / sides**2
        heads = torch.cat([points, scales * factor, rotations, shares], 2)
        # Those that are kept come first, in their order.
        kept = (shares[..., 0] >= SMALLEST_SHARE).float()
        order = kept.sort(dim=1, descending=True, stable=True)[1][:, :most]
        heads = heads.gather(1, order[..., None].expand(-1, -1, 6))
        x, y, *_, rotations, shares = heads.unbind(2)
        kept, mirrored = shares >= SMALLEST_SHARE, mirrored[:, None]
        points = torch.stack([torch.where(mirrored, size - x, x), y], 2)
        rotations = torch.where(mirrored, -rotations, rotations).where(kept, 0.0)
        points = points.where(kept[..., None], FAR)
        return Heads(points, heads[..., 2:4], rotations, shares.where(kept, 0.0))


def most_in_a_crop(photo: Sample, drawing: Drawing) -> int:
    """No crop of the photo shows more heads than this, wherever it lies and however it is scaled.

    Counted in windows of whole blocks, wide enough for the largest crop and for heads that lie
    beside it with 30 % of the largest box.
    """
    block, beside = 16, (0.5 - SMALLEST_SHARE) * BOX_SIDES[1]
    window = (drawing.crop_size + 2 * beside + 2) / min(drawing.scale_range[0], 1.0)
    blocks = math.ceil(window / block) + 1
    height, width = photo.image.shape[:2]
    columns, rows = (photo.points.clip(0, (width - 1, height - 1)) // block).astype(int).T
    counts = np.zeros((height // block + 1 + blocks, width // block + 1 + blocks), int)
    np.add.at(counts, (rows, columns), 1)
    for axis in (0, 1):
        counts = np.lib.stride_tricks.sliding_window_view(counts, blocks, axis).sum(-1)
    return int(counts.max())


def graphed(model: nn.Module, images: Tensor, amp: bool, marker: Path) -> bool:
    """Let `model` train by CUDA graphs on batches of this shape; evaluation stays as it is.

    Returns whether it does. `marker` stands while it is tried: a process that ends in it leaves it,
    and the next one goes without. Raises `RuntimeError` where graphs give other gradients.
    """
    if images.device.type != "cuda" or marker.exists():
        return False
    write_text(marker, "")
    model.train()
    images = to_device(images, images.device)
    expected = _gradients(model, images, amp)
    with torch.autocast("cuda", torch.bfloat16, enabled=amp, cache_enabled=False):
        torch.cuda.make_graphed_callables(model, (images.clone(),))
    apart = float((_gradients(model, images, amp) - expected).norm() / expected.norm())
    if not apart < TOLERANCE:
        raise RuntimeError(f"CUDA graphs give gradients that differ by {apart:.1e}")
    marker.unlink()
    return True


def _gradients(model: nn.Module, images: Tensor, amp: bool) -> Tensor:
    """Gradients of the sum of squares, in float32, all of them joined."""
    with mixed_precision(amp, images.device):
        predicted = model(images)
    gradients = torch.autograd.grad(predicted.float().square().sum(), list(model.parameters()))
    return torch.cat([gradient.float().flatten() for gradient in gradients])
