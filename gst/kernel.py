"""The transport kernel K(n | x): which annotation the density of a cell belongs to.

The paper reaches the kernel in two steps, and so does this module:

1. *Pixel to Gaussian.* The centre x of a cell is explained by Gaussian g with responsibility
   P(g | x), Bayes' rule over the splatted Gaussians and one background hypothesis.
2. *Gaussian to annotation.* K(n | x) = sum over g of P(n | g) P(g | x). With one Gaussian per
   annotation, as in the released code, P(n | g) is the identity; `owners` says otherwise when
   several Gaussians describe one head, or some describe the background.

The Gaussians are fixed before training, so K needs no iterations and no gradient, though it is
differentiable in all that it is made from.
"""

import math
from numbers import Integral

import torch
from torch import Tensor
from torch.nn import functional

from crowd.io.arrays import as_tensor
from gst.options import KernelOptions

BACKGROUND = -1
"""Owner of a Gaussian that belongs to no annotation."""


def transport_kernel(
    points,
    scales,
    rotations,
    crop_size: int | tuple[int, int],
    stride: int = 8,
    background_ratio: float = KernelOptions.background_ratio,
    cut_off: float = KernelOptions.cut_off,
    post_min: float = KernelOptions.post_min,
    post_max: float = KernelOptions.post_max,
    scale_ratio: float = KernelOptions.scale_ratio,
    use_background: bool = KernelOptions.use_background,
    owners=None,
    annotations: int | None = None,
) -> Tensor:
    """Transport kernel of one crop (paper, transport plan from Bayes' rule; released code).

    Of Gaussians with centres `points` x, y [N, 2], pixels of the crop; standard deviations `scales`
    [N, 2] along their own axes, pixels; and `rotations` [N] or [N, 1], the angle from the x axis to
    the first of these, radians. `crop_size` is the side of a square crop, or (height, width),
    `stride` that of a cell of the density map, both in pixels. `owners` [N] names the annotation
    0 … A − 1 of each Gaussian, or `BACKGROUND`; else Gaussian n belongs to annotation n.
    `annotations` is A where the last of them may own no Gaussian (default: the largest owner + 1).
    All others are `KernelOptions`. Arrays are numpy or torch, on any device; the kernel is float32
    on the device of `points`.

    Returns:
        K, [N + 1, cells] with the background in the last row, or [N, cells] without background;
        cells = (height // stride) · (width // stride), row by row, and every column sums to 1.
        With `owners`, A rows take the place of N. Without any Gaussian all belongs to the
        background: [1, cells] of ones, or [0, cells] without background; `transport_loss` counts
        either as it counts the kernel None.

    Raises:
        ValueError: the arrays do not fit each other or hold a NaN or infinite value, an option is
            no positive number, or an owner is none of the kernel's rows.
    """
    points, scales, rotations = as_gaussians(points, scales, rotations)
    options = KernelOptions(
        background_ratio, cut_off, post_min, post_max, scale_ratio, use_background
    )
    responsibilities = gaussian_kernel(points, scales, rotations, crop_size, stride, options)
    if owners is None:
        return responsibilities
    owners = as_tensor(owners).to(points.device, torch.long)
    if len(owners) != len(points):
        raise ValueError(f"{len(points)} Gaussians need as many owners, not {len(owners)}")
    largest = int(owners.max()) if len(owners) else BACKGROUND
    annotations = largest + 1 if annotations is None else annotations
    least = BACKGROUND if use_background else 0
    if len(owners) and not least <= int(owners.min()) <= largest < annotations:
        raise ValueError(f"owners are {least} … {annotations - 1}, not {owners.tolist()[:8]} …")
    rows = owners.where(owners != BACKGROUND, annotations)
    rows = functional.pad(rows, (0, use_background), value=annotations)
    kernel = responsibilities.new_zeros(annotations + use_background, responsibilities.shape[1])
    return kernel.index_add(0, rows, responsibilities)


def gaussian_kernel(
    points: Tensor,
    scales: Tensor,
    rotations: Tensor,
    crop_size: int | tuple[int, int],
    stride: int,
    options: KernelOptions,
) -> Tensor:
    """Step 1 of one crop, or of a batch: P(g | x), [..., N (+ 1), cells].

    By Bayes' rule with equal priors. Log-likelihoods: z_n − ½ log|Σ_n| for Gaussian n and, with n*
    the Gaussian of largest z, (−cut_off²/2 − z_n*) − log(|Σ_n*| / background_ratio) for the
    background (released code).
    Arguments as for `transport_kernel`, float32 [..., N, 2], [..., N, 2], [..., N] on one device.
    """
    scales = (scales * options.scale_ratio).clamp(*options.limits(stride))
    xs, ys = cell_centers(crop_size, stride, points.device)
    exponents = gaussian_exponents(points, scales, rotations, xs, ys)
    log_determinants = 2 * scales.log().sum(-1)
    log_likelihoods = exponents - 0.5 * log_determinants[..., None]
    if options.use_background and scales.shape[-2]:
        largest, nearest = exponents.max(-2)
        background = math.log(options.background_ratio) - log_determinants.gather(-1, nearest)
        background = background - largest - options.cut_off**2 / 2
        log_likelihoods = torch.cat([log_likelihoods, background[..., None, :]], -2)
    elif options.use_background:
        log_likelihoods = exponents.new_zeros(1, exponents.shape[1])
    return log_likelihoods.softmax(-2)


