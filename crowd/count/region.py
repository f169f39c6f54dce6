"""Region of interest: counting only the people inside polygons or a mask, and people per m²."""

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crowd.data.folders import IMAGE_SUFFIXES
from crowd.data.images import read_mask
from crowd.io.errors import InputError
from crowd.io.files import read_text, require_file

CELL = 8  # side of a cell of a density map, pixels of the photo as the network sees it
KEYS = ("polygons", "mask", "area_m2")
_SHAPE = (
    'a region is [[x, y], …] or {"polygons": [[[x, y], …], …], "area_m2": 120.5}, with a file '
    'name under "mask" in place of polygons if you like'
)


@dataclass(frozen=True, eq=False)
class Region:
    """Part of a photo in which people are counted, in pixels of the photo as it is stored."""

    path: Path  # file that it comes from
    polygons: tuple[np.ndarray, ...] = ()  # corners (x, y), [K, 2] each; what lies in any is inside
    picture: np.ndarray | None = None  # mask of the photo's size, bool [H, W], in their place
    area_m2: float | None = None  # of the ground, square metres, where the user says so

    def require_fit(self, width: int, height: int, name: str) -> None:
        """Raise `InputError` unless the region lies in the photo `name` of that stored size."""
        photo = f"{name}, which is {width} × {height} pixels as stored"
        if self.picture is not None and self.picture.shape != (height, width):
            rows, columns = self.picture.shape
            raise InputError(
                f"{self.path} is a mask of {columns} × {rows} pixels for {photo}: draw it on that "
                "photo, unrotated and unscaled"
            )
        for polygon in self.polygons:
            outside = ((polygon < 0) | (polygon > (width, height))).any(axis=1)
            if outside.any():
                x, y = polygon[outside][0]
                raise InputError(
                    f"{self.path} has the corner ({x:g}, {y:g}) outside {photo}: give corners in "
                    "pixels of that photo, as points.csv does"
                )

    def mask(self, width: int, height: int) -> np.ndarray:
        """Mark the pixels whose centre lies in the region, bool [height, width], as stored.

        Raises `InputError` when there are none.
        """
        if self.picture is not None:
            return self.picture
        inside = np.zeros((height, width), bool)
        for polygon in self.polygons:
            inside |= polygon_mask(polygon, width, height)
        if not inside.any():
            raise InputError(f"{self.path} encloses no pixel of the photo: move its corners apart")
        return inside


