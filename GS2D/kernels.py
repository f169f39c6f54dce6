"""Compiled tile kernels of the CPU rasteriser: forward, loss and backward in one visit of a tile.

Inside a tile every Gaussian is a stack of row slices (see `GS2D.cpu`). The inner loops run
over slices of planar float32 arrays, with masks in place of branches and a polynomial for the
exponential, so that LLVM vectorises them. What the backward pass needs of a pixel waits in a stash.
Gradients are kept per (tile, Gaussian), to be summed in one order whatever the threads.

Functions that call each other share this file, since numba's cache notices changes of one file.
What has relaxed arithmetic is inlined: called, it would be optimised otherwise in the process that
compiles it than in those that find it in the cache.
"""

import math

import numpy as np

from crowd.io.compiled import njit

TILE_WIDTH = 128
TILE_HEIGHT = 32
LANES = 8  # slices are padded to whole vectors: no scalar remainder

# Constants have the type in which the kernels use them: a Python float would make the arithmetic
# double, a signed index would cost a wrap-around test at every access.
_MAX_ALPHA, _MIN_ALPHA = np.float32(0.999), np.float32(1.0 / 255.0)
_MIN_TRANSMITTANCE = np.float32(1e-4)
_ZERO, _HALF, _ONE, _TWO = (np.float32(value) for value in (0.0, 0.5, 1.0, 2.0))
_EIGHTH, _T_END = np.float32(0.125), np.float32(0.75)
_ROW = 4 * TILE_WIDTH  # a tile row: transmittance, red, green, blue
_R, _G, _B = (np.uint64(plane * TILE_WIDTH) for plane in (1, 2, 3))
_RELAXED = {"contract", "reassoc", "nsz", "arcp"}
_FAST = {"fastmath": _RELAXED, "error_model": "numpy", "forceinline": True, "cache": True}

# exp(-t) on [0, 3/4] as a polynomial of degree 5, least squares of the relative error (2e-7).
_E0, _E1, _E2 = np.float32(0.9999999), np.float32(-0.99998933), np.float32(0.49984518)
_E3, _E4, _E5 = np.float32(-0.16581964), np.float32(0.039512772), np.float32(-0.005693936)


@njit(inline="always")
def _forward_slice(tile, stash, at, put, length, offset, precision, rest, red, green, blue):
    """Composite one slice; leave w = alpha T and alpha in the stash.

    -log(o exp(-sigma)) / 8 is rest + precision (x - xc)^2, `offset` is x - xc of the first pixel.
    The transmittance of a finished pixel becomes 0, which makes the stop sticky.
    """
    t, w, a = np.uint64(at), np.uint64(put), np.uint64(put + length)
    # Two loops, because one is a chain of dependent steps too long for processors to overlap.
    for j in range(np.uint64(length)):
        d = np.float32(np.int32(j)) + offset
        # exp(-8 s); from s = 3/4 on, where it is below 1/255, it stays at exp(-6).
        s = min(rest + precision * d * d, _T_END)
        e = _E0 + s * (_E1 + s * (_E2 + s * (_E3 + s * (_E4 + s * _E5))))
        e = (e * e) * (e * e)
        alpha = e * e
        stash[a + j] = min(alpha, _MAX_ALPHA) if alpha >= _MIN_ALPHA else _ZERO
    for j in range(np.uint64(length)):
        alpha, before = stash[a + j], tile[t + j]
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
def _backward_slice(tile, stash, sums, at, put, column, length, dy, red, green, blue):
    """Add the slice's slopes s = dL/dsigma to the columns of `sums`: s, s dy, s dy^2, dL/dcolour.

    The tile's colour planes hold V = dL/dcolour of the image. Its first plane holds E, what the
    Gaussians behind send through V: behind the last one -dL/dalpha of the image, then
    E <- E + alpha (colour . V - E). In these terms dL/dsigma = w (E - colour . V), without the
    division by 1 - alpha that storing the sum of the weighted colours would need.
    """
    t, w, a, c = np.uint64(at), np.uint64(put), np.uint64(put + length), np.uint64(column)
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


@njit(**_FAST)
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


@njit(**_FAST)
def _forward_tile(tile, stash, slices, spans, members, form, colors, x_tile, y_tile):
    """Composite the tile's Gaussians front to back inside `spans`; return the end of the stash."""
    planes, put = tile.reshape(TILE_HEIGHT, 4, TILE_WIDTH), 0
    for row in range(spans.shape[0]):
        planes[row, 0, spans[row, 0] : spans[row, 1]] = _ONE
        planes[row, 1:, spans[row, 0] : spans[row, 1]] = _ZERO
    for n in range(members.size):
        mean_x, mean_y, precision, shear, inverse, log_opacity, _ = form[members[n]]
        precision, inverse = _EIGHTH * _HALF * precision, _EIGHTH * _HALF * inverse
        red, green, blue = colors[members[n]]
        for row in range(spans.shape[0]):
            start, length = slices[n, row]
            if length:
                dy = np.float32(y_tile + row) + _HALF - mean_y
                offset = np.float32(x_tile + start) + _HALF - mean_x - shear * dy
                rest = dy * dy * inverse - _EIGHTH * log_opacity
                at = row * _ROW + start
                _forward_slice(
                    tile, stash, at, put, length, offset, precision, rest, red, green, blue
                )
                put += 2 * length
    return put


