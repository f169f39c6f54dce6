"""The process that reads damaged files, one after the other, and says what became of each.

Started by `tests.fuzz.runner`; whatever crashes, hangs or eats memory here is recorded there.
"""

import contextlib
import os
import resource
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


def damaged_path(folder: Path, name: str, number: int) -> Path:
    return folder / name / f"damaged_{number}{TARGETS[name].suffix}"


def serve(pipe, seed: int, folder: Path) -> None:
    """Answer each (format, number), which decide a file with the seed, by what became of it."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    torch.set_num_threads(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # notes of readers, warnings of libraries
    whole: dict[str, list[bytes]] = {}
    with contextlib.suppress(EOFError):
        while True:
            name, number = pipe.recv()
            target, path = TARGETS[name], damaged_path(folder, name, number)
            if name not in whole:
                path.parent.mkdir(exist_ok=True)
                whole[name] = [one.read_bytes() for one in target.whole(path.parent)]
            rng = np.random.default_rng([seed, *name.encode(), number])
            path.write_bytes(damaged(target, whole[name], rng))
            pipe.send(outcome(target, path))
