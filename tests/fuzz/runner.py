"""Has damaged files read in another process, and keeps each that is neither read nor refused."""

import contextlib
import multiprocessing
import os
import resource
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from crowd.io.errors import LONGEST, InputError
from tests.fuzz.mutations import mutate
from tests.fuzz.targets import TARGETS, Target

MEMORY = 8 * 2**30
SECONDS = 90
EXPECTED = ("read", "refused", "contained")


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


class Run:
    """Outcomes of a run.

    Attributes:
        counts: format -> outcome ('read', 'refused', 'contained', 'finding') -> files.
        findings: (format, number of the file, what happened).
    """

    def __init__(self, seed: int, findings_folder: Path):
        self.seed, self.folder = seed, findings_folder
        self.counts: dict[str, Counter] = {}
        self.findings: list[tuple[str, int, str]] = []

    def note(self, name: str, number: int, said: str, path: Path) -> None:
        """Count an outcome; keep the file of one that should not be."""
        expected = said in EXPECTED
        self.counts.setdefault(name, Counter())[said if expected else "finding"] += 1
        if not expected:
            self.findings.append((name, number, said))
            self.folder.mkdir(parents=True, exist_ok=True)
            stem = f"{name}_{self.seed}_{number}"
            if path.is_file():
                shutil.copyfile(path, self.folder / f"{stem}{path.suffix}")
            (self.folder / f"{stem}.log").write_text(said)

    def go(self, tasks: Iterable[tuple[str, int]], serve=serve) -> None:
        """Have all files (format, number) read, in a new process after each crash or hang."""
        context, process = multiprocessing.get_context("spawn"), None
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            for name, number in tasks:
                if process is None:
                    pipe, theirs = context.Pipe()
                    given = (theirs, self.seed, Path(folder))
                    process = context.Process(target=serve, args=given, daemon=True)
                    process.start()
                    theirs.close()
                try:
                    pipe.send((name, number))
                    said = pipe.recv() if pipe.poll(SECONDS) else f"took more than {SECONDS} s"
                except (EOFError, OSError):
                    process.join()
                    said = f"the process ended with {process.exitcode}"
                path = damaged_path(Path(folder), name, number)
                self.note(name, number, said, path)
                path.unlink(missing_ok=True)
                if said.startswith(("took", "the process")):
                    process.kill()
                    process = None


def fuzz(names: list[str], files: int, seed: int, findings_folder: Path) -> Run:
    """Read `files` damaged files of each format."""
    run = Run(seed, findings_folder)
    run.go((name, number) for name in names or TARGETS for number in range(files))
    return run


def table(run: Run) -> str:
    """Lay out the outcomes as text, a row a format."""
    columns = (*EXPECTED, "finding")
    lines = [f"{'format':<16}{'files':>8}" + "".join(f"{column:>11}" for column in columns)]
    for name, counts in run.counts.items():
        figures = "".join(f"{counts[column]:>11}" for column in columns)
        lines.append(f"{name:<16}{counts.total():>8}{figures}")
    return "\n".join(lines)
