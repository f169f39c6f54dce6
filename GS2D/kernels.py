"""Tile kernels of the CPU rasteriser, compiled by numba: forward, L1 and backward in one visit.

The image is cut into tiles small enough for the first-level cache. Inside a tile every Gaussian is
a stack of row slices: on the row at distance dy from its centre

    sigma(x) = dy^2 P / 2 + A (x - xc)^2 / 2,   xc = mean_x + K dy,
    P = 1 / S_yy,  K = S_xy / S_yy,  A = S_yy / det S,   S = R diag(s^2) R^T,

a sum of positive terms (no cancellation for thin Gaussians) whose alpha >= 1/255 slice has a closed
form. The inner loops run over such slices with masks in place of branches, so that LLVM vectorises
them; alpha and weight of every visited pixel wait in a stash for the backward pass, which therefore
needs no second exponential. Partial gradients are kept per (tile, Gaussian) and summed in a fixed
order: the result does not depend on the number of threads.

All kernels stand in this one file because numba's cache notices changes of that file alone.
"""

from __future__ import annotations

import numpy as np
from numba import njit, prange

MAX_ALPHA = 0.999
MIN_ALPHA = 1.0 / 255.0
MIN_TRANSMITTANCE = 1e-4

TILE_WIDTH = 128
TILE_HEIGHT = 16
LANES = 8  # slices are padded to whole vectors
_TINY = 1e-4  # sigma is searched this much further than alpha >= 1/255 needs

# Typed as the kernels use them: a Python float would make the arithmetic double precision, and a
# signed index costs a wrap-around test in every access.
_MAX_ALPHA, _MIN_ALPHA = np.float32(MAX_ALPHA), np.float32(MIN_ALPHA)
_MIN_TRANSMITTANCE = np.float32(MIN_TRANSMITTANCE)
_ZERO, _HALF, _ONE = np.float32(0.0), np.float32(0.5), np.float32(1.0)
_R, _G, _B = np.uint64(TILE_WIDTH), np.uint64(2 * TILE_WIDTH), np.uint64(3 * TILE_WIDTH)
_ROW = 4 * TILE_WIDTH  # planes of a tile row: transmittance, red, green, blue

_FAST = {"contract", "reassoc", "nsz", "arcp"}


def _exponential_coefficients(degree: int = 6) -> np.ndarray:
    """Polynomial for exp(-t), t in [0, 3/4], of least relative error at the Chebyshev nodes."""
    nodes = 0.375 - 0.375 * np.cos((np.arange(200) + 0.5) * np.pi / 200)
    weight = np.exp(nodes)
    powers = np.vander(nodes, degree + 1, increasing=True) * weight[:, None]
    return np.linalg.lstsq(powers, np.ones(200), rcond=None)[0].astype(np.float32)


_E0, _E1, _E2, _E3, _E4, _E5, _E6 = (np.float32(c) for c in _exponential_coefficients())
_EIGHTH, _SIGMA_MAX = np.float32(0.125), np.float32(6.0)


@njit(inline="always")
def _exp_minus(sigma):
    """exp(-sigma) for sigma >= 0, float32; beyond 6 (alpha < 1/255) it stays at exp(-6)."""
    t = min(sigma, _SIGMA_MAX) * _EIGHTH
    e = _E0 + t * (_E1 + t * (_E2 + t * (_E3 + t * (_E4 + t * (_E5 + t * _E6)))))
    e = e * e
    e = e * e
    return e * e


