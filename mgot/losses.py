"""Losses of FIDT regression: summed MSE, that of details, and SSIM around every head (I-SSIM)."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from crowd.io.arrays import to_numpy
from mgot.options import C1, C2

SIDE = 30  # of a head's window, in pixels
MARGIN = SIDE // 2  # rows y-15 ... y+14, and columns alike
DETAIL = 7  # side of the mean that is no detail, in pixels


def fidt_loss(
    prediction: torch.Tensor,
    target: torch.Tensor,
    heads: Sequence[torch.Tensor],
    ssim_weight: float = 0.0,
    detail_weight: float = 0.0,
    weights: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Losses of FIDT regression by name, each the sum over the batch of w_b times a sample's loss.

    `mse` alone is the released loss of FIDTM (`MSELoss(reduction="sum")`) and, with weights, of
    MGOT; mse + ssim_weight · issim the papers' L_MSE + L_I-SSIM, with weights MGOT's Eq. 12. A
    sample's MSE is a sum over its pixels, its I-SSIM a mean over its heads: the two differ by
    orders of magnitude.

    Args:
        prediction: `[B, 1, H, W]`.
        target: FIDT maps `[B, 1, H, W]`.
        heads: for each sample the heads `[n, 2]` as x, y in pixels of the map.
        ssim_weight: factor that `issim` will have; at 0 it is left out.
        detail_weight: that of `detail` (see `detail_error`), likewise.
        weights: `[B]`, MGOT's weight of each sample; one each when absent.

    Returns:
        `mse`, `issim` and `detail`, before these factors.

    Raises:
        ValueError: prediction and target differ in shape.
    """
    if prediction.shape != target.shape:
        shapes = f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        raise ValueError(f"prediction and target must have one shape, not {shapes}")
    squared = F.mse_loss(prediction, target, reduction="none").flatten(1).sum(1)
    losses = {"mse": squared}
    if ssim_weight:
        losses["issim"] = instance_ssim(prediction, target, heads)
    if detail_weight:
        losses["detail"] = detail_error(prediction, target)
    weights = torch.ones_like(squared) if weights is None else weights
    return {name: (weights * loss).sum() for name, loss in losses.items()}


def detail_error(prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sum of squared errors of the maps' details: each map less its 7×7 mean.

    Most of a FIDT map's energy is in the wide surroundings of its heads (on ShanghaiTech A, of 12.4
    a head the details hold 0.6), so that MSE learns these first and the peaks, which are counted,
    last. Being linear in the maps, this error is least where MSE is: at the map's expected value.
    Of maps `[B, 1, H, W]` returns `[B]`, differentiable in both.
    """
    error = prediction - target
    mean = F.avg_pool2d(error, DETAIL, stride=1, padding=DETAIL // 2, count_include_pad=False)
    return (error - mean).square().flatten(1).sum(1)


def instance_ssim(
    prediction: torch.Tensor, target: torch.Tensor, heads: Sequence[torch.Tensor]
) -> torch.Tensor:
    """I-SSIM loss (FIDT, arXiv 2102.07925): mean over a sample's heads of 1 - SSIM of its window.

    A head at pixel (floor y, floor x) has the window of rows y-15 ... y+14 and columns x-15 ...
    x+14, clipped at the border. Each window is one SSIM: with means, variances and covariance over
    all its n pixels (divided by n),

        SSIM = (2 mu_p mu_t + C1)(2 s_pt + C2) / ((mu_p^2 + mu_t^2 + C1)(s_p^2 + s_t^2 + C2)).

    All windows of a batch are gathered at once, at about 40 kB a head while gradients are kept.

    Args:
        prediction: `[B, 1, H, W]`.
        target: `[B, 1, H, W]`.
        heads: for each sample `[n, 2]` as x, y in pixels; heads outside the map are left out.

    Returns:
        `[B]`, 0 for a sample without heads; differentiable in `prediction` and `target`.
    """
    height, width = prediction.shape[-2:]
    sample, row, column, count = _head_pixels(heads, height, width, prediction.device)
    offsets = torch.arange(SIDE, device=prediction.device)
    rows, columns = row[:, None] + offsets, column[:, None] + offsets  # of the padded map
    index = (sample[:, None] * (height + SIDE) + rows)[:, :, None] * (width + SIDE)
    index = (index + columns[:, None]).flatten(1)
    down, across = (rows - MARGIN, height), (columns - MARGIN, width)
    down, across = ((place >= 0) & (place < length) for place, length in (down, across))
    inside = (down[:, :, None] & across[:, None]).flatten(1).to(prediction.dtype)
    size = inside.sum(1)

    p, t = (F.pad(x, (MARGIN, MARGIN) * 2).flatten()[index] for x in (prediction, target))
    mean_p, mean_t = p.sum(1) / size, t.sum(1) / size
    p, t = (p - mean_p[:, None]) * inside, (t - mean_t[:, None]) * inside
    variances = (p.square() + t.square()).sum(1) / size
    ssim = _ssim(mean_p, mean_t, variances, (p * t).sum(1) / size)
    total = prediction.new_zeros(len(prediction)).index_add(0, sample, 1 - ssim)
    return total / count.clamp(min=1)


def instance_ssim_reference(
    prediction: torch.Tensor, target: torch.Tensor, heads: Sequence[torch.Tensor]
) -> torch.Tensor:
    """Compute what `instance_ssim` computes, head after head."""
    height, width = prediction.shape[-2:]
    losses = []
    for p, t, points in zip(prediction[:, 0], target[:, 0], heads, strict=True):
        dissimilarities = []
        for x, y in torch.as_tensor(points).floor().long().tolist():
            if not (0 <= x < width and 0 <= y < height):
                continue
            rows = slice(max(y - MARGIN, 0), y + MARGIN)
            columns = slice(max(x - MARGIN, 0), x + MARGIN)
            a, b = p[rows, columns], t[rows, columns]
            variances = a.var(unbiased=False) + b.var(unbiased=False)
            covariance = ((a - a.mean()) * (b - b.mean())).mean()
            dissimilarities.append(1 - _ssim(a.mean(), b.mean(), variances, covariance))
        # The sum over nothing keeps a sample without heads in the graph, with gradient 0.
        losses.append(torch.stack(dissimilarities).mean() if dissimilarities else p[:0].sum())
    return torch.stack(losses)


def _ssim(
    mean_p: torch.Tensor, mean_t: torch.Tensor, variances: torch.Tensor, covariance: torch.Tensor
) -> torch.Tensor:
    """SSIM of windows, given both means, the sum of both variances and the covariance."""
    luminance = (2 * mean_p * mean_t + C1) / (mean_p.square() + mean_t.square() + C1)
    return luminance * (2 * covariance + C2) / (variances + C2)


def _head_pixels(
    heads: Sequence[torch.Tensor], height: int, width: int, device: torch.device
) -> tuple[torch.Tensor, ...]:
    """Sample, row and column of all heads that lie inside the map, `[n]`; heads a sample, `[B]`.

    In numpy: how many these are a GPU would have to be waited for.
    """
    pixels = [np.floor(to_numpy(points).reshape(-1, 2)).astype(np.int64) for points in heads]
    sample = np.repeat(np.arange(len(pixels)), [len(points) for points in pixels])
    column, row = np.concatenate(pixels).T
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    found = [index[inside] for index in (sample, row, column)]
    found.append(np.bincount(found[0], minlength=len(pixels)))
    return tuple(torch.from_numpy(index).to(device, non_blocking=True) for index in found)
