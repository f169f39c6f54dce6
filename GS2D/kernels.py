"""Compiled tile kernels of the CPU rasteriser: forward, L1 and backward in one visit of a tile.

The image is cut into tiles that fit the first-level cache. Inside a tile every Gaussian is a stack
of row slices (see `GS2D.geometry`). The inner loops run over slices in planar float32 arrays, with
masks in place of branches and a polynomial for the exponential, so that LLVM vectorises them.
Weights of all visited pixels wait in a stash for the backward pass, which therefore needs no second
exponential. Gradients are kept per (tile, Gaussian) and summed later in a fixed order: the result
does not depend on the number of threads.

numba's cache notices a change of the file alone in which a compiled function stands, so that
functions that call each other must share this file.
"""

from __future__ import annotations

import numpy as np
from numba import njit

TILE_WIDTH = 128
TILE_HEIGHT = 16
LANES = 8  # slices are padded to whole vectors: no scalar remainder

# Constants have the type in which the kernels use them: a Python float would make the arithmetic
# double, a signed index would cost a wrap-around test at every access.
_MAX_ALPHA, _MIN_ALPHA = np.float32(0.999), np.float32(1.0 / 255.0)
_MIN_TRANSMITTANCE = np.float32(1e-4)
_ZERO, _HALF, _ONE, _TWO = (np.float32(value) for value in (0.0, 0.5, 1.0, 2.0))
_ROW = 4 * TILE_WIDTH  # a tile row: transmittance, red, green, blue
_R, _G, _B = (np.uint64(plane * TILE_WIDTH) for plane in (1, 2, 3))
_FAST = {"contract", "reassoc", "nsz", "arcp"}


def _exponential(degree: int = 5) -> list[np.float32]:
    """Coefficients of a polynomial for exp(-t), t in [0, 3/4], of small relative error."""
    nodes = 0.375 - 0.375 * np.cos((np.arange(200) + 0.5) * np.pi / 200)
    relative = np.vander(nodes, degree + 1, increasing=True) * np.exp(nodes)[:, None]
    return [np.float32(c) for c in np.linalg.lstsq(relative, np.ones(200), rcond=None)[0]]


_E0, _E1, _E2, _E3, _E4, _E5 = _exponential()
_EIGHTH, _T_END = np.float32(0.125), np.float32(0.75)


@njit(inline="always")
def _exp_minus_eight(t):
    """exp(-8 t), t >= 0; from t = 3/4 on, where it is below 1/255, it stays at exp(-6)."""
    t = min(t, _T_END)
    e = _E0 + t * (_E1 + t * (_E2 + t * (_E3 + t * (_E4 + t * _E5))))
    e = e * e
    e = e * e
    return e * e


@njit(inline="always")
def _forward_slice(tile, stash, at, put, length, offset, precision, rest, color):
    """Composite one slice; leave w = alpha T and alpha in the stash.

    -log(o exp(-sigma)) / 8 is rest + precision (x - xc)^2, `offset` is x - xc of the first pixel.
    The transmittance of a finished pixel becomes 0, which makes the stop sticky.
    """
    red, green, blue = color
    t, w, a = np.uint64(at), np.uint64(put), np.uint64(put + length)
    for j in range(np.uint64(length)):
        d = np.float32(np.int32(j)) + offset
        alpha = _exp_minus_eight(rest + precision * d * d)
        alpha = min(alpha, _MAX_ALPHA) if alpha >= _MIN_ALPHA else _ZERO
        before = tile[t + j]
        after = before * (_ONE - alpha)
        lives = after > _MIN_TRANSMITTANCE
        alpha = alpha if lives else _ZERO
        weight = alpha * before
        tile[t + j] = after if lives else _ZERO
        tile[t + _R + j] += weight * red
        tile[t + _G + j] += weight * green
        tile[t + _B + j] += weight * blue
        stash[w + j] = weight
        stash[a + j] = alpha


