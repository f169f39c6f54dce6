"""Runs workers over all damaged files, and keeps every file that is neither read nor refused."""

import json
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from pathlib import Path

from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parent.parent.parent
WORKER = ["-m", "tests.fuzz.worker"]
SECONDS = 90
EXPECTED = ("read", "refused", "contained")


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

    def go(self, tasks: list[tuple[str, int, int]]) -> None:
        """Do all tasks, in a new worker after each crash or hang."""
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            while tasks:
                tasks = self._work(tasks, folder)

    def _work(self, tasks: list[tuple[str, int, int]], folder: str) -> list[tuple[str, int, int]]:
        """Run one worker; return what is left when it ended before its time."""
        command = [sys.executable, *WORKER, str(self.seed), json.dumps(tasks)]
        with subprocess.Popen(
            [*command, folder],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as worker:
            lines: queue.Queue = queue.Queue()
            threading.Thread(target=_forward, args=(worker.stdout, lines), daemon=True).start()
            name = number = None
            path = Path()
            while True:
                try:
                    line = lines.get(timeout=SECONDS)
                except queue.Empty:
                    worker.kill()
                    self.note(name, number, f"took more than {SECONDS} s", path)
                    break
                if line is None:
                    if worker.wait() == 0:
                        return []
                    self.note(name, number, f"the process ended with {worker.returncode}", path)
                    break
                what, name, number, said = json.loads(line)
                if what == "done":
                    self.note(name, number, said, path)
                path = Path(said) if what == "reading" else path
        names = [task[0] for task in tasks]
        rest = tasks[names.index(name) :]
        return [(name, number + 1, rest[0][2]), *rest[1:]]


def _forward(stream, lines: queue.Queue) -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def fuzz(names: list[str], files: int, seed: int, findings_folder: Path) -> Run:
    """Read `files` damaged files of each format."""
    run = Run(seed, findings_folder)
    run.go([(name, 0, files) for name in names or TARGETS])
    return run


def table(run: Run) -> str:
    """Lay out the outcomes as text, a row a format."""
    columns = (*EXPECTED, "finding")
    lines = [f"{'format':<16}{'files':>8}" + "".join(f"{column:>11}" for column in columns)]
    for name, counts in run.counts.items():
        figures = "".join(f"{counts[column]:>11}" for column in columns)
        lines.append(f"{name:<16}{counts.total():>8}{figures}")
    return "\n".join(lines)
