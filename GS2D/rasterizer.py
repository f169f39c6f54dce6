"""`rasterize`: draw 2D Gaussians over each other, differentiably, on CPU or CUDA."""

from __future__ import annotations

import torch

from crowd.io.arrays import as_tensor

BACKENDS = ("reference", "cpu", "gsplat")
MAX_ALPHA = 0.999
MIN_ALPHA = 1.0 / 255.0
MIN_TRANSMITTANCE = 1e-4
PAIRS_AT_ONCE = 1 << 22


def rasterize(
    means, scales, rotations, colors, width: int, height: int, opacities=None, backend: str = "auto"
):
    """Composite N Gaussians front to back, in the order given.

    alpha_i = min(0.999, o_i exp(-d^T S_i^-1 d / 2)) with S_i = R diag(s^2) R^T,
    R = [[cos, -sin], [sin, cos]], d from the Gaussian's centre to the pixel's centre (+0.5); terms
    below 1/255 are skipped, and a pixel is finished before the first Gaussian that would take its
    transmittance to 1e-4 or less. These are the rules of gsplat (Ye et al., 2024).

    Args:
        means: [N, 2] x, y in pixels.
        scales: [N, 2] standard deviations along the two axes, in pixels.
        rotations: [N] or [N, 1] angle of the first axis, in radians.
        colors: [N, 3].
        width: Width of the image in pixels.
        height: Height of the image in pixels.
        opacities: [N] in [0, 1]; ones when left out.
        backend: "cpu" (compiled kernel), "gsplat" (CUDA), "reference" (readable autograd, any
            precision), or "auto": gsplat for CUDA tensors where it can be used, cpu otherwise.

    Returns:
        image [H, W, 3] and alpha [H, W] = 1 - final transmittance: numpy for numpy, torch for torch
        (then differentiable in means, scales, rotations, colors and opacities).

    Raises:
        ValueError: shapes do not fit, an opacity is outside [0, 1], or the backend is unknown.
        InputError: backend "gsplat" cannot be used on this machine.
    """
    given = (means, scales, rotations, colors, opacities)
    wants_numpy = not any(isinstance(value, torch.Tensor) for value in given)
    tensors = _checked(*given, width, height)
    backend, render = choose_backend(backend, tensors[0].is_cuda), render_reference
    if backend == "cpu":
        from GS2D.cpu import render
    elif backend == "gsplat":
        from GS2D.gsplat_backend import render
    image, alpha = render(*tensors, width, height)
    return (image.numpy(), alpha.numpy()) if wants_numpy else (image, alpha)


def choose_backend(backend: str, on_cuda: bool) -> str:
    """Resolve "auto"; raise `ValueError` for a name that is no backend."""
    if backend == "auto":
        from GS2D.gsplat_backend import why_unusable

        return "gsplat" if on_cuda and why_unusable() is None else "cpu"
    if backend not in BACKENDS:
        raise ValueError(f"backend '{backend}' is unknown: choose auto, {', '.join(BACKENDS)}")
    return backend


def _checked(means, scales, rotations, colors, opacities, width, height) -> list[torch.Tensor]:
    """Bring all arguments to tensors of one floating type and device, and check their shapes."""
    means = as_tensor(means)
    means = means if means.is_floating_point() else means.float()
    number = len(means)
    opacities = means.new_ones(number) if opacities is None else opacities
    scales, rotations, colors, opacities = (
        as_tensor(value).to(means) for value in (scales, rotations, colors, opacities)
    )
    tensors = [means, scales, rotations.reshape(-1), colors, opacities.reshape(-1)]
    shapes = [tuple(tensor.shape) for tensor in tensors]
    if shapes != [(number, 2), (number, 2), (number,), (number, 3), (number,)]:
        raise ValueError(
            "expected means [N, 2], scales [N, 2], rotations [N], colors [N, 3], opacities [N]; "
            f"got {', '.join(str(list(shape)) for shape in shapes)}"
        )
    if width < 1 or height < 1:
        raise ValueError(f"an image of {width} x {height} pixels cannot be drawn")
    if number and not 0 <= opacities.detach().min() <= opacities.detach().max() <= 1:
        raise ValueError("opacities must lie in [0, 1]")
    return tensors


def render_reference(means, scales, rotations, colors, opacities, width: int, height: int):
    """The readable rasteriser: every rule a line of torch, every gradient autograd's.

    Tensors of one floating type, rotations and opacities [N]. Rows are rendered in strips, each
    with the Gaussians that can reach it, to bound the memory.
    """
    rows_at_once = max(1, PAIRS_AT_ONCE // (width * max(len(means), 1)))
    strips = [
        _render_rows(means, scales, rotations, colors, opacities, width, top, bottom)
        for top in range(0, height, rows_at_once)
        for bottom in [min(top + rows_at_once, height)]
    ]
    images, alphas = zip(*strips, strict=True)
    return torch.cat(images), torch.cat(alphas)


def covariances(scales: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """S = R diag(s^2) R^T, [N, 2, 2], from scales [N, 2] in pixels and rotations [N] in radians."""
    cosine, sine = torch.cos(rotations), torch.sin(rotations)
    rotation = torch.stack([cosine, -sine, sine, cosine], dim=-1).reshape(-1, 2, 2)
    axes = rotation * scales[:, None, :]
    return axes @ axes.transpose(1, 2)


def _render_rows(means, scales, rotations, colors, opacities, width, top, bottom):
    with torch.no_grad():
        # alpha >= 1/255 needs |dy| <= 3.33 sqrt(S_yy), and S_yy <= the longer axis squared.
        reach = 3.34 * scales.abs().amax(dim=1)
        near = (means[:, 1] + reach >= top) & (means[:, 1] - reach <= bottom)
    means, scales, rotations, colors, opacities = (
        tensor[near] for tensor in (means, scales, rotations, colors, opacities)
    )
    conics = torch.linalg.inv(covariances(scales, rotations))
    x = torch.arange(width, dtype=means.dtype, device=means.device) + 0.5
    y = torch.arange(top, bottom, dtype=means.dtype, device=means.device) + 0.5
    dx = (x[:, None] - means[:, 0])[None, :, :]
    dy = (y[:, None] - means[:, 1])[:, None, :]
    sigma = 0.5 * (conics[:, 0, 0] * dx**2 + conics[:, 1, 1] * dy**2) + conics[:, 0, 1] * dx * dy
    alpha = (opacities * torch.exp(-sigma)).clamp(max=MAX_ALPHA)
    alpha = torch.where(alpha >= MIN_ALPHA, alpha, 0.0)
    # The product only falls, so "would take it to 1e-4 or less" holds from the first such Gaussian
    # on: the pixel is finished there, and that Gaussian is already left out.
    alpha = torch.where(torch.cumprod(1.0 - alpha, dim=-1) > MIN_TRANSMITTANCE, alpha, 0.0)
    untouched = alpha.new_ones(*alpha.shape[:-1], 1)
    before = torch.cumprod(torch.cat([untouched, 1.0 - alpha], dim=-1), dim=-1)
    return (alpha * before[..., :-1]) @ colors, 1.0 - before[..., -1]