@njit(inline="always")
def _backward_slice(tile, stash, sums, at, put, column, length, dy, color):
    """Add the slice's slopes s = dL/dsigma to the columns of `sums`: s, s dy, s dy^2, dL/dcolour.

    The tile's colour planes hold V = dL/dcolour of the image. Its first plane holds E, what the
    Gaussians behind send through V: behind the last one -dL/dalpha of the image, then
    E <- E + alpha (colour . V - E). In these terms dL/dsigma = w (E - colour . V), without the
    division by 1 - alpha that storing the sum of the weighted colours would need.
    """
    red, green, blue = color
    t, w, a = np.uint64(at), np.uint64(put), np.uint64(put + length)
    c = np.uint64(column)
    for j in range(np.uint64(length)):
        v0, v1, v2 = tile[t + _R + j], tile[t + _G + j], tile[t + _B + j]
        weight, alpha, behind = stash[w + j], stash[a + j], tile[t + j]
        ahead = red * v0 + green * v1 + blue * v2 - behind
        tile[t + j] = behind + alpha * ahead
        # No gradient passes where alpha is capped.
        slope = -weight * ahead if alpha < _MAX_ALPHA else _ZERO
        slope_dy = slope * dy
        sums[c + j] += slope
        sums[c + _R + j] += slope_dy
        sums[c + _G + j] += slope_dy * dy
        sums[c + _B + j] += weight * v0
        sums[c + _B + _R + j] += weight * v1
        sums[c + _B + _G + j] += weight * v2


@njit(cache=True, fastmath=_FAST, error_model="numpy")
def _find_slices(members, form, x_tile, y_tile, columns, slices, spans):
    """Start and padded length of every Gaussian's slice on every tile row, [members, rows, 2].

    Slices start inside the first `columns` columns, which the image has; padding may leave them.
    `spans` [rows, 2] becomes the columns from start to end that any slice visits.
    """
    for row in range(spans.shape[0]):
        spans[row, 0], spans[row, 1] = TILE_WIDTH, 0
    for n in range(members.size):
        mean_x, mean_y, precision, shear, inverse, _, limit = form[members[n]]
        mean_x -= np.float32(x_tile)
        for row in range(spans.shape[0]):
            dy = np.float32(y_tile + row) + _HALF - mean_y
            room = limit - _HALF * dy * dy * inverse
            slices[n, row, 1] = 0
            if room < _ZERO:
                continue
            centre, half = mean_x + shear * dy, np.sqrt(_TWO * room / precision)
            start = int(max(np.floor(centre - half - _HALF), _ZERO))
            stop = int(min(np.ceil(centre + half + _HALF), np.float32(columns)))
            if start < stop:
                length = (stop - start + LANES - 1) // LANES * LANES
                start = min(start, TILE_WIDTH - length)
                slices[n, row, 0], slices[n, row, 1] = start, length
                spans[row, 0] = min(spans[row, 0], start)
                spans[row, 1] = max(spans[row, 1], start + length)


@njit(cache=True, fastmath=_FAST, error_model="numpy")
def _forward_tile(tile, stash, slices, spans, members, form, colors, x_tile, y_tile):
    """Composite the tile's Gaussians front to back inside `spans`; return the end of the stash."""
    for row in range(spans.shape[0]):
        for column in range(spans[row, 0], spans[row, 1]):
            place = np.uint64(row * _ROW + column)
            tile[place] = _ONE
            tile[place + _R] = tile[place + _G] = tile[place + _B] = _ZERO
    put = 0
    for n in range(members.size):
        i = members[n]
        color = colors[i, 0], colors[i, 1], colors[i, 2]
        mean_x, mean_y, precision, shear, inverse, log_opacity = form[i, :6]
        precision, inverse = _EIGHTH * _HALF * precision, _EIGHTH * _HALF * inverse
        for row in range(spans.shape[0]):
            start, length = slices[n, row]
            if length:
                dy = np.float32(y_tile + row) + _HALF - mean_y
                offset = np.float32(x_tile + start) + _HALF - mean_x - shear * dy
                rest = dy * dy * inverse - _EIGHTH * log_opacity
                at = row * _ROW + start
                _forward_slice(tile, stash, at, put, length, offset, precision, rest, color)
                put += 2 * length
    return put


