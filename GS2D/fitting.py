"""Fit one 2D Gaussian per annotated head to a photo (GST, section on Gaussian splatting)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree

from crowd.io.arrays import plain
from GS2D import Convergence, fused_fit, gsplat_backend, gsplat_fit
from GS2D.fused_fit import Problem, Schedule, Solution, activate, in_unit_range
from GS2D.rasterizer import choose_backend, rasterize

NEIGHBOURS = 3
LONE_HEAD = 8.0  # pixels: the distance of a head without neighbours
SMALLEST_START = 2.0
COLOR_MARGIN = 1e-3


@dataclass(frozen=True)
class Gaussians:
    """The fitted Gaussians of one photo; all arrays float32, row i belongs to point i.

    Attributes:
        means: [N, 2] x, y in pixels: the points, unchanged.
        scales: [N, 2] standard deviations in pixels.
        rotations: [N] angle of the first axis in (0, pi).
        colors: [N, 3] in (0, 1).
        render_loss: mean L1 times H W / (number of pixels that were not copied).
        shape_loss: the largest relu(axis ratio - 1.5) over the Gaussians.
        iterations: Steps of Adam that were made.
    """

    means: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    colors: np.ndarray
    render_loss: float
    shape_loss: float
    iterations: int

    def as_params(self) -> np.ndarray:
        """Rows x, y, s0, s1, theta, r, g, b, float32 [N, 8], as `GS2D.store` writes them."""
        return np.concatenate(
            [self.means, self.scales, self.rotations[:, None], self.colors], axis=1
        ).astype(np.float32)


def fit_gaussians(
    image: np.ndarray,
    points: np.ndarray,
    iterations: int = 4000,
    lr: float = 0.01,
    backend: str = "auto",
    seed: int = 0,
    background_mask: bool = True,
    quiet: bool = False,
    convergence: Convergence | None = None,
) -> Gaussians:
    """Fit one Gaussian of opacity 1 per point: scale, rotation and colour, the centre stays.

    Minimises mean |output - image| * H W / (pixels not copied) + 0.2 max_i relu(ratio_i - 1.5),
    where output = render + image * mask, the mask marks the pixels that no Gaussian of the
    background mask reaches, and ratio is the larger over the smaller raw scale. Adam, one learning
    rate; scale = relu(raw) + 1, rotation = pi sigmoid(raw), colour = sigmoid(raw) (released code).

    Args:
        image: [H, W, 3] RGB, uint8 or float in [0, 1].
        points: [N, 2] x, y in pixels; a point outside the image takes the nearest pixel's colour.
        iterations: Steps of Adam, the most there may be with `convergence`.
        lr: Learning rate.
        backend: As in `GS2D.rasterize`; "cpu" runs loss, gradient and Adam fused.
        seed: Of the initial rotations.
        background_mask: False compares the render with the whole image.
        quiet: Show no progress bar, however long it takes.
        convergence: Stop when render loss and whole loss are flat; None: never (released code).

    Returns:
        Activated values, both losses at these values, and the iterations used.

    Raises:
        ValueError: `image` or `points` has another shape, or holds values that are not finite.
        InputError: backend "gsplat" cannot be used on this machine.
    """
    schedule = Schedule(iterations, lr, convergence)
    return fit_side_by_side([(image, points)], schedule, backend, seed, background_mask, quiet)[0]


def fit_side_by_side(
    photos: Sequence[tuple[np.ndarray, np.ndarray]],
    schedule: Schedule,
    backend: str = "auto",
    seed: int = 0,
    background_mask: bool = True,
    quiet: bool = False,
) -> list[Gaussians]:
    """As `fit_gaussians` for several (image, points): at once on a GPU, in turn elsewhere."""
    photos = [(plain(image), plain(points, np.float32)) for image, points in photos]
    for image, points in photos:
        _check(image, points)
    backend = choose_backend(backend, on_cuda=torch.cuda.is_available())
    problems = [_pose(*photo, seed, background_mask) for photo in photos if len(photo[1])]
    if backend == "gsplat":
        solutions = gsplat_fit.fit(problems, schedule, gsplat_backend.DEVICE, quiet)
    else:
        fit = fused_fit.fit if backend == "cpu" else fused_fit.fit_reference
        solutions = [fit(problem, schedule, quiet=quiet) for problem in problems]
    remaining, nobody = iter(solutions), Solution(np.zeros((0, 6), np.float32), 0.0, 0.0, 0)
    fitted = []
    for _, points in photos:
        raw, *ended = next(remaining) if len(points) else nobody
        parts = (part.numpy() for part in activate(torch.from_numpy(raw)))
        fitted.append(Gaussians(points, *parts, *ended))
    return fitted


def _pose(image: np.ndarray, points: np.ndarray, seed: int, background_mask: bool) -> Problem:
    """Where the fit of a photo with heads starts, and what it is compared with."""
    distances = neighbour_distances(points)
    raw = initial_parameters(image, points, distances, seed)
    fitted = np.ones(image.shape[:2], bool)
    if background_mask:
        fitted = fitted_pixels(points, distances, *fitted.shape)
    # |render + image mask - image| = |render - target|: a copied pixel costs what leaks into it.
    return Problem(raw, points, image * fitted[..., None], max(int(fitted.sum()), 1))


def neighbour_distances(points: np.ndarray) -> np.ndarray:
    """Root mean square distance [N] to the 3 nearest other heads, or to those there are."""
    if len(points) == 1:
        return np.full(1, LONE_HEAD)
    nearest = min(NEIGHBOURS, len(points) - 1)
    distances = cKDTree(points).query(points, k=nearest + 1)[0][:, 1:]
    return np.sqrt(np.mean(distances**2, axis=1))


def initial_parameters(
    image: np.ndarray, points: np.ndarray, distances: np.ndarray, seed: int
) -> np.ndarray:
    """Start of the raw parameters [N, 6].

    Scales at max(log distance, 2), rotations uniform in (0, pi), colours those of the pixel under
    the centre: row y, column x (the released code reads the photo transposed).
    """
    height, width = image.shape[:2]
    column = np.clip(np.floor(points[:, 0]).astype(int), 0, width - 1)
    row = np.clip(np.floor(points[:, 1]).astype(int), 0, height - 1)
    colors = np.clip(in_unit_range(image[row, column]), COLOR_MARGIN, 1.0 - COLOR_MARGIN)
    turn = np.random.default_rng(seed).uniform(1e-6, 1.0 - 1e-6, (len(points), 1))
    # log of a distance below 1 px is negative, of 0 minus infinity: the maximum ends both.
    scale = np.log(np.maximum(distances, np.exp(SMALLEST_START)))[:, None]
    parts = [scale, scale, _logit(turn), _logit(colors)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _logit(probability: np.ndarray) -> np.ndarray:
    return np.log(probability) - np.log1p(-probability)


def fitted_pixels(points: np.ndarray, distances: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels bool [H, W] that the background mask's Gaussians reach; the others are copied.

    They are isotropic, of scale clamp(distance / 6, 2, 0.015 max(W, H)), and reach as far as
    alpha >= 1/255.
    """
    # As torch.clamp does, the upper bound wins where a small image puts it below the lower one.
    scale = np.minimum(np.maximum(distances / 6.0, 2.0), 0.015 * max(width, height))
    scales = np.repeat(scale[:, None], 2, axis=1)
    white = np.ones((len(points), 3))
    alpha = rasterize(points, scales, np.zeros(len(points)), white, width, height, backend="cpu")[1]
    return alpha > 0.0


def _check(image: np.ndarray, points: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ValueError(f"expected an RGB image [H, W, 3], got {list(image.shape)}")
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"expected points [N, 2], got {list(points.shape)}")
    if not np.isfinite(points).all():
        raise ValueError("points hold values that are not finite")
    if image.dtype != np.uint8 and not (image.min() >= 0.0 and image.max() <= 1.0):
        raise ValueError("an image is uint8, or floating point in [0, 1]")
