"""The CUDA rasteriser: stock gsplat, used in two dimensions, without a camera."""

import errno
import functools
import importlib.metadata
import re

import torch

from crowd.io.errors import install
from GS2D.reference import covariances

DEVICE = torch.device("cuda")
TILE = 16
REACH = 3.33  # sigmas: beyond, alpha is below 1/255 whatever the opacity
VERSIONS = ((1, 5, 3), (1, 6))  # from, below: packed tile lists had no images up to 1.5.2
WANTED = install("gpu")


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
        return f"gsplat is not installed: {WANTED} {instead}"
    # Wheels may say what they were built for: 1.5.3+pt24cu124.
    numbers = tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])
    if not VERSIONS[0] <= numbers < VERSIONS[1]:
        return f"gsplat {version} has other functions: {WANTED} {instead}"
    try:
        from gsplat.cuda._backend import _C as compiled
    except Exception as error:  # whatever the compiler or loader says
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        remedy = "install nvcc"
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS):
            remedy = "set TORCH_EXTENSIONS_DIR to a folder that you may write to"
        return f"gsplat's CUDA kernels could not be built ({reason}): {remedy} {instead}"
    if compiled is None:
        return (
            "gsplat found no CUDA toolkit to build its kernels with: install nvcc of CUDA "
            f"{torch.version.cuda} and set CUDA_HOME, {instead}"
        )
    return None


def render(means, scales, rotations, colors, opacities, width: int, height: int):
    """See `GS2D.rasterize`; computed in float32 on the GPU, returned on the device of `means`."""
    if len(means) == 0:
        # A gradient can be asked for all the same.
        nothing = sum(part.sum() for part in (means, scales, rotations, colors, opacities))
        return means.new_zeros(height, width, 3) + nothing, means.new_zeros(height, width) + nothing
    device = means.device if means.is_cuda else DEVICE
    tensors = [t.float().to(device) for t in (means, scales, rotations, colors, opacities)]
    with torch.no_grad():
        owner = torch.zeros(len(means), dtype=torch.int64, device=device)
        reach = REACH * covariances(*tensors[1:3]).diagonal(dim1=1, dim2=2).sqrt()
        tiles = tile_lists(tensors[0], reach, owner, 1, width, height)
    image, alpha = draw(*tensors, tiles, width, height)
    return image[0].to(means.device), alpha[0].to(means.device)


def tile_lists(means, reach, owner, photos: int, width: int, height: int):
    """Which Gaussians each tile of each photo composites, in their order.

    The host waits for this one: how long the lists are decides what is allocated. Of the Gaussians
    of all photos: means [N, 2], each in pixels of its own photo; reach [N, 2], half width and half
    height in pixels of the box that a Gaussian stays in; owner int64 [N], its photo, ascending.
    All photos have one size; smaller ones are at the upper left.

    Returns the first entry of every tile, int32 [photos, tiles down, across], and the entries.
    """
    from gsplat.cuda._wrapper import isect_offset_encode, isect_tiles

    across, down = -(-width // TILE), -(-height // TILE)
    # Depth sorts the Gaussians of a tile; equal depths keep their index order, which is the order
    # of annotation.
    depths, radii = torch.ones_like(means[:, 0]), torch.ceil(reach).int()
    whose = {"packed": True, "n_images": photos, "image_ids": owner, "gaussian_ids": owner}
    _, ids, entries = isect_tiles(means, radii, depths, TILE, across, down, **whose)
    return isect_offset_encode(ids, photos, across, down), entries


def draw(means, scales, rotations, colors, opacities, tiles, width: int, height: int):
    """Composite the Gaussians of all photos: images [photos, H, W, 3] and alphas [photos, H, W].

    `tiles` comes from `tile_lists`; a list may name Gaussians that do not reach its tile.
    """
    from gsplat.cuda._wrapper import rasterize_to_pixels

    covariance = covariances(scales, rotations)
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    determinant = (scales[:, 0] * scales[:, 1]) ** 2
    conics = torch.stack([yy, -xy, xx], dim=-1) / determinant[:, None]
    image, alpha = rasterize_to_pixels(
        means, conics, colors, opacities, width, height, TILE, *tiles, packed=True
    )
    return image, alpha[..., 0]
