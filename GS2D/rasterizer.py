"""`rasterize`: draw 2D Gaussians over each other, differentiably, on CPU or CUDA."""

import torch

from crowd.io.arrays import as_tensor
from crowd.io.errors import InputError
from GS2D import gsplat_backend
from GS2D.reference import render_reference

BACKENDS = ("reference", "cpu", "gsplat")


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
        from GS2D.cpu import render  # numba takes a second
    elif backend == "gsplat":
        render = gsplat_backend.render
    image, alpha = render(*tensors, width, height)
    return (image.numpy(), alpha.numpy()) if wants_numpy else (image, alpha)


def choose_backend(backend: str, on_cuda: bool) -> str:
    """Resolve "auto"; raise `ValueError` for no backend, `InputError` for gsplat where it fails."""
    if backend == "auto":
        return "gsplat" if on_cuda and gsplat_backend.why_unusable() is None else "cpu"
    if backend not in BACKENDS:
        raise ValueError(f"backend '{backend}' is unknown: choose auto, {', '.join(BACKENDS)}")
    if backend == "gsplat" and (reason := gsplat_backend.why_unusable()) is not None:
        raise InputError(reason)
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