@njit(**_FAST)
def _backward_tile(scratch, put, slices, members, form, colors, x_tile, y_tile, gradient):
    """Back to front over the same slices; fill gradient [members, 9].

    Columns: the sums over s = dL/dsigma of s, s dx, s dy, s dx^2, s dx dy, s dy^2, and dL/dcolour.
    """
    tile, stash, sums = scratch[0], scratch[1], np.zeros(6 * TILE_WIDTH, np.float32)
    for n in range(members.size - 1, -1, -1):
        (mean_x, mean_y), (red, green, blue) = form[members[n], :2], colors[members[n]]
        first, last = TILE_WIDTH, 0
        for row in range(slices.shape[1] - 1, -1, -1):
            start, length = slices[n, row]
            if length:
                put -= 2 * length
                dy = np.float32(y_tile + row) + _HALF - mean_y
                at = row * _ROW + start
                _backward_slice(tile, stash, sums, at, put, start, length, dy, red, green, blue)
                first, last = min(first, start), max(last, start + length)
        _sum_columns(sums, first, last, np.float32(x_tile) + _HALF - mean_x, gradient[n])


@njit(inline="always")
def _sum_columns(sums, first, last, offset, total):
    """Sum the columns [first, last) of `sums` with the powers of dx into `total`; clear `sums`."""
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
    sums[:] = _ZERO
    for column, value in enumerate((s0, s1, s2, s3, s4, s5, s6, s7, s8)):
        total[column] = value


@njit(**_FAST)
def _l1_tile(tile, spans, columns, target, n, unit, weight):
    """Replace colours by dL/dcolour of weight * sum |colour - unit * target|, transmittance by 0.

    Returns the change of the sum from a black render, which is what unvisited pixels are.
    """
    loss, planes = 0.0, tile.reshape(TILE_HEIGHT, 4, TILE_WIDTH)
    pixels = target.reshape(target.size)
    for row in range(spans.shape[0]):
        start, end = spans[row]
        stop = max(start, min(end, columns))
        for plane in range(3):
            part = _ZERO
            t = np.uint64(row * _ROW + (plane + 1) * TILE_WIDTH + start)
            above = plane * target.shape[1] + n * TILE_HEIGHT + row
            p = np.uint64(above * TILE_WIDTH + start)
            for j in range(np.uint64(stop - start)):
                wanted = unit * np.float32(pixels[p + j])
                difference = tile[t + j] - wanted
                part += abs(difference) - wanted
                tile[t + j] = math.copysign(weight, difference)
            loss += part
        planes[row, 0, start:end] = planes[row, 1:, stop:end] = _ZERO
    return loss


@njit(cache=True)
def _cotangent_tile(tile, rows, cotangent, n):
    """Replace transmittance and colours by the planes of `cotangent`."""
    planes, first = tile.reshape(TILE_HEIGHT, 4, TILE_WIDTH), n * TILE_HEIGHT
    for plane in range(4):
        planes[:rows, plane] = cotangent[plane, first : first + rows]


@njit(cache=True)
def _draw_tile(tile, stash, slices, spans, image, x_tile, y_tile):
    """Write the tile into the planes alpha, red, green, blue of `image` [4, height, width].

    Alpha is the sum of the weights: a finished pixel's transmittance is lost.
    """
    planes, put = tile.reshape(TILE_HEIGHT, 4, TILE_WIDTH), 0
    planes[:, 0] = _ZERO
    for n in range(slices.shape[0]):
        for row in range(spans.shape[0]):
            start, length = slices[n, row]
            for j in range(length):
                planes[row, 0, start + j] += stash[put + j]
            put += 2 * length
    for row in range(spans.shape[0]):
        for column in range(spans[row, 0], min(spans[row, 1], image.shape[2] - x_tile)):
            for plane in range(4):
                image[plane, y_tile + row, x_tile + column] = planes[row, plane, column]


@njit(cache=True)
def _scratch(most, room):
    """Tile, stash, slices and spans of one worker, large enough for every tile."""
    return (
        np.zeros(TILE_HEIGHT * _ROW, np.float32),
        np.empty(2 * room, np.float32),
        np.empty((most, TILE_HEIGHT, 2), np.int64),
        np.empty((TILE_HEIGHT, 2), np.int64),
    )


@njit(cache=True, forceinline=True)
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
def render(worker, workers, tiles, form, colors, image):
    """Draw every `workers`-th tile into `image` [4, height, width]: alpha, red, green, blue."""
    (first, members, most, room), (height, width) = tiles, image.shape[1:]
    scratch = _scratch(most, room)
    for n in range(worker, first.size - 1, workers):
        own = members[first[n] : first[n + 1]]
        if own.size:
            x, y, slices, spans, _ = _composite_tile(n, height, width, own, form, colors, scratch)
            _draw_tile(scratch[0], scratch[1], slices, spans, image, x, y)


@njit(cache=True, nogil=True)
def gradients(worker, workers, tiles, form, colors, size, given, unit, weight, partial, loss):
    """Fill the rows of `partial` [members, 9] that belong to every `workers`-th tile.

    `given`, cut into tiles as [planes, tiles * TILE_HEIGHT, TILE_WIDTH], is the cotangent with the
    planes -dL/dalpha, dL/dcolour; or the three planes of the target of L = weight * sum |render -
    unit * given|: then `loss` [tiles] becomes that sum's change from a black render.
    """
    (first, members, most, room), (height, width) = tiles, size
    scratch = _scratch(most, room)
    for n in range(worker, first.size - 1, workers):
        own, out = members[first[n] : first[n + 1]], partial[first[n] :]
        if own.size:
            x, y, slices, spans, put = _composite_tile(n, height, width, own, form, colors, scratch)
            if given.shape[0] == 3:
                loss[n] = _l1_tile(scratch[0], spans, width - x, given, n, unit, weight)
            else:
                _cotangent_tile(scratch[0], len(spans), given, n)
            _backward_tile(scratch, put, slices, own, form, colors, x, y, out)
