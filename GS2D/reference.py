"""The readable rasteriser, twin of the compiled one and of gsplat: plain torch, any precision."""

import torch

MAX_ALPHA = 0.999
MIN_ALPHA = 1.0 / 255.0
MIN_TRANSMITTANCE = 1e-4
PAIRS_AT_ONCE = 1 << 22


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
        area = scales.prod(dim=1)
        near &= (area != 0) & area.isfinite()  # others are not drawn
    means, scales, rotations, colors, opacities = (
        tensor[near] for tensor in (means, scales, rotations, colors, opacities)
    )
    conics = covariances(1 / scales, rotations)  # the inverse, of needles too
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
