"""The compiled transport loss of one image: kernel, density, L1 and gradient, tile by tile.

A tile is 8 x 8 cells, the lanes of all inner loops. On a tile only those Gaussians are evaluated
that can reach e^-CUT_OFF of a cell's largest likelihood: the distance q in units of a Gaussian's
deviation differs from that of the tile's middle by at most reach / smallest deviation. What is left
out is below what float32 keeps of a column's sum. The columns' shares wait in a buffer of that
size, not the kernel's, for the signs of the discrepancies, which make the gradient.
"""

import numpy as np

from crowd.io.compiled import njit

TILE = 8
LANES = TILE * TILE
# e^-25 is 1e-11: ten thousand Gaussians left out amount to 1e-7.
CUT_OFF = 25.0

_LANES = np.uint64(LANES)
_PY, _LARGEST, _NEAREST, _SIZE, _TOTAL = (np.uint64(part * LANES) for part in range(1, 6))
_HALF, _ONE, _TWO, _ZERO = (np.float32(value) for value in (0.5, 1.0, 2.0, 0.0))
_OPTIONS = {"error_model": "numpy", "cache": True}
# Helpers are inlined: called, they are optimised otherwise in the process that compiles them than
# in those that find them in the cache, which showed in a loss's last bit.
_HELPER = {"forceinline": True, **_OPTIONS}
_FAST = {"contract", "reassoc", "nsz", "arcp"}
# e^x = 2^k e^r with r in ± log(2) / 2, Taylor's polynomial of degree 6 (relative error 1e-7).
_LOG2_E, _LN2_HIGH, _LN2_LOW = (
    np.float32(value) for value in (1.44269504, 0.693359375, -2.12194440e-4)
)
_E6, _E5, _E4, _E3 = (np.float32(1 / value) for value in (720, 120, 24, 6))
_LEAST = np.float32(-80.0)


@njit(inline="always")
def _exp(x):
    """e^x for x <= 0; below -80 it stays at e^-80."""
    x = x if x > _LEAST else _LEAST
    power = np.int32(x * _LOG2_E - _HALF)  # cut off towards 0: to the nearest
    k = np.float32(power)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    p = _ONE + r * (_ONE + r * (_HALF + r * (_E3 + r * (_E4 + r * (_E5 + r * _E6)))))
    return p * np.int32((power + np.int32(127)) << np.int32(23)).view(np.float32)


@njit(**_OPTIONS)
def image_loss(gaussians, targets, density, stride, background, gradient):
    """Loss of one image; writes its gradient.

    Args:
        gaussians: float32 `[7, N]`: x, y, -Σ⁻¹xx / 2, -Σ⁻¹xy, -Σ⁻¹yy / 2, log|Σ|, 1 / smallest
            deviation; N > 0.
        targets: float32 `[N]`.
        density: float32 `[h, w]`.
        stride: side of a cell, pixels.
        background: log-likelihood of the background without the terms of the nearest Gaussian,
            -cut_off² / 2 + log(background_ratio), or minus infinity without background.
        gradient: float32 `[h, w]`, written.
    """
    height, width = density.shape
    down, across = (height + TILE - 1) // TILE, (width + TILE - 1) // TILE
    tiles, count = down * across, gaussians.shape[1]
    chosen, offsets = _candidates(gaussians, down, across, stride, background)
    shares = np.empty(len(chosen) * LANES, np.float32)
    rest = np.empty((tiles, 2, LANES), np.float32)
    mass = np.zeros((tiles, LANES), np.float32)
    moved, to_background = np.zeros(count), 0.0
    scratch = np.empty((6, LANES), np.float32)
    for tile in range(tiles):
        top, left = tile // across * TILE, tile % across * TILE
        for lane in range(LANES):
            row, column = top + lane // TILE, left + lane % TILE
            scratch[0, lane] = (column + _HALF) * stride
            scratch[1, lane] = (row + _HALF) * stride
            if row < height and column < width:
                mass[tile, lane] = density[row, column]
        part = shares[offsets[tile] * LANES : offsets[tile + 1] * LANES]
        ids = chosen[offsets[tile] : offsets[tile + 1]]
        _fill_shares(gaussians, ids, background, scratch, part, rest[tile])
        to_background += _move(mass[tile], ids, part, rest[tile], moved)

    has_background = background > -np.inf
    loss = abs(to_background) if has_background else 0.0
    signs = np.empty(count, np.float32)
    for n in range(count):
        loss += abs(moved[n] - targets[n])
        signs[n] = np.sign(moved[n] - targets[n])
    background_sign = np.float32(np.sign(to_background)) if has_background else _ZERO
    for tile in range(tiles):
        part = shares[offsets[tile] * LANES : offsets[tile + 1] * LANES]
        ids = chosen[offsets[tile] : offsets[tile + 1]]
        slope = scratch[0]
        _slopes(ids, part, rest[tile], signs, background_sign, slope)
        top, left = tile // across * TILE, tile % across * TILE
        for row in range(top, min(top + TILE, height)):
            for column in range(left, min(left + TILE, width)):
                gradient[row, column] = slope[(row - top) * TILE + column - left]
    return loss


