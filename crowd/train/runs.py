"""Run folders: what was run, from which commit, and one JSON line per epoch."""

import contextlib
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

from crowd.io.errors import InputError, extra
from crowd.io.files import write_text
from crowd.io.locks import alone

STARTS = "starts.jsonl"
LAST, BEST = "last.pth", "best.pth"
"""Checkpoints: the one that --resume continues, and the one with the best validation."""
ROOT = Path(__file__).resolve().parents[2]
# Records are what runs write: those of the runs before are no change of the program.
SOURCES = ["--", ".", ":!results", ":!bench/results"]


class Run:
    """A run folder: `config.yml`, `environment.json`, and a line an epoch in `log.jsonl`.

    What a repeated run gives again stands in `log.jsonl`, what the clock said in `times.jsonl`;
    both are cut back to `first_epoch` when a run is resumed, so that every epoch stands in them
    once. `starts.jsonl` gets a line more, with the epoch, environment and configuration of every
    start, of which the first two files hold the last one. TensorBoard's events are written too. Of
    processes that train together only the first writes. Until it is closed no other process can
    open it.
    """

    def __init__(self, folder: str | os.PathLike, config: str, first_epoch: int = 0):
        with extra("commands", "logging a training"):
            import yaml
            from torch.utils.tensorboard import SummaryWriter
        from crowd.train.distributed import is_main_process

        self.folder, self.writes = Path(folder), is_main_process()
        self._lock = contextlib.ExitStack()
        if not self.writes:
            return
        self._lock.enter_context(alone(self.folder))
        self.logs = [self.folder / name for name in ("log.jsonl", "times.jsonl")]
        write_text(self.folder / "config.yml", config)
        machine = environment()
        write_text(self.folder / "environment.json", json.dumps(machine, indent=2) + "\n")
        start = {"epoch": first_epoch, **machine, "config": yaml.safe_load(config)}
        path = self.folder / STARTS
        write_text(path, _lines([*read_log(path), start]))
        for log in self.logs:
            write_text(log, _lines([one for one in read_log(log) if one["epoch"] < first_epoch]))
        self._writer = SummaryWriter(str(self.folder / "tensorboard"), purge_step=first_epoch)

    def log(self, epoch: int, figures: dict[str, float], times: dict[str, float]) -> None:
        """Append a JSON line each to `log.jsonl` and `times.jsonl`, and the figures to TensorBoard.

        Raises `InputError` when the disk is full.
        """
        if not self.writes:
            return
        try:
            for path, values in zip(self.logs, (figures, times), strict=True):
                with open(path, "a", encoding="utf-8") as file:
                    file.write(json.dumps({"epoch": epoch, **values}) + "\n")
            for name, value in (figures | times).items():
                if isinstance(value, int | float):
                    self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
        except OSError as error:
            raise InputError(
                f"{self.folder} could not be written to ({error.strerror or error}): make room "
                "and add --resume"
            ) from error

    def close(self) -> None:
        """Close the TensorBoard file, and let other processes train in the folder."""
        if self.writes:
            self._writer.close()
        self._lock.close()


def _lines(values: list[dict]) -> str:
    return "".join(json.dumps(one) + "\n" for one in values)


def read_log(path: str | os.PathLike) -> list[dict]:
    """Read a `log.jsonl` or `starts.jsonl`; no file is an empty log.

    A last line cut short by a kill is left out.
    """
    path = Path(path)
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").splitlines()
    figures = []
    for number, line in enumerate(lines, start=1):
        try:
            figures.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number < len(lines):
                raise InputError(f"{path}, line {number} is not JSON: remove the line") from error
    return figures


def environment() -> dict:
    """What a figure depends on beside the configuration: commit, versions, machine, command."""
    import torch  # a log is read without it

    return {
        "commit": _git("rev-parse", "HEAD") or "unknown",
        "uncommitted_changes": bool(
            _git("status", "--porcelain", "--untracked-files=no", *SOURCES)
        ),
        "command": f"python {_program()} {' '.join(sys.argv[1:])}".strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def _program() -> str:
    """Name what runs as it was named: a script, or a module with -m."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    return f"-m {module.name.removesuffix('.__main__')}" if module else Path(sys.argv[0]).name


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
