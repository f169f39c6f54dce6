"""Run folders: what was run, from which commit, and one JSON line per epoch."""

import contextlib
import functools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator
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


@contextlib.contextmanager
def run_folder(folder: Path, config: str, first_epoch: int = 0) -> Iterator[Callable]:
    """Open a run folder: `config.yml`, `environment.json`, and a line an epoch in `log.jsonl`.

    Yields what takes an epoch's number, figures and times, and writes them. What a repeated run
    gives again stands in `log.jsonl`, what the clock said in `times.jsonl`; both are cut back to
    `first_epoch`, so that after `--resume` every epoch stands in them once. `starts.jsonl` gets a
    line of every start, of which the first two files hold the last one. TensorBoard's events are
    written too. Of processes that train together only the first writes. No other can open the
    folder meanwhile. Raises `InputError` when the disk is full.
    """
    with extra("commands", "logging a training"):
        import yaml
        from torch.utils.tensorboard import SummaryWriter
    from crowd.train.distributed import is_main_process

    if not is_main_process():
        yield lambda *_: None
        return
    with alone(folder):
        logs = [folder / name for name in ("log.jsonl", "times.jsonl")]
        write_text(folder / "config.yml", config)
        machine = environment()
        write_text(folder / "environment.json", json.dumps(machine, indent=2) + "\n")
        start = {"epoch": first_epoch, **machine, "config": yaml.safe_load(config)}
        write_text(folder / STARTS, _lines([*read_log(folder / STARTS), start]))
        for log in logs:
            write_text(log, _lines([one for one in read_log(log) if one["epoch"] < first_epoch]))
        writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first_epoch)
        with contextlib.closing(writer):
            yield functools.partial(_log, logs, writer)


def _log(logs: list[Path], writer, epoch: int, figures: dict, times: dict) -> None:
    try:
        for path, values in zip(logs, (figures, times), strict=True):
            with open(path, "a", encoding="utf-8") as file:
                file.write(_lines([{"epoch": epoch, **values}]))
        for name, value in (figures | times).items():
            writer.add_scalar(name, value, epoch)
        writer.flush()
    except OSError as error:
        raise InputError(
            f"{logs[0].parent} could not be written to ({error.strerror or error}): make room "
            "and add --resume"
        ) from error


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
