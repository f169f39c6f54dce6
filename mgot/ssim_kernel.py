"""The compiled kernel behind the official SSIM cost: a dozen operations a window.

Along a row of 224 columns the official windows begin at column 0 (97 of them, ending at column
127 … 223, the whole row counted 33 times) or end at column 223 (96 more, beginning at 1 … 96). Both
families start from 128 columns and grow by one column a step, so a running sum gives every window
of the squared difference of two patches, to which columns are only ever added. What depends on one
patch alone, its window means and variances, is computed once per patch.

Distances 1 − SSIM are added up, from terms that are differences of the patches themselves: equal
patches are at distance 0 on every machine, and rounding is relative to the distance. With
L = 2 μx μy + C1, D = (μx − μy)² and V = σx² + σy² − 2 σxy, the mean square of what differs beyond
the means,
    1 − SSIM = (D (σx² + σy² + C2) + L V) / ((D + L)(σx² + σy² + C2)).
D and L are scaled by 1 / C1, variances and V by `SCALE`, a power of 2 so that pixels are scaled
without rounding:
    mean' = mean / √C1, variance' = SCALE · (variance + C2 / 2), pixel' = pixel · √(SCALE / 65 536),
    V' = Σ (pixel' x − pixel' y)² − SCALE · C1 · (mean' x − mean' y)²,
where what is subtracted is at most 224 / 65 536 of the sum. Four windows share one division. Vector
lanes are the 16 rows of a tile, and two target patches meet two source patches at a time, so that
every value read serves twice.

A tile of one patch is laid out in rows of 16 values: 32 core columns 96 … 127; 96 right columns
128 … 223; 96 left columns 95 … 0; mean and variance of the whole row; 96 × (mean, variance) of the
windows that begin at 0; 96 × (mean, variance) of those that end at 223.
"""

import numpy as np

from crowd.io.compiled import njit
from mgot.maps import PATCH_SIDE
from mgot.options import C1, C2, WINDOW_AREA

POSITIONS = 225
TILE_ROWS = 16
TILES = PATCH_SIDE // TILE_ROWS
TILE_SIZE = 610 * TILE_ROWS