@njit(cache=True, fastmath=_FAST)
def _shape(means, scales, rotations, opacities, width, height):
    """Row form [N, 6] = mean x, mean y, A, K, P, sigma limit, and pixel box [N, 4] = x0 x1 y0 y1.

    A Gaussian that reaches no pixel, or is not finite, gets an empty box.
    """
    number = means.shape[0]
    form = np.zeros((number, 6), np.float32)
    box = np.zeros((number, 4), np.int64)
    for i in range(number):
        s0, s1 = np.float64(scales[i, 0]), np.float64(scales[i, 1])
        sine, cosine = np.sin(np.float64(rotations[i])), np.cos(np.float64(rotations[i]))
        xx = s0 * s0 * cosine * cosine + s1 * s1 * sine * sine
        yy = s0 * s0 * sine * sine + s1 * s1 * cosine * cosine
        xy = (s0 * s0 - s1 * s1) * sine * cosine
        x, y, opacity = np.float64(means[i, 0]), np.float64(means[i, 1]), opacities[i]
        finite = np.isfinite(x) and np.isfinite(y) and np.isfinite(xx) and np.isfinite(yy)
        if not (finite and s0 * s1 != 0.0 and opacity >= MIN_ALPHA):
            continue
        limit = np.log(255.0 * np.float64(opacity)) + _TINY
        reach_x, reach_y = np.sqrt(2.0 * limit * xx), np.sqrt(2.0 * limit * yy)
        form[i, 0], form[i, 1] = x, y
        form[i, 2] = yy / (s0 * s0 * s1 * s1)
        form[i, 3], form[i, 4] = xy / yy, 1.0 / yy
        form[i, 5] = limit
        box[i, 0] = int(min(max(np.floor(x - reach_x - 0.5), 0.0), width))
        box[i, 1] = int(min(max(np.ceil(x + reach_x + 0.5), 0.0), width))
        box[i, 2] = int(min(max(np.floor(y - reach_y - 0.5), 0.0), height))
        box[i, 3] = int(min(max(np.ceil(y + reach_y + 0.5), 0.0), height))
    return form, box


