"""Progress bars for everything that takes longer than two seconds, and notes."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable

from tqdm import tqdm

from crowd.io.errors import InputError

# Set in all but one of several processes that do the same.
silent = False


def progress(items: Iterable | None = None, what: str = "", unit: str = "it", **options) -> tqdm:
    """Wrap `items` in a progress bar that appears after two seconds.

    On a terminal the bar redraws itself; in a log file it prints a line every 30 s at most.
    """
    options.setdefault("disable", silent)
    options.setdefault("mininterval", 0.1 if sys.stderr.isatty() else 30.0)
    return tqdm(items, desc=what, unit=unit, delay=2.0, dynamic_ncols=True, **options)


@functools.cache
def note(message: str) -> None:
    """Print what a user should know on stderr, once however often it is said."""
    if not silent:
        # As errors are: names come from files, and none may break the line.
        print(f"note: {InputError(message)}", file=sys.stderr)
