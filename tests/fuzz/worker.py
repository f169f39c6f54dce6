"""The process that reads damaged files, one after the other, and says what became of each.

Started by `tests.fuzz.runner`; whatever crashes, hangs or eats memory here is recorded there.
"""

import contextlib
import json
import resource
import sys
import tempfile
import traceback
from pathlib import Path

import numpy as np
import torch

from crowd.io.errors import LONGEST, InputError
from tests.fuzz.mutations import mutate
from tests.fuzz.targets import TARGETS, Target

MEMORY = 8 * 2**30


def damaged(target: Target, whole: list[bytes], rng: np.random.Generator) -> bytes:
    """A damaged file: of a whole one, or now and then of one that says something odd."""
    if target.craft and rng.random() < 0.5:
        content = target.craft(rng)
        return content if rng.random() < 0.8 else mutate(content, rng, target.text, content)
    content, other = (whole[rng.integers(len(whole))] for _ in range(2))
    return mutate(content, rng, target.text, other)


def outcome(target: Target, path: Path) -> str:
    """Say 'read', 'refused', 'contained' (a child process crashed), or what went wrong."""
    try:
        target.read(path)
    except InputError as error:
        message = str(error)
        plain = message.isprintable() and message.encode("utf-8")
        if not plain or len(message) > LONGEST or not message.strip():
            return f"no plain sentence: {message[:300]!r}"
        return "contained" if "crashed on it" in message else "refused"
    except BaseException:
        return traceback.format_exc()
    return "read"


def main(seed: int, tasks: list[tuple[str, int, int]], folder: Path) -> None:
    """Read files `first` … `last − 1` of each format, each decided by (seed, format, number)."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    for name, first, last in tasks:
        target = TARGETS[name]
        place = folder / name
        place.mkdir(exist_ok=True)
        paths = target.whole(place)
        whole = [path.read_bytes() for path in paths]
        for number in range(first, last):
            rng = np.random.default_rng([seed, *name.encode(), number])
            path = place / f"damaged_{number}{target.suffix}"
            path.write_bytes(damaged(target, whole, rng))
            print(json.dumps(["reading", name, number, str(path)]), flush=True)
            with contextlib.redirect_stdout(sys.stderr):
                said = outcome(target, path)
            print(json.dumps(["done", name, number, said]), flush=True)
            path.unlink()


if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]), Path(tempfile.gettempdir(), sys.argv[3]))
