"""The CUDA rasteriser: stock gsplat, used in two dimensions, without a camera."""

from __future__ import annotations

import functools
import importlib.metadata

import torch

from crowd.errors import InputError
from GS2D.reference import covariances

TILE = 16
VERSIONS = ((1, 5), (1, 6))  # from, below: radii were scalars up to 1.4


@functools.cache
def why_unusable() -> str | None:
    """One sentence on why gsplat cannot run here and what to do, or None when it can.

    The first call on a machine with CUDA builds gsplat's kernels, which takes minutes.
    """
    instead = "or use the backend 'cpu'"
    if not torch.cuda.is_available():
        return f"the backend 'gsplat' needs CUDA: use a machine and a torch that have it {instead}"
    try:
        version = importlib.metadata.version("gsplat")
    except importlib.metadata.PackageNotFoundError:
        return f"gsplat is not installed: pip install 'gsplat>=1.5,<1.6' {instead}"
    if not VERSIONS[0] <= tuple(int(part) for part in version.split(".")[:2]) < VERSIONS[1]:
        return f"gsplat {version} has other functions: pip install 'gsplat>=1.5,<1.6' {instead}"
    try:
        from gsplat.cuda._backend import _C as compiled
    except Exception as error:  # whatever the compiler or loader says
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return f"gsplat's CUDA kernels could not be built ({reason}): install nvcc {instead}"
    if compiled is None:
        return (
            "gsplat found no CUDA toolkit to build its kernels with: install nvcc of CUDA "
            f"{torch.version.cuda} and set CUDA_HOME, {instead}"
        )
    return None


def render(means, scales, rotations, colors, opacities, width: int, height: int):
    """See `GS2D.rasterize`; computed in float32 on the GPU, returned on the device of `means`."""
    if (reason := why_unusable()) is not None:
        raise InputError(reason)
    if len(means) == 0:
        return means.new_zeros(height, width, 3), means.new_zeros(height, width)
    device = means.device if means.is_cuda else torch.device("cuda")
    tensors = [t.float().to(device) for t in (means, scales, rotations, colors, opacities)]
    image, alpha = _render_on_gpu(*tensors, width, height)
    return image.to(means.device), alpha.to(means.device)


def _render_on_gpu(means, scales, rotations, colors, opacities, width, height):
    from gsplat.cuda._wrapper import isect_offset_encode, isect_tiles, rasterize_to_pixels

    covariance = covariances(scales, rotations)
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    determinant = (scales[:, 0] * scales[:, 1]) ** 2
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None]
    across, down = -(-width // TILE), -(-height // TILE)
    with torch.no_grad():
        radii = torch.ceil(3.33 * torch.sqrt(torch.stack([xx, yy], dim=-1))).int()
        # Depth sorts the Gaussians of a tile; equal depths keep their index order, which is the
        # order of annotation.
        depths = torch.ones_like(opacities)
        _, ids, order = isect_tiles(means[None], radii[None], depths[None], TILE, across, down)
        offsets = isect_offset_encode(ids, 1, across, down)
    batch = means[None], conics[None], colors[None], opacities[None]
    image, alpha = rasterize_to_pixels(*batch, width, height, TILE, offsets, order)
    return image[0], alpha[0, ..., 0]
