"""What is up to date in a stage of the data: told by settings and content, never by a file's time.

Beside the outputs of an item, a photo as a rule, lies `.made/NAME.json` with the settings that
decided them and a hash of all that they come from. It is written last, so that what it
vouches for is whole; a copy of the folder takes it along, and computes nothing anew.
"""

import contextlib
import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

from crowd.io.files import content_hash, write_text

RECORDS = ".made"


def record_path(output: Path) -> Path:
    """Where it is recorded what `output`, and all that is written with it, was made from."""
    return output.parent / RECORDS / f"{output.stem}.json"


def origin(settings: Mapping, sources: Iterable[Path]) -> dict:
    """What outputs are made from: plain settings, and file name -> hash of each source.

    The hash of a file that is missing is None: its reader says so.
    """
    return {
        "settings": json.loads(json.dumps(dict(settings), default=str)),
        "sources": {path.name: content_hash(path) if path.exists() else None for path in sources},
    }


def is_made(record: Path, made_from: dict, outputs: Iterable[Path]) -> bool:
    """Whether all outputs are there and recorded as made from just that."""
    return read_record(record) == made_from and all(path.is_file() for path in outputs)


def read_record(record: Path) -> dict:
    """The `origin` of outputs; empty where there is no record of them, or a damaged one."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        known = json.loads(record.read_text(encoding="utf-8"))
        if all(isinstance(known[name], dict) for name in ("settings", "sources")):
            return known
    return {}


def write_record(record: Path, made_from: dict) -> None:
    """Vouch for outputs, once all of them are written."""
    write_text(record, json.dumps(made_from, indent=1) + "\n")


def withdraw(record: Path) -> None:
    """Vouch for outputs no more: killed while they are written anew, they are a mixture."""
    if record.exists():
        write_text(record, "")


def forget(folder: Path) -> None:
    """Make all outputs in `folder` count as not made."""
    shutil.rmtree(folder / RECORDS, ignore_errors=True)
