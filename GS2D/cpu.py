"""The CPU rasteriser: compiled kernels behind an autograd function."""

from __future__ import annotations

import numba
import numpy as np
import torch

from GS2D import kernels


def threads() -> int:
    """Number of threads to use: torch's setting, within what NUMBA_NUM_THREADS allows."""
    number = max(1, min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    numba.set_num_threads(number)
    return number


def render(means, scales, rotations, colors, opacities, width: int, height: int):
    """See `GS2D.rasterize`; computed in float32 on the CPU, returned on the device of `means`."""
    tensors = (means, scales, rotations, colors, opacities)
    image, alpha = _Render.apply(*(tensor.float().cpu() for tensor in tensors), width, height)
    return image.to(means.device), alpha.to(means.device)


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(ctx, means, scales, rotations, colors, opacities, width, height):
        arrays = [
            tensor.detach().contiguous().numpy()
            for tensor in (means, scales, rotations, colors, opacities)
        ]
        ctx.arrays = arrays
        planes = kernels.render(*arrays, width, height, threads())
        return torch.from_numpy(planes[1:]).permute(1, 2, 0), torch.from_numpy(1.0 - planes[0])

    @staticmethod
    def backward(ctx, v_image, v_alpha):
        cotangent = np.concatenate([v_alpha[None].numpy(), v_image.permute(2, 0, 1).numpy()])
        gradient = kernels.gradients(*ctx.arrays, cotangent.astype(np.float32), threads())
        gradient = torch.from_numpy(gradient.astype(np.float32))
        means, scales, rotations, opacities, colors = gradient.split([2, 2, 1, 1, 3], dim=1)
        return means, scales, rotations[:, 0], colors, opacities[:, 0], None, None
