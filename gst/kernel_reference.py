"""The transport kernel, cell by cell as the formulas read: the twin that tests compare with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gst.kernel import BACKGROUND, as_gaussians, cell_centers


def transport_kernel_reference(
    points,
    scales,
    rotations,
    crop_size: int | tuple[int, int],
    stride: int = 8,
    background_ratio: float = 0.015,
    cut_off: float = 3.0,
    post_min: float = 1.0,
    post_max: float = 20.0,
    scale_ratio: float = 1.0,
    use_background: bool = True,
    owners=None,
) -> Tensor:
    """Readable twin of `transport_kernel` in float64: same arguments, result and gradients."""
    points, scales, rotations = (
        array.double() for array in as_gaussians(points, scales, rotations)
    )
    scales = torch.clamp(scale_ratio * scales, stride / post_min, post_max)
    covariances = [covariance(s, theta) for s, theta in zip(scales, rotations, strict=True)]
    owners = list(range(len(points))) if owners is None else [int(owner) for owner in owners]
    if use_background:
        owners.append(BACKGROUND)
    rows = max(owners, default=-1) + 1 + use_background

    xs, ys = cell_centers(crop_size, stride)
    columns = []
    for y in ys.tolist():
        for x in xs.tolist():
            z = []
            for point, sigma in zip(points, covariances, strict=True):
                d = torch.tensor([x, y], dtype=torch.float64) - point
                z.append(-0.5 * d @ torch.linalg.inv(sigma) @ d)
            logits = [zn - 0.5 * torch.logdet(s) for zn, s in zip(z, covariances, strict=True)]
            if use_background:
                logits.append(background_logit(z, covariances, background_ratio, cut_off))
            column = [torch.zeros((), dtype=torch.float64)] * rows
            if logits:
                for owner, share in zip(owners, torch.stack(logits).softmax(0), strict=True):
                    column[owner] = column[owner] + share
            columns.append(torch.stack(column) if rows else torch.zeros(0))
    return torch.stack(columns, 1)


def covariance(scales: Tensor, theta: Tensor) -> Tensor:
    """Σ = R diag(s²) Rᵀ with R = [[cos θ, −sin θ], [sin θ, cos θ]], [2, 2]."""
    cosine, sine = torch.cos(theta), torch.sin(theta)
    rotation = torch.stack([torch.stack([cosine, -sine]), torch.stack([sine, cosine])])
    return rotation @ torch.diag(scales**2) @ rotation.T


def background_logit(
    z: Sequence[Tensor], covariances: Sequence[Tensor], background_ratio: float, cut_off: float
) -> Tensor:
    """(−cut_off²/2 − z_n*) − log(|Σ_n*| / background_ratio) with n* = argmax z; 0 without any z."""
    if not z:
        return torch.zeros((), dtype=torch.float64)
    nearest = max(range(len(z)), key=lambda n: z[n].item())
    area = torch.logdet(covariances[nearest])
    return (-(cut_off**2) / 2 - z[nearest]) - (area - math.log(background_ratio))
