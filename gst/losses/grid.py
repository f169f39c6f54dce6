"""Where heads lie on the grid of a density map."""

from __future__ import annotations

from torch import Tensor

from gst.kernel import cell_centers

STRIDE = 8  # pixels a cell


def centers(shape: tuple[int, int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Centres of the columns `[w]` and rows `[h]` of a map of h × w cells, pixels."""
    xs, ys = cell_centers((shape[0] * STRIDE, shape[1] * STRIDE), STRIDE, like.device)
    return xs.to(like), ys.to(like)


def squared_distances(points: Tensor, shape: tuple[int, int]) -> Tensor:
    """Squared distance of heads `[..., 2]` and centres of cells, `[..., h · w]`, pixels squared."""
    xs, ys = centers(shape, points)
    across = (points[..., :1] - xs).square()[..., None, :]
    return (across + (points[..., 1:] - ys).square()[..., None]).flatten(-2)


def nearest_cells(points: Tensor, shape: tuple[int, int]) -> Tensor:
    """Index of the cell that each head `[..., 2]` lies in, or of the nearest outside, `[...]`."""
    height, width = shape
    column, row = (points / STRIDE).floor().long().unbind(-1)
    return row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
