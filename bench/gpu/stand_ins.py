"""Slow stand-ins for gsplat's CUDA functions, which honour its tile lists and run anywhere."""

import numpy as np
import torch
from torch import Tensor

from GS2D import gsplat_backend


def isect_tiles(means, radii, depths, size, across, down, **packed):
    """Which Gaussians reach which tiles: identifiers (photo · tiles + tile), and the Gaussians."""
    assert packed["packed"]
    assert radii.dtype == torch.int32
    assert packed["image_ids"].dtype == packed["gaussian_ids"].dtype == torch.int64
    assert depths.min() == depths.max() > 0
    first = ((means - radii) / size).floor().clamp(min=0).int().tolist()
    last = torch.minimum(((means + radii) / size).ceil().int(), torch.tensor([across, down]))
    ids, entries = [], []
    for i, (image, end) in enumerate(zip(packed["image_ids"].tolist(), last.tolist(), strict=True)):
        for v in range(first[i][1], end[1]):
            for u in range(first[i][0], end[0]):
                ids.append((image * down + v) * across + u)
                entries.append(i)
    order = np.argsort(ids, kind="stable")
    entries = torch.tensor(entries, dtype=torch.int32)[order]
    return None, torch.tensor(ids, dtype=torch.int64)[order], entries


def isect_offset_encode(ids, images, across, down):
    """First entry of every tile, int32 [images, down, across]."""
    counts = torch.bincount(ids, minlength=images * across * down)
    return (counts.cumsum(0) - counts).int().reshape(images, down, across)


def rasterize_to_pixels(*arguments, packed):
    """Images [images, H, W, 3] and alphas [images, H, W, 1], tile by tile in float64."""
    assert packed
    means, conics, colors, opacities, width, height, size, offsets, entries = arguments
    images, down, across = offsets.shape
    ends = [*offsets.flatten().tolist(), len(entries)]
    rows = []
    for tile in range(offsets.numel()):
        own = entries[ends[tile] : ends[tile + 1]].long()
        corner = torch.tensor([tile % across * size, tile // across % down * size])
        parts = means[own] - corner, conics[own], colors[own], opacities[own]
        rows.append(_tile(*(part.double() for part in parts), size))
    canvas = torch.stack(rows).reshape(images, down, across, size, size, 4)
    canvas = canvas.transpose(2, 3).reshape(images, down * size, across * size, 4).float()
    return canvas[:, :height, :width, :3], canvas[:, :height, :width, 3:]


def _tile(means: Tensor, conics: Tensor, colors: Tensor, opacities: Tensor, size: int) -> Tensor:
    """Colours and alpha of one tile at the origin, [size, size, 4]."""
    centers = torch.arange(size) + 0.5
    dx, dy = centers[None, :, None] - means[:, 0], centers[:, None, None] - means[:, 1]
    a, b, c = conics.T
    alpha = opacities * torch.exp(-0.5 * (a * dx**2 + c * dy**2) - b * dx * dy)
    alpha = alpha.clamp(max=0.999)
    alpha = torch.where(alpha >= 1 / 255, alpha, 0.0)
    alpha = torch.where(torch.cumprod(1 - alpha, dim=-1) > 1e-4, alpha, 0.0)
    untouched = torch.ones(size, size, 1, dtype=torch.float64)
    before = torch.cumprod(torch.cat([untouched, 1 - alpha], dim=-1), dim=-1)
    return torch.cat([(alpha * before[..., :-1]) @ colors, 1 - before[..., -1:]], dim=-1)


FUNCTIONS = (isect_tiles, isect_offset_encode, rasterize_to_pixels)


def install() -> None:
    """Let the backend "gsplat" of this process run on one core, by these functions."""
    from gsplat.cuda import _wrapper

    for function in FUNCTIONS:
        setattr(_wrapper, function.__name__, function)
    torch.set_num_threads(1)
    gsplat_backend.DEVICE = torch.device("cpu")
    gsplat_backend.why_unusable = lambda: None