# Unsigned offsets spare the compiler the test for negative indices, without which it vectorises.
_ROW = tuple(np.uint64(count * TILE_ROWS) for count in range(13))
_RIGHT, _LEFT, _WHOLE, _BEGIN_0, _END_223 = (
    np.uint64(count * TILE_ROWS) for count in (32, 128, 224, 226, 418)
)
_CORE = np.uint64(0)
_STEPS = np.uint64(96 // 4)
SCALE = 1024.0
_COUPLING = np.float32(SCALE * C1)
_ONE, _TWO, _ZERO = np.float32(1.0), np.float32(2.0), np.float32(0.0)
_WHOLE_COUNT = np.float32(33.0)
_OPTIONS = {"nogil": True, "fastmath": True, "error_model": "numpy", "cache": True}
# Helpers are inlined: called, they are optimised otherwise in the process that compiles them than
# in those that find them in the cache.
_HELPER = {"forceinline": True, **_OPTIONS}


@njit(**_OPTIONS)
def window_statistics(patches, out):
    """Lay out patches `[n, 224, 224]` as tiles `out [14, n, 9760]`, sums in float64."""
    pixel_scale = np.sqrt(SCALE / WINDOW_AREA)
    for i in range(patches.shape[0]):
        for tile in range(TILES):
            view = out[tile, i].reshape(610, TILE_ROWS)
            for lane in range(TILE_ROWS):
                row = patches[i, tile * TILE_ROWS + lane]
                for c in range(128):
                    view[c, lane] = row[96 + c] * pixel_scale
                for c in range(96):
                    view[128 + c, lane] = row[95 - c] * pixel_scale
                _growing_windows(row, 0, 128, 1, view[226:418, lane], view[224:226, lane])
                _growing_windows(row, 223, 95, -1, view[418:610, lane], view[224:226, lane])


@njit(**_HELPER)
def _growing_windows(row, first, grow, step, windows, whole):
    """Scaled mean and variance of 128 columns from `first`, then of each window one longer."""
    total, squares = 0.0, 0.0
    for c in range(first, grow, step):
        value = np.float64(row[c])
        total += value
        squares += value * value
    for k in range(97):
        mean = total / WINDOW_AREA
        variance = squares / WINDOW_AREA - mean * mean
        target = windows[2 * k : 2 * k + 2] if k < 96 else whole
        target[0] = mean / np.sqrt(C1)
        target[1] = SCALE * (variance + C2 / 2)
        if k < 96:
            value = np.float64(row[grow + step * k])
            total += value
            squares += value * value


@njit(**_OPTIONS)
def distance_sums(target, source, out):
    """Add up 1 − SSIM over all windows of all pairs of a target and a source patch.

    Only where the compiler knows the arrays to be contiguous does it vectorise, which is five times
    as fast.

    Args:
        target: tiles `[14, n, 9760]` from `window_statistics`.
        source: tiles `[14, m, 9760]`.
        out: float64 `[n, m]`, overwritten; divided by 224 · 225 it is the cost.
    """
    n, m = out.shape
    out[:] = 0.0
    scratch = np.empty(12 * TILE_ROWS, np.float32)
    for tile in range(TILES):
        for j in range(0, m, 2):
            j_next = min(j + 1, m - 1)
            for i in range(0, n, 2):
                i_next = min(i + 1, n - 1)
                a, b = target[tile, i], target[tile, i_next]
                c, d = source[tile, j], source[tile, j_next]
                _four_pairs(a, b, c, d, scratch)
                sums = scratch[4 * TILE_ROWS : 8 * TILE_ROWS].reshape(4, TILE_ROWS)
                out[i, j] += _total(sums[0])
                # An odd last patch met itself; its second sums are dropped.
                if j_next > j:
                    out[i, j_next] += _total(sums[1])
                if i_next > i:
                    out[i_next, j] += _total(sums[2])
                if i_next > i and j_next > j:
                    out[i_next, j_next] += _total(sums[3])


@njit(**_HELPER)
def _total(values):
    total = 0.0
    for value in values:
        total += value
    return total


@njit(**_HELPER)
def _four_pairs(a, b, c, d, scratch):
    """Sums of 1 − SSIM of ac, ad, bc, bd for one tile.

    `scratch` holds, 16 rows each, the four running sums, the four sums of distances (the result)
    and the four running sums over the core.
    """
    for r in range(_ROW[8]):
        scratch[r] = _ZERO
    _add_columns(a, b, c, d, scratch, _CORE, _RIGHT)
    for r in range(_ROW[4]):
        scratch[_ROW[8] + r] = scratch[r]
    _add_columns(a, b, c, d, scratch, _LEFT, _WHOLE)
    _grow(a, b, c, d, scratch, _RIGHT, _BEGIN_0)
    _add_whole_row(a, c, scratch, _ROW[0], _ROW[4])
    _add_whole_row(a, d, scratch, _ROW[1], _ROW[5])
    _add_whole_row(b, c, scratch, _ROW[2], _ROW[6])
    _add_whole_row(b, d, scratch, _ROW[3], _ROW[7])
    for r in range(_ROW[4]):
        scratch[r] = scratch[_ROW[8] + r]
    _add_columns(a, b, c, d, scratch, _RIGHT, _LEFT)
    _grow(a, b, c, d, scratch, _LEFT, _END_223)


@njit(**_HELPER)
def _add_columns(a, b, c, d, scratch, first, last):
    """Add the squared differences of stored columns `first … last` to the running sums."""
    for column in range(first, last, _ROW[4]):
        for r in range(_ROW[1]):
            x = column + r
            ac, ad = _four_squares(a, c, x), _four_squares(a, d, x)
            bc, bd = _four_squares(b, c, x), _four_squares(b, d, x)
            scratch[r] += ac
            scratch[r + _ROW[1]] += ad
            scratch[r + _ROW[2]] += bc
            scratch[r + _ROW[3]] += bd


@njit(**_HELPER)
def _four_squares(a, b, x):
    first, second = _square(a, b, x), _square(a, b, x + _ROW[1])
    return first + second + _square(a, b, x + _ROW[2]) + _square(a, b, x + _ROW[3])


@njit(**_HELPER)
def _square(a, b, x):
    difference = a[x] - b[x]
    return difference * difference


@njit(**_HELPER)
def _grow(a, b, c, d, scratch, column, window):
    """Evaluate 96 windows, each followed by adding its next column, four at a time."""
    for step in range(_STEPS):
        first_column = column + step * _ROW[4]
        first_window = window + step * _ROW[8]
        for r in range(_ROW[1]):
            x, w = first_column + r, first_window + r
            ac, ac_distance = _four_windows(a, c, x, w, scratch[r])
            ad, ad_distance = _four_windows(a, d, x, w, scratch[r + _ROW[1]])
            bc, bc_distance = _four_windows(b, c, x, w, scratch[r + _ROW[2]])
            bd, bd_distance = _four_windows(b, d, x, w, scratch[r + _ROW[3]])
            ac_distance += scratch[r + _ROW[4]]
            ad_distance += scratch[r + _ROW[5]]
            bc_distance += scratch[r + _ROW[6]]
            bd_distance += scratch[r + _ROW[7]]
            # All stores come last: a store between the reads would make each value be read twice.
            scratch[r] = ac
            scratch[r + _ROW[1]] = ad
            scratch[r + _ROW[2]] = bc
            scratch[r + _ROW[3]] = bd
            scratch[r + _ROW[4]] = ac_distance
            scratch[r + _ROW[5]] = ad_distance
            scratch[r + _ROW[6]] = bc_distance
            scratch[r + _ROW[7]] = bd_distance


@njit(**_HELPER)
def _four_windows(a, b, x, w, running):
    """Return the running sum four columns on, and the sum of 1 − SSIM over four windows."""
    n0, d0 = _fraction(a, b, w, running)
    running = running + _square(a, b, x)
    n1, d1 = _fraction(a, b, w + _ROW[2], running)
    running = running + _square(a, b, x + _ROW[1])
    n2, d2 = _fraction(a, b, w + _ROW[4], running)
    running = running + _square(a, b, x + _ROW[2])
    n3, d3 = _fraction(a, b, w + _ROW[6], running)
    running = running + _square(a, b, x + _ROW[3])
    n01, d01 = n0 * d1 + n1 * d0, d0 * d1
    n23, d23 = n2 * d3 + n3 * d2, d2 * d3
    return running, (n01 * d23 + n23 * d01) / (d01 * d23)


@njit(**_HELPER)
def _fraction(a, b, w, running):
    """Numerator and denominator of 1 − SSIM in the window whose statistics are at offset `w`."""
    m, n = a[w], b[w]
    luminance = _TWO * m * n + _ONE
    apart = (m - n) * (m - n)
    variances = a[w + _ROW[1]] + b[w + _ROW[1]]
    numerator = apart * variances + luminance * (running - _COUPLING * apart)
    return numerator, (apart + luminance) * variances


@njit(**_HELPER)
def _add_whole_row(a, b, scratch, running, distance):
    """Add the window over the whole row, which stands at 33 of the 225 positions."""
    for r in range(_ROW[1]):
        numerator, denominator = _fraction(a, b, _WHOLE + r, scratch[running + r])
        scratch[distance + r] += _WHOLE_COUNT * numerator / denominator