def cell_centers(
    crop_size: int | tuple[int, int], stride: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Centres of the density map's cells: xs [width // stride], ys [height // stride], pixels."""
    height, width = (crop_size, crop_size) if isinstance(crop_size, Integral) else crop_size
    if min(height, width) < stride:
        raise ValueError(f"a crop of {height} x {width} pixels has no cell of {stride} pixels")
    xs, ys = (
        torch.arange(side // stride, device=device) * stride + stride / 2
        for side in (width, height)
    )
    return xs, ys


def gaussian_exponents(
    points: Tensor, scales: Tensor, rotations: Tensor, xs: Tensor, ys: Tensor
) -> Tensor:
    """z_n(x) = −½ dᵀ Σ_n⁻¹ d with d = x − point n, Σ = R diag(s²) Rᵀ; [..., N, len(ys) · len(xs)].

    dᵀ Σ⁻¹ d is a function of the column, one of the row, and one product of both, so the full
    grid is written only twice. Distances are taken from each Gaussian's own centre: expanding the
    square around the crop's origin would cancel in float32.
    """
    cosine, sine = rotations.cos(), rotations.sin()
    precision0, precision1 = scales.pow(-2).unbind(-1)
    inverse_xx = cosine**2 * precision0 + sine**2 * precision1
    inverse_yy = sine**2 * precision0 + cosine**2 * precision1
    inverse_xy = cosine * sine * (precision0 - precision1)
    dx = xs - points[..., :1]
    dy = ys - points[..., 1:]
    columns = -0.5 * inverse_xx[..., None] * dx**2
    rows = -0.5 * inverse_yy[..., None] * dy**2
    squares = columns[..., None, :] + rows[..., :, None]
    tilted = inverse_xy[..., None] * dy
    return torch.addcmul(squares, tilted[..., None], dx[..., None, :], value=-1).flatten(-2)


def as_gaussians(points, scales, rotations) -> tuple[Tensor, Tensor, Tensor]:
    """Float32 tensors [N, 2], [N, 2], [N] on one device; `ValueError` when they do not fit."""
    points = as_tensor(points).float()
    scales, rotations = (as_tensor(array).to(points) for array in (scales, rotations))
    count = len(points)
    fits = rotations.shape in ((count,), (count, 1))
    if not (points.shape == scales.shape == (count, 2) and fits):
        raise ValueError(
            "points [N, 2], scales [N, 2] and rotations [N] or [N, 1] are needed, not "
            f"{list(points.shape)}, {list(scales.shape)} and {list(rotations.shape)}"
        )
    if not all(array.isfinite().all() for array in (points, scales, rotations)):
        raise ValueError("points, scales and rotations must be finite")
    return points, scales, rotations.reshape(count)


def transport_kernel_reference(
    points,
    scales,
    rotations,
    crop_size: int | tuple[int, int],
    stride: int = 8,
    owners=None,
    **options: float,
) -> Tensor:
    """Readable twin of `transport_kernel`, as the formulas read, in float64.

    Its options are given by keyword; without `annotations`, the last of them owns a Gaussian.
    """
    options = KernelOptions(**options)
    points, scales, rotations = (
        array.double() for array in as_gaussians(points, scales, rotations)
    )
    scales = torch.clamp(options.scale_ratio * scales, *options.limits(stride))
    cosine, sine = rotations.cos(), rotations.sin()
    turn = torch.stack([cosine, -sine, sine, cosine], -1).reshape(-1, 2, 2)
    covariance = turn @ torch.diag_embed(scales**2) @ turn.mT
    xs, ys = cell_centers(crop_size, stride)
    d = torch.cartesian_prod(ys, xs).flip(1) - points[:, None]
    z = -0.5 * torch.einsum("nxi,nij,nxj->nx", d, torch.linalg.inv(covariance), d)
    log_determinant = torch.logdet(covariance)
    logits = z - 0.5 * log_determinant[:, None]
    if options.use_background and len(points):
        largest, nearest = z.max(0)
        area = log_determinant[nearest] - math.log(options.background_ratio)
        logits = torch.cat([logits, (-(options.cut_off**2) / 2 - largest - area)[None]])
    elif options.use_background:
        logits = z.new_zeros(1, z.shape[1])
    shares = logits.softmax(0)
    if owners is None:
        return shares
    owners = torch.tensor([*owners, *[BACKGROUND] * options.use_background])
    annotations = [*range(max(owners) + 1), *[BACKGROUND] * options.use_background]
    return (torch.tensor(annotations)[:, None] == owners).double() @ shares
