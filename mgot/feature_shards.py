"""Features computed by several processes: each writes a part, the first one joins them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from crowd.distributed import leads, place_of, total, wait_for_all
from mgot.feature_files import is_whole, open_features, write_features


def write_shared_features(
    path: str | os.PathLike,
    names: Sequence[str],
    recipe: str,
    compute: Callable[[int, int], np.ndarray],
    block: int = 16,
) -> int:
    """As `mgot.feature_files.write_features`, shared among the processes that torchrun started.

    Each takes a stretch of whole blocks, so that every batch is the one that a single process
    would see, and writes it to `NAME.RANK-of-SIZE.h5`, resumable as ever; the joined file is that
    of a single process. The parts are removed when it is whole.

    Returns:
        The number of patches computed by all processes.
    """
    rank, size = place_of()
    if size == 1:
        return write_features(path, names, recipe, compute, block)
    path = Path(path)
    if is_whole(path, names, recipe):
        return 0
    edges = [min(-(-len(names) // block) * r // size * block, len(names)) for r in range(size + 1)]
    parts = [path.with_name(f"{path.stem}.{r}-of-{size}{path.suffix}") for r in range(size)]
    first, last = edges[rank], edges[rank + 1]
    computed = 0
    if last > first:
        computed = write_features(
            parts[rank],
            names[first:last],
            recipe,
            lambda start, end: compute(first + start, first + end),
            block,
        )
    # Also waits until every part is there.
    (computed,) = total([computed])
    if leads():
        write_features(path, names, recipe, _reader(parts, edges), block)
        for part in path.parent.glob(f"{path.stem}.*-of-*{path.suffix}*"):
            part.unlink()
    wait_for_all()
    return int(computed)


def _reader(parts: list[Path], edges: list[int]) -> Callable[[int, int], np.ndarray]:
    """Return what reads a block, which lies in one part, in place of computing it."""

    def read(first: int, last: int) -> np.ndarray:
        number = int(np.searchsorted(edges, first, side="right")) - 1
        with open_features(parts[number]) as features:
            return features.block(np.arange(first, last) - edges[number])

    return read