@njit(cache=True)
def _tile_lists(box, width, height):
    """Indices of the Gaussians of every tile, in annotation order: (first [tiles + 1], members).

    `room` is the number of pixels that the slices of any one tile may need in its stash.
    """
    across = (width + TILE_WIDTH - 1) // TILE_WIDTH
    down = (height + TILE_HEIGHT - 1) // TILE_HEIGHT
    first = np.zeros(across * down + 1, np.int64)
    pixels = np.zeros(across * down, np.int64)
    members = np.empty(0, np.int64)
    for fill in range(2):
        for i in range(box.shape[0]):
            x0, x1, y0, y1 = box[i]
            if x0 >= x1 or y0 >= y1:
                continue
            slice_room = min(x1 - x0 + 2 * LANES, TILE_WIDTH)
            for v in range(y0 // TILE_HEIGHT, (y1 - 1) // TILE_HEIGHT + 1):
                rows = min(y1, (v + 1) * TILE_HEIGHT) - max(y0, v * TILE_HEIGHT)
                for u in range(x0 // TILE_WIDTH, (x1 - 1) // TILE_WIDTH + 1):
                    tile = v * across + u
                    if fill:
                        members[first[tile]] = i
                    else:
                        pixels[tile] += rows * slice_room
                    first[tile] += 1
        # After counting: ends; after filling: starts, moved one place down.
        if fill:
            first[1:] = first[:-1].copy()
            first[0] = 0
        else:
            total = 0
            for tile in range(across * down):
                count = first[tile]
                first[tile] = total
                total += count
            members = np.empty(total, np.int64)
    return first, members, pixels.max()


@njit(inline="always")
def _slice(form, i, x_tile, y):
    """Row slice of Gaussian i: (dy, xc in tile coordinates, first column, padded length)."""
    dy = np.float32(y) + _HALF - form[i, 1]
    centre = form[i, 0] - np.float32(x_tile) + form[i, 3] * dy
    rest = form[i, 5] - _HALF * dy * dy * form[i, 4]
    if rest < _ZERO:
        return dy, centre, 0, 0
    half = np.sqrt(np.float32(2.0) * rest / form[i, 2])
    start = int(min(max(np.floor(centre - half - _HALF), _ZERO), np.float32(TILE_WIDTH)))
    stop = int(min(max(np.ceil(centre + half + _HALF), _ZERO), np.float32(TILE_WIDTH)))
    if start >= stop:
        return dy, centre, 0, 0
    length = (stop - start + LANES - 1) // LANES * LANES
    return dy, centre, min(start, TILE_WIDTH - length), length


@njit(inline="always")
def _forward_slice(tile, at, start, length, centre, rest, precision, opacity, color, i, stash, put):
    """Composite one slice; leave weight w = alpha T and k = alpha / (1 - alpha) in the stash.

    A finished pixel keeps its transmittance with a minus sign, which makes the stop sticky. k is -1
    where alpha is capped at 0.999: no gradient passes there.
    """
    red, green, blue = color[i, 0], color[i, 1], color[i, 2]
    t, w, k = np.uint64(at + start), np.uint64(put), np.uint64(put + length)
    for j in range(np.uint64(length)):
        d = np.float32(np.int32(start + np.int64(j))) + _HALF - centre
        raw = opacity * _exp_minus(rest + precision * d * d)
        alpha = min(raw, _MAX_ALPHA) if raw >= _MIN_ALPHA else _ZERO
        before = tile[t + j]
        after = max(before, _ZERO) * (_ONE - alpha)
        lives = after > _MIN_TRANSMITTANCE
        alpha = alpha if lives else _ZERO
        weight = alpha * before
        tile[t + j] = after if lives else -abs(before)
        tile[t + _R + j] += weight * red
        tile[t + _G + j] += weight * green
        tile[t + _B + j] += weight * blue
        stash[w + j] = weight
        stash[k + j] = -_ONE if raw > _MAX_ALPHA else alpha / (_ONE - alpha)


@njit(inline="always")
def _backward_slice(tile, at, start, length, centre, color, i, stash, put):
    """Moments of dL/dsigma on one slice, and the gradient of the colour.

    On entry the tile's colour planes hold dL/dcolour and its first plane
    U = sum over the Gaussians behind of w (colour . dL/dcolour) - T_end dL/dalpha_image;
    dL/dsigma = k U - w (colour . dL/dcolour), and U takes this Gaussian's term.
    """
    red, green, blue = color[i, 0], color[i, 1], color[i, 2]
    t, w, k = np.uint64(at + start), np.uint64(put), np.uint64(put + length)
    m0 = m1 = m2 = g0 = g1 = g2 = _ZERO
    for j in range(np.uint64(length)):
        d = np.float32(np.int32(start + np.int64(j))) + _HALF - centre
        v0, v1, v2 = tile[t + _R + j], tile[t + _G + j], tile[t + _B + j]
        weight, ratio, behind = stash[w + j], stash[k + j], tile[t + j]
        own = weight * (red * v0 + green * v1 + blue * v2)
        tile[t + j] = behind + own
        slope = ratio * behind - own if ratio >= _ZERO else _ZERO
        m0 += slope
        m1 += slope * d
        m2 += slope * d * d
        g0 += weight * v0
        g1 += weight * v1
        g2 += weight * v2
    return m0, m1, m2, g0, g1, g2


@njit(cache=True, fastmath=_FAST)
def _forward_tile(tile, stash, slices, members, form, box, colors, opacities, x_tile, y_tile):
    """Composite the tile's Gaussians front to back; return the end of the stash."""
    for at in range(0, tile.size, TILE_WIDTH):
        tile[at : at + TILE_WIDTH] = _ONE if at % _ROW == 0 else _ZERO
    put = 0
    for n in range(members.size):
        i = members[n]
        for row in range(max(box[i, 2] - y_tile, 0), min(box[i, 3] - y_tile, TILE_HEIGHT)):
            dy, centre, start, length = _slice(form, i, x_tile, y_tile + row)
            slices[n, row, 0], slices[n, row, 1] = start, length
            rest, precision = _HALF * dy * dy * form[i, 4], _HALF * form[i, 2]
            _forward_slice(
                tile, row * _ROW, start, length, centre, rest, precision, opacities[i], colors, i,
                stash, put,
            )  # fmt: skip
            put += 2 * length
    return put


@njit(cache=True, fastmath=_FAST)
def _backward_tile(tile, stash, put, slices, members, form, box, colors, x_tile, y_tile, gradient):
    """Back to front over the same slices; fill gradient [members, 9].

    Columns: dL/d(mean x, mean y, A, K, P), then the zeroth moment (for the opacity), then colour.
    """
    for n in range(members.size - 1, -1, -1):
        i = members[n]
        shear, precision, inverse = form[i, 3], form[i, 2], form[i, 4]
        total = gradient[n]
        total[:] = _ZERO
        for row in range(
            min(box[i, 3] - y_tile, TILE_HEIGHT) - 1, max(box[i, 2] - y_tile, 0) - 1, -1
        ):
            start, length = slices[n, row, 0], slices[n, row, 1]
            dy = np.float32(y_tile + row) + _HALF - form[i, 1]
            centre = form[i, 0] - np.float32(x_tile) + shear * dy
            put -= 2 * length
            m0, m1, m2, g0, g1, g2 = _backward_slice(
                tile, row * _ROW, start, length, centre, colors, i, stash, put
            )
            to_centre = -precision * m1
            total[0] += to_centre
            total[1] -= dy * inverse * m0 + shear * to_centre
            total[2] += _HALF * m2
            total[3] += dy * to_centre
            total[4] += _HALF * dy * dy * m0
            total[5] += m0
            total[6] += g0
            total[7] += g1
            total[8] += g2


@njit(cache=True, fastmath=_FAST)
def _l1_tile(tile, target, x_tile, y_tile, weight):
    """Replace the colours by dL/dcolour of weight * sum |colour - target|; return that sum's change.

    The change is counted from a black render, because black tiles are never visited.
    """
    loss = 0.0
    columns = min(TILE_WIDTH, target.shape[2] - x_tile)
    for row in range(min(TILE_HEIGHT, target.shape[1] - y_tile)):
        for plane in range(3):
            values = tile[row * _ROW + (plane + 1) * TILE_WIDTH :][:TILE_WIDTH]
            wanted = target[plane, y_tile + row, x_tile : x_tile + columns]
            part = _ZERO
            for j in range(columns):
                difference = values[j] - wanted[j]
                part += abs(difference) - abs(wanted[j])
                values[j] = (
                    weight if difference > _ZERO else (-weight if difference < _ZERO else _ZERO)
                )
            values[columns:] = _ZERO
            loss += part
        tile[row * _ROW : row * _ROW + TILE_WIDTH] = _ZERO
    return loss


@njit(cache=True)
def _cotangent_tile(tile, cotangent, x_tile, y_tile):
    """Replace the colours by the given dL/dcolour, the transmittance T by -T dL/dalpha."""
    columns = min(TILE_WIDTH, cotangent.shape[2] - x_tile)
    for row in range(min(TILE_HEIGHT, cotangent.shape[1] - y_tile)):
        values = tile[row * _ROW : (row + 1) * _ROW].reshape(4, TILE_WIDTH)
        given = cotangent[:, y_tile + row, x_tile : x_tile + columns]
        for j in range(columns):
            values[0, j] = -abs(values[0, j]) * given[0, j]
            for plane in range(1, 4):
                values[plane, j] = given[plane, j]
        values[:, columns:] = _ZERO


@njit(cache=True)
def _sum_tiles(members, partial, form, scales, rotations, opacities):
    """Sum the partial gradients in tile order and lead them back to the parameters.

    Returns [N, 9] = dL/d(mean x, mean y, scale 0, scale 1, rotation, opacity, colour).
    """
    number = form.shape[0]
    sums = np.zeros((number, 9), np.float64)
    for entry in range(members.size):
        for column in range(9):
            sums[members[entry], column] += partial[entry, column]
    gradient = sums.copy()
    for i in range(number):
        if form[i, 4] == 0.0:
            continue
        s0, s1 = np.float64(scales[i, 0]), np.float64(scales[i, 1])
        sine, cosine = np.sin(np.float64(rotations[i])), np.cos(np.float64(rotations[i]))
        yy = s0 * s0 * sine * sine + s1 * s1 * cosine * cosine
        shear, difference = (s0 * s0 - s1 * s1) * sine * cosine / yy, s0 * s0 - s1 * s1
        v_a, v_xy = sums[i, 2], sums[i, 3] / yy
        v_yy = -sums[i, 4] / (yy * yy) - sums[i, 3] * shear / yy
        gradient[i, 2] = 2.0 * (
            v_yy * s0 * sine * sine + v_xy * s0 * sine * cosine - v_a * cosine * cosine / s0**3
        )
        gradient[i, 3] = 2.0 * (
            v_yy * s1 * cosine * cosine - v_xy * s1 * sine * cosine - v_a * sine * sine / s1**3
        )
        gradient[i, 4] = 2.0 * sine * cosine * (
            v_a * (1.0 / (s1 * s1) - 1.0 / (s0 * s0)) + v_yy * difference
        ) + v_xy * difference * (cosine * cosine - sine * sine)
        gradient[i, 5] = -sums[i, 5] / np.float64(opacities[i])
    return gradient


@njit(cache=True, parallel=True)
def render(means, scales, rotations, colors, opacities, width, height, workers):
    """Image planes [4, height, width]: transmittance, red, green, blue; float32 in, float32 out."""
    image = np.zeros((4, height, width), np.float32)
    image[0] = _ONE
    form, box = _shape(means, scales, rotations, opacities, width, height)
    first, members, room = _tile_lists(box, width, height)
    across = (width + TILE_WIDTH - 1) // TILE_WIDTH
    most = np.max(first[1:] - first[:-1])
    for worker in prange(workers):
        tile = np.empty(TILE_HEIGHT * _ROW, np.float32)
        stash, slices = np.empty(2 * room, np.float32), np.empty((most, TILE_HEIGHT, 2), np.int64)
        for n in range(worker, first.size - 1, workers):
            x, y, own = (
                n % across * TILE_WIDTH,
                n // across * TILE_HEIGHT,
                members[first[n] : first[n + 1]],
            )
            if own.size:
                _forward_tile(tile, stash, slices, own, form, box, colors, opacities, x, y)
                values = tile.reshape(TILE_HEIGHT, 4, TILE_WIDTH)
                for row in range(min(TILE_HEIGHT, height - y)):
                    image[:, y + row, x : x + TILE_WIDTH] = values[
                        row, :, : min(TILE_WIDTH, width - x)
                    ]
    image[0] = np.abs(image[0])
    return image


@njit(cache=True, parallel=True)
def l1_gradients(means, scales, rotations, colors, opacities, target, weight, workers):
    """Change of weight * sum |render - target| from a black render, and its gradient [N, 9]."""
    height, width = target.shape[1:]
    form, box = _shape(means, scales, rotations, opacities, width, height)
    first, members, room = _tile_lists(box, width, height)
    across = (width + TILE_WIDTH - 1) // TILE_WIDTH
    most = np.max(first[1:] - first[:-1])
    partial = np.empty((members.size, 9), np.float32)
    loss = np.zeros(first.size - 1, np.float64)
    for worker in prange(workers):
        tile = np.empty(TILE_HEIGHT * _ROW, np.float32)
        stash, slices = np.empty(2 * room, np.float32), np.empty((most, TILE_HEIGHT, 2), np.int64)
        for n in range(worker, first.size - 1, workers):
            x, y = n % across * TILE_WIDTH, n // across * TILE_HEIGHT
            own = members[first[n] : first[n + 1]]
            if own.size:
                put = _forward_tile(tile, stash, slices, own, form, box, colors, opacities, x, y)
                loss[n] = _l1_tile(tile, target, x, y, weight)
                _backward_tile(
                    tile,
                    stash,
                    put,
                    slices,
                    own,
                    form,
                    box,
                    colors,
                    x,
                    y,
                    partial[first[n] : first[n + 1]],
                )
    return weight * loss.sum(), _sum_tiles(members, partial, form, scales, rotations, opacities)


@njit(cache=True, parallel=True)
def gradients(means, scales, rotations, colors, opacities, cotangent, workers):
    """Gradient [N, 9] for cotangent [4, height, width] = dL/dalpha, dL/dcolour of the image."""
    height, width = cotangent.shape[1:]
    form, box = _shape(means, scales, rotations, opacities, width, height)
    first, members, room = _tile_lists(box, width, height)
    across = (width + TILE_WIDTH - 1) // TILE_WIDTH
    most = np.max(first[1:] - first[:-1])
    partial = np.empty((members.size, 9), np.float32)
    for worker in prange(workers):
        tile = np.empty(TILE_HEIGHT * _ROW, np.float32)
        stash, slices = np.empty(2 * room, np.float32), np.empty((most, TILE_HEIGHT, 2), np.int64)
        for n in range(worker, first.size - 1, workers):
            x, y = n % across * TILE_WIDTH, n // across * TILE_HEIGHT
            own = members[first[n] : first[n + 1]]
            if own.size:
                put = _forward_tile(tile, stash, slices, own, form, box, colors, opacities, x, y)
                _cotangent_tile(tile, cotangent, x, y)
                _backward_tile(
                    tile,
                    stash,
                    put,
                    slices,
                    own,
                    form,
                    box,
                    colors,
                    x,
                    y,
                    partial[first[n] : first[n + 1]],
                )
    return _sum_tiles(members, partial, form, scales, rotations, opacities)
