"""What can be drawn over a processed photo: its Gaussians, and whose each cell of the kernel is."""

import colorsys
from pathlib import Path

import numpy as np

from crowd.data.images import read_size
from GS2D.store import gaussians_path
from gst.dataset import read_heads
from gst.kernel import transport_kernel
from gst.options import STRIDE
from gst.photos import read_preprocessing

_TURN = 0.618  # between the hues of one head and the next, so that neighbours seldom look alike


def processed_layers(photo: Path) -> dict | None:
    """Gaussians and transport kernel of a training photo; None for one without Gaussians.

    Returns:
        gaussians: centre, standard deviations and angle of each, float32 [N, 5], pixels, radians.
        kernel: colours of the cells, uint8 [H // 8, W // 8, 4], by the head that each belongs to
            most; the more, the less transparent.

    Raises:
        InputError: as `gst.dataset.read_heads` does.
    """
    if not gaussians_path(photo).is_file():
        return None
    points, scales, rotations, _ = read_heads(photo, read_preprocessing(photo.parent.parent))
    owners, shares = kernel_owners(points, scales, rotations, read_size(photo))
    hues = np.arange(max(len(points), 1)) * _TURN % 1
    colours = np.array([colorsys.hsv_to_rgb(hue, 0.75, 1) for hue in hues])
    kernel = np.concatenate([colours[owners], 0.75 * shares[..., None]], axis=2)
    gaussians = np.concatenate([points, scales, rotations[:, None]], axis=1)
    return {"gaussians": gaussians, "kernel": (255 * kernel).round().astype(np.uint8)}


def kernel_owners(
    points: np.ndarray, scales: np.ndarray, rotations: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """The head that each cell of a photo of `size` (width, height) belongs to most.

    Rows of `gst.transport_kernel`, which is computed for one row of cells at a time, int
    [H // 8, W // 8], and their responsibility there, in [0, 1].
    """
    owners = np.zeros((size[1] // STRIDE, size[0] // STRIDE), int)
    shares = np.zeros(owners.shape)
    for row in range(len(owners) if len(points) else 0):
        above = points - [0, row * STRIDE]
        kernel = transport_kernel(above, scales, rotations, (STRIDE, size[0]))
        shares[row], owners[row] = kernel[:-1].max(dim=0)
    return owners, shares