@njit(cache=True, fastmath=_FAST, error_model="numpy")
def _backward_tile(tile, stash, put, slices, members, form, colors, x_tile, y_tile, gradient):
    """Back to front over the same slices; fill gradient [members, 9].

    Columns: the sums over s = dL/dsigma of s, s dx, s dy, s dx^2, s dx dy, s dy^2, and dL/dcolour.
    """
    sums = np.zeros(6 * TILE_WIDTH, np.float32)
    for n in range(members.size - 1, -1, -1):
        i = members[n]
        color = colors[i, 0], colors[i, 1], colors[i, 2]
        first, last = TILE_WIDTH, 0
        for row in range(slices.shape[1] - 1, -1, -1):
            start, length = slices[n, row]
            if length:
                put -= 2 * length
                dy = np.float32(y_tile + row) + _HALF - form[i, 1]
                at = row * _ROW + start
                _backward_slice(tile, stash, sums, at, put, start, length, dy, color)
                first, last = min(first, start), max(last, start + length)
        _sum_columns(sums, first, last, np.float32(x_tile) + _HALF - form[i, 0], gradient[n])


@njit(inline="always")
def _sum_columns(sums, first, last, offset, total):
    """Sum the columns [first, last) of `sums` with the powers of dx into `total`; clear them."""
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = s8 = _ZERO
    for j in range(np.uint64(first), np.uint64(last)):
        dx = np.float32(np.int32(j)) + offset
        slope, slope_dy = sums[j], sums[_R + j]
        s0 += slope
        s1 += slope * dx
        s2 += slope_dy
        s3 += slope * dx * dx
        s4 += slope_dy * dx
        s5 += sums[_G + j]
        s6 += sums[_B + j]
        s7 += sums[_B + _R + j]
        s8 += sums[_B + _G + j]
    for plane in range(6):
        for j in range(first, last):
            sums[plane * TILE_WIDTH + j] = _ZERO
    for column, value in enumerate((s0, s1, s2, s3, s4, s5, s6, s7, s8)):
        total[column] = value


@njit(cache=True, fastmath=_FAST, error_model="numpy")
def _l1_tile(tile, spans, target, unit, weight, x_tile, y_tile):
    """Replace colours by dL/dcolour of weight * sum |colour - unit * target|, transmittance by 0.

    Returns the change of the sum from a black render, which is what unvisited pixels are.
    """
    loss = 0.0
    height, width = target.shape[1:]
    pixels = target.reshape(target.size)
    for row in range(spans.shape[0]):
        start, end = spans[row]
        stop = max(start, min(end, width - x_tile))
        for plane in range(3):
            part = _ZERO
            t = np.uint64(row * _ROW + (plane + 1) * TILE_WIDTH + start)
            p = np.uint64((plane * height + y_tile + row) * width + x_tile + start)
            for j in range(np.uint64(stop - start)):
                wanted = unit * np.float32(pixels[p + j])
                difference = tile[t + j] - wanted
                part += abs(difference) - wanted
                upward = weight if difference > _ZERO else _ZERO
                tile[t + j] = -weight if difference < _ZERO else upward
            loss += part
        for plane in range(4):
            base = row * _ROW + plane * TILE_WIDTH
            tile[base + (start if plane == 0 else stop) : base + end] = _ZERO
    return loss


@njit(cache=True)
def _cotangent_tile(tile, spans, cotangent, x_tile, y_tile):
    """Replace colours by the given dL/dcolour, transmittance by -dL/dalpha."""
    columns = min(TILE_WIDTH, cotangent.shape[2] - x_tile)
    for row in range(spans.shape[0]):
        values = tile[row * _ROW : (row + 1) * _ROW].reshape(4, TILE_WIDTH)
        given = cotangent[:, y_tile + row, x_tile : x_tile + columns]
        for j in range(columns):
            values[0, j] = -given[0, j]
            for plane in range(1, 4):
                values[plane, j] = given[plane, j]
        values[:, columns:] = _ZERO