@njit(fastmath=_FAST, **_HELPER)
def _candidates(gaussians, down, across, stride, background):
    """Which Gaussians each tile needs: their numbers, and where each tile's begin `[tiles + 1]`."""
    x, y, xx, xy, yy, log_determinant, steepness = gaussians
    count = len(x)
    chosen = np.empty(count * down * across, np.int32)
    offsets = np.zeros(down * across + 1, np.int64)
    near, far = np.empty(count, np.float32), np.empty(count, np.float32)
    reach = np.float32((TILE - 1) / 2 * np.sqrt(2.0) * stride)
    widest = log_determinant.max()
    cut_off, half = np.float32(CUT_OFF), np.float32(TILE / 2 * stride)
    kept = 0
    for tile in range(down * across):
        middle_x = np.float32(tile % across * TILE * stride) + half
        middle_y = np.float32(tile // across * TILE * stride) + half
        for n in range(count):
            dx, dy = middle_x - x[n], middle_y - y[n]
            q = np.sqrt(max(-_TWO * (xx[n] * dx * dx + xy[n] * dx * dy + yy[n] * dy * dy), _ZERO))
            spread = reach * steepness[n]
            closest = max(q - spread, _ZERO)
            near[n] = -_HALF * closest * closest
            far[n] = -_HALF * (q + spread) * (q + spread)
        nearest, least_z = np.float32(-np.inf), np.float32(-np.inf)
        least = np.float32(-np.inf)
        for n in range(count):
            nearest = max(nearest, near[n])
            least_z = max(least_z, far[n])
            least = max(least, far[n] - _HALF * log_determinant[n])
        least = max(least, np.float32(background) - nearest - widest) - cut_off
        for n in range(count):
            # The Gaussian of largest z is needed for the background, however small its share.
            if near[n] - _HALF * log_determinant[n] >= least or near[n] >= least_z:
                chosen[kept] = n
                kept += 1
        offsets[tile + 1] = kept
    return chosen[:kept], offsets


@njit(fastmath=_FAST, **_HELPER)
def _fill_shares(gaussians, ids, background, scratch, shares, rest):
    """Write e^(likelihood - largest) of each Gaussian, the background's, and 1 / their sum."""
    x, y, xx, xy, yy, log_determinant, _ = gaussians
    # One flat array: the compiler sees that its parts, 64 lanes each, do not overlap.
    flat = scratch.reshape(6 * LANES)
    for lane in range(_LANES):
        flat[_LARGEST + lane] = flat[_NEAREST + lane] = np.float32(-3e38)
        flat[_SIZE + lane] = _ZERO
    for k in range(len(ids)):
        n = ids[k]
        gx, gy, gxx, gxy, gyy, size = x[n], y[n], xx[n], xy[n], yy[n], log_determinant[n]
        half_size = _HALF * size
        row = shares[k * LANES : (k + 1) * LANES]
        for lane in range(_LANES):
            dx, dy = flat[lane] - gx, flat[_PY + lane] - gy
            z = gxx * dx * dx + (gxy * dx + gyy * dy) * dy
            likelihood, largest = z - half_size, flat[_LARGEST + lane]
            nearest, nearest_size = flat[_NEAREST + lane], flat[_SIZE + lane]
            row[lane] = likelihood
            flat[_LARGEST + lane] = likelihood if likelihood > largest else largest
            flat[_SIZE + lane] = size if z > nearest else nearest_size
            flat[_NEAREST + lane] = z if z > nearest else nearest
    behind, scale = rest
    base = np.float32(max(background, -3e38))
    for lane in range(_LANES):
        likelihood = base - flat[_NEAREST + lane] - flat[_SIZE + lane]
        largest = max(flat[_LARGEST + lane], likelihood)
        share = _exp(likelihood - largest)
        flat[_LARGEST + lane] = largest
        flat[_TOTAL + lane] = share
        behind[lane] = share
    for k in range(len(ids)):
        row = shares[k * LANES : (k + 1) * LANES]
        for lane in range(_LANES):
            share = _exp(row[lane] - flat[_LARGEST + lane])
            row[lane] = share
            flat[_TOTAL + lane] += share
    for lane in range(_LANES):
        scale[lane] = _ONE / flat[_TOTAL + lane]


@njit(fastmath=_FAST, **_HELPER)
def _move(mass, ids, shares, rest, moved):
    """Add what each Gaussian receives to `moved`; return what the background receives."""
    behind, scale = rest
    weight = mass * scale
    to_background = _ZERO
    for lane in range(_LANES):
        to_background += weight[lane] * behind[lane]
    for k in range(len(ids)):
        row = shares[k * LANES : (k + 1) * LANES]
        received = _ZERO
        for lane in range(_LANES):
            received += weight[lane] * row[lane]
        moved[ids[k]] += received
    return to_background


@njit(fastmath=_FAST, **_HELPER)
def _slopes(ids, shares, rest, signs, background_sign, slope):
    """Gradient of the tile's cells: the signs, weighted by the shares."""
    behind, scale = rest
    for lane in range(_LANES):
        slope[lane] = background_sign * behind[lane]
    for k in range(len(ids)):
        row, sign = shares[k * LANES : (k + 1) * LANES], signs[ids[k]]
        for lane in range(_LANES):
            slope[lane] += sign * row[lane]
    for lane in range(_LANES):
        slope[lane] *= scale[lane]