def polygon_mask(polygon: np.ndarray, width: int, height: int) -> np.ndarray:
    """Mark the pixels whose centre lies in a polygon [K, 2] (even-odd rule), bool [height, width].

    An edge flips every pixel to its right in the rows that it crosses.
    """
    inside = np.zeros((height, width + 1), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        (x0, y0), (x1, y1) = sorted([(x0, y0), (x1, y1)], key=lambda corner: corner[1])
        rows = np.arange(max(math.ceil(y0 - 0.5), 0), min(math.ceil(y1 - 0.5), height))
        if len(rows):
            crossings = x0 + (rows + 0.5 - y0) * ((x1 - x0) / (y1 - y0))
            inside[rows, np.ceil(crossings - 0.5).astype(int).clip(0, width)] ^= True
    return np.logical_xor.accumulate(inside, axis=1, out=inside)[:, :width]


def count_inside(
    mask: np.ndarray, heads: np.ndarray, density: np.ndarray | None, seen: tuple[int, int]
) -> tuple[float, np.ndarray]:
    """Count the people in a region: the density's sum within a mask, and the heads in it.

    Args:
        mask: of the upright photo, bool [H, W].
        heads: (x, y) [M, 2], in pixels of the photo at the size `seen`.
        density: people per cell [h, w], squares of `CELL` pixels at that size from the corner on;
            None where every head counts as one.
        seen: (width, height) of the photo as the network sees it.

    Returns:
        The count, to which a cell that lies partly inside adds that share of it; and which of the
        heads lie inside, bool [M].
    """
    height, width = mask.shape
    columns, rows = np.floor(heads * np.divide((width, height), seen)).astype(int).T
    inside = mask[rows.clip(0, height - 1), columns.clip(0, width - 1)]
    if density is None:
        return float(inside.sum()), inside
    return float((density * cell_shares(mask, density.shape, seen)).sum()), inside


def cell_shares(mask: np.ndarray, cells: tuple[int, int], seen: tuple[int, int]) -> np.ndarray:
    """Share of each cell of a density map that lies in a mask, float64 [h, w] in [0, 1].

    Arguments as in `count_inside`; `cells` is the shape (h, w) of the map. What of a cell lies
    beyond the photo is not looked at.
    """
    means = mask
    for number, side in zip(cells, seen[::-1], strict=True):
        edges = np.minimum(np.arange(number + 1) * CELL, side) * (len(means) / side)
        means = _averages(means, edges).T
    return means


def _averages(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Mean of the rows [n, m] between one edge and the next; parts of a row count by share."""
    sums = np.vstack([np.zeros_like(values[:1], float), np.cumsum(values, axis=0)])
    rows = np.minimum(edges.astype(int), len(values) - 1)
    shares = (edges - rows)[:, None]
    sums = sums[rows] * (1 - shares) + sums[rows + 1] * shares
    return np.diff(sums, axis=0) / np.diff(edges)[:, None]


def read_region(path: str | os.PathLike) -> Region:
    """Read a region: polygons as JSON, or a mask picture whose pixels inside are not zero.

    Raises:
        InputError: no such file, neither of both, a polygon of fewer than three corners, a region
            that is empty or an area that is not above 0.
    """
    path = require_file(path, "check the path of the region")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        return Region(path, picture=_read_picture(path))
    try:
        content = json.loads(read_text(path, _SHAPE), parse_int=float)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is neither JSON nor a picture: {_SHAPE}") from error
    return region_of(content, path)


def region_of(content: object, path: Path) -> Region:
    """Make a region of what a JSON file holds, or would hold; raise as `read_region` does."""
    content = {"polygons": [content]} if isinstance(content, list) else content
    if not isinstance(content, dict) or ("polygons" in content) == ("mask" in content):
        raise InputError(f"{path} holds no region: {_SHAPE}")
    unknown = set(content) - set(KEYS)
    if unknown:
        raise InputError(f"{path} has the unknown key {min(unknown)}: use {', '.join(KEYS)}")
    area = content.get("area_m2")
    if area is not None and not (isinstance(area, float) and 0 < area < math.inf):
        raise InputError(f"{path} has the area {area!r}: give square metres, a number above 0")
    if "mask" in content:
        if not isinstance(content["mask"], str):
            raise InputError(f"{path} names no mask: {_SHAPE}")
        return Region(path, picture=_read_picture(path.parent / content["mask"]), area_m2=area)
    polygons = content["polygons"]
    if not isinstance(polygons, list) or not polygons:
        raise InputError(f"{path} holds no polygon: {_SHAPE}")
    return Region(path, tuple(_polygon(path, corners) for corners in polygons), area_m2=area)


def _read_picture(path: Path) -> np.ndarray:
    mask = read_mask(path)
    if not mask.any():
        raise InputError(f"{path} is zero everywhere: paint what is to be counted, say in white")
    return mask


def _polygon(path: Path, corners: object) -> np.ndarray:
    try:
        polygon = np.array(corners or np.zeros((0, 2)))
        if polygon.dtype.kind != "f" or polygon.shape[1:] != (2,) or not np.isfinite(polygon).all():
            raise ValueError
    except ValueError as error:
        raise InputError(f"{path} has a corner that is not two numbers: {_SHAPE}") from error
    if len(polygon) < 3:
        raise InputError(f"{path} has a polygon of {len(polygon)} corners: three are the least")
    return polygon