@njit(cache=True)
def _draw_tile(tile, stash, slices, spans, image, x_tile, y_tile):
    """Write the tile into the planes alpha, red, green, blue of `image` [4, height, width].

    Alpha is the sum of the weights: a finished pixel's transmittance is lost.
    """
    for row in range(spans.shape[0]):
        tile[row * _ROW : row * _ROW + TILE_WIDTH] = _ZERO
    put = 0
    for n in range(slices.shape[0]):
        for row in range(spans.shape[0]):
            start, length = slices[n, row]
            for j in range(length):
                tile[row * _ROW + start + j] += stash[put + j]
            put += 2 * length
    for row in range(spans.shape[0]):
        start, stop = spans[row, 0], min(spans[row, 1], image.shape[2] - x_tile)
        for plane in range(4 if start < stop else 0):
            base = row * _ROW + plane * TILE_WIDTH
            drawn = tile[base + start : base + stop]
            image[plane, y_tile + row, x_tile + start : x_tile + stop] = drawn


@njit(cache=True)
def _scratch(first, room):
    """Tile planes, stash, slices and spans of one worker, large enough for every tile."""
    most = np.max(first[1:] - first[:-1])
    return (
        np.zeros(TILE_HEIGHT * _ROW, np.float32),
        np.empty(2 * room, np.float32),
        np.empty((most, TILE_HEIGHT, 2), np.int64),
        np.empty((TILE_HEIGHT, 2), np.int64),
    )


@njit(cache=True)
def _composite_tile(n, height, width, own, form, colors, scratch):
    """Composite tile n; return its corner x, y, its slices and spans, and the end of the stash."""
    tile, stash, slices, spans = scratch
    across = (width + TILE_WIDTH - 1) // TILE_WIDTH
    x, y = n % across * TILE_WIDTH, n // across * TILE_HEIGHT
    rows, columns = min(TILE_HEIGHT, height - y), min(TILE_WIDTH, width - x)
    slices, spans = slices[: own.size, :rows], spans[:rows]
    _find_slices(own, form, x, y, columns, slices, spans)
    put = _forward_tile(tile, stash, slices, spans, own, form, colors, x, y)
    return x, y, slices, spans, put


@njit(cache=True, nogil=True)
def render(worker, workers, first, members, room, form, colors, image):
    """Draw every `workers`-th tile into `image` [4, height, width]: alpha, red, green, blue."""
    height, width = image.shape[1:]
    scratch = _scratch(first, room)
    tile, stash = scratch[:2]
    for n in range(worker, first.size - 1, workers):
        own = members[first[n] : first[n + 1]]
        if own.size:
            x, y, slices, spans, _ = _composite_tile(n, height, width, own, form, colors, scratch)
            _draw_tile(tile, stash, slices, spans, image, x, y)


@njit(cache=True, nogil=True)
def gradients(worker, workers, first, members, room, form, colors, cotangent, partial):
    """Fill the rows of `partial` [members, 9] that belong to every `workers`-th tile.

    `cotangent` [4, height, width] holds dL/dalpha and dL/dcolour of the image.
    """
    height, width = cotangent.shape[1:]
    scratch = _scratch(first, room)
    tile, stash = scratch[:2]
    for n in range(worker, first.size - 1, workers):
        own, out = members[first[n] : first[n + 1]], partial[first[n] :]
        if own.size:
            x, y, slices, spans, put = _composite_tile(n, height, width, own, form, colors, scratch)
            _cotangent_tile(tile, spans, cotangent, x, y)
            _backward_tile(tile, stash, put, slices, own, form, colors, x, y, out)


@njit(cache=True, nogil=True)
def l1_gradients(
    worker, workers, first, members, room, form, colors, target, unit, weight, partial, loss
):
    """As `gradients`, for weight * sum |render - unit * target|.

    `loss` [tiles] becomes the change of that sum, without the weight, from a black render.
    """
    height, width = target.shape[1:]
    scratch = _scratch(first, room)
    tile, stash = scratch[:2]
    for n in range(worker, first.size - 1, workers):
        own, out = members[first[n] : first[n + 1]], partial[first[n] :]
        if own.size:
            x, y, slices, spans, put = _composite_tile(n, height, width, own, form, colors, scratch)
            loss[n] = _l1_tile(tile, spans, target, unit, weight, x, y)
            _backward_tile(tile, stash, put, slices, own, form, colors, x, y, out)
