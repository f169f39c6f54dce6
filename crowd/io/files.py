"""Reading that explains itself and writing that is whole or absent."""

import contextlib
import csv
import errno
import functools
import hashlib
import io
import os
import re
import shutil
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from crowd.io.errors import InputError, Refused, extra

# No map, list or centre of ours comes near it; a damaged header may ask for any amount.
LARGEST_ARRAY = 2**31
PART = ".part-"
# What says nothing of a file's content: the system or the disk would not read it.
_REFUSALS = {
    getattr(errno, name)
    for name in (
        *("EACCES", "EPERM", "EBUSY", "EIO", "EMFILE", "ENFILE", "ESTALE", "ETIMEDOUT"),
        *("EAGAIN", "ENOLCK", "ENOSYS", "EOPNOTSUPP"),  # of locks
    )
}
_DAY = 86_400.0
_cleared: set[tuple[int, Path]] = set()


def require_folder(path: str | os.PathLike, remedy: str) -> Path:
    """Return `path` as a Path; raise `InputError` with `remedy` when it is no folder."""
    path = Path(path)
    with _looking_at(path, remedy):
        if not path.is_dir():
            raise InputError(f"{path} is not a folder: {remedy}")
    return path


def require_file(path: str | os.PathLike, remedy: str) -> Path:
    """Return `path` as a Path; raise `InputError` with `remedy` when it is no file."""
    path = Path(path)
    with _looking_at(path, remedy):
        if not path.is_file():
            fault = "is a folder, not a file" if path.is_dir() else "does not exist"
            raise InputError(f"{path} {fault}: {remedy}")
    return path


@contextlib.contextmanager
def _looking_at(path: Path, remedy: str) -> Iterator[None]:
    """Raise `InputError` if the system does not let the block see whether `path` is there."""
    try:
        yield
    except OSError as error:  # no permission to search a folder above it, or a name too long
        raise unreadable(path, error, f"cannot be read ({error.strerror}): {remedy}") from error


def until_changed(function: Callable) -> Callable:
    """Keep what a function reads of a path, for the last few, until they change on disk."""

    @functools.lru_cache(64)
    def kept(path: Path, *more, state: tuple):  # noqa: ARG001 - a part of the key
        return function(path, *more)

    @functools.wraps(function)
    def read(path: Path, *more):
        state = os.stat(path) if os.path.exists(path) else None
        return kept(path, *more, state=state and (state.st_mtime_ns, state.st_size))

    return read


def content_hash(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content, hex: it tells files apart wherever they lie, however old.

    Raises `InputError` when the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error, f"cannot be read ({error.strerror}): name a file") from error


def short_hash(path: str | os.PathLike) -> str:
    """First 12 digits of a file's `content_hash`, by which records name it."""
    return content_hash(path)[:12]


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, folder: bool = False) -> Iterator[Path]:
    """Yield a temporary file, or `folder`, and move it to `path` only if the block succeeds.

    The temporary name keeps the suffix, so that writers which choose a format by it still work.
    A reader sees the old file or the new one, never a part; a full disk leaves no remains, and
    those of a process that was killed are removed by the next one that writes beside `path`.
    """
    path = Path(path)
    name = f"{PART}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}{path.suffix}"
    part = path.parent / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path.parent)
        part.mkdir() if folder else part.touch()
    except OSError as error:
        raise InputError(
            f"cannot write in {path.parent} ({error.strerror}): choose a folder you may write to"
        ) from error
    try:
        yield part
        if not folder:
            with open(part, "rb") as file:
                os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, None)
        remedy = "make room and run the command again" if full else "check this path"
        raise InputError(
            f"{path} could not be written ({error.strerror or error}): {remedy}"
        ) from error
    finally:
        if folder:
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed processes began to write in `folder`; once a process and folder."""
    if (os.getpid(), folder) in _cleared:
        return
    for part in folder.glob(f"{PART}*"):
        # Another process may be removing it too, or it has a name that is not ours.
        with contextlib.suppress(OSError, ValueError):
            if _is_left(part):
                shutil.rmtree(part) if part.is_dir() else part.unlink()
    _cleared.add((os.getpid(), folder))


def _is_left(part: Path) -> bool:
    """Whether nobody writes `part` any more; of other machines' parts only their age is known."""
    host, process, _ = part.name.removeprefix(PART).rsplit("-", 2)
    if host != socket.gethostname():
        return part.stat().st_mtime < time.time() - _DAY
    with contextlib.suppress(PermissionError):
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            return True
    # Number and host of a process may return, as they do in containers.
    return int(process) == os.getpid()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` (UTF-8, names of files as the disk has them) atomically."""
    write_bytes(path, text.encode(errors="surrogateescape"))


def write_bytes(path: str | os.PathLike, content: bytes | memoryview) -> None:
    """Write a file atomically."""
    with atomic_path(path) as part:
        part.write_bytes(content)


def csv_text(names: Sequence[str], rows: Iterable[Sequence]) -> str:
    """Lay out a table as CSV."""
    table = csv.writer(text := io.StringIO(), lineterminator="\n")
    table.writerows([names, *rows])
    return text.getvalue()


def write_array(path: str | os.PathLike, array: np.ndarray) -> None:
    """Write an `.npy` file atomically."""
    # Into memory first: of a full disk numpy says no more than how many bytes it wrote.
    np.save(content := io.BytesIO(), array, allow_pickle=False)
    write_bytes(path, content.getbuffer())


def unreadable(path: str | os.PathLike, error: Exception, damage: str) -> InputError:
    """What to say of a file that `error` kept from being read: `damage`, or what the system said.

    `damage` is the sentence after the file's name, where the system is not to blame.
    """
    if not is_refusal(error):
        return InputError(f"{path} {damage}")
    if "unable to lock" in str(error):
        held = isinstance(error, BlockingIOError)
        why = "is locked by another process" if held else "lies on a disk that grants no locks"
        wait = "wait for it, or " if held else ""
        return Refused(f"{path} {why}: {wait}set HDF5_USE_FILE_LOCKING=FALSE in the environment")
    return Refused(
        f"{path} could not be read ({os.strerror(error.errno)}), which says nothing against its "
        "content: look at its permissions and its disk, and run the command again"
    )


def is_refusal(error: Exception) -> bool:
    """Whether the system would not open or read a file, whatever it holds."""
    return isinstance(error, OSError) and error.errno in _REFUSALS


def read_array(path: str | os.PathLike, remedy: str) -> np.ndarray:
    """Read an `.npy` file that holds numbers; raise `InputError` with `remedy` otherwise."""
    path = require_file(path, remedy)
    try:
        with open(path, "rb") as file:
            # numpy.load would also open archives and, if it was let, pickles.
            return np.lib.format.read_array(file, allow_pickle=False)
    # A damaged header may ask for any memory, and parsing it may end in almost anything.
    except Exception as error:
        raise unreadable(path, error, f"is not a readable array file: {remedy}") from error


def read_text(path: Path, remedy: str) -> str:
    """Read UTF-8 text, with or without a byte order mark; raise `InputError` otherwise."""
    path = require_file(path, remedy)
    try:
        return path.read_text(encoding="utf-8-sig")
    except (UnicodeDecodeError, OSError) as error:
        damage = f"is not readable as UTF-8 text: save it as UTF-8 ({remedy})"
        raise unreadable(path, error, damage) from error


def read_yaml(path: str | os.PathLike, remedy: str) -> dict:
    """Read the 'key: value' lines of a YAML file; an empty one gives an empty dictionary.

    Only plain values are made, whatever tags the file holds, and no anchors are followed, which
    make a few lines any amount. No key is given twice, and no number begins with a needless 0.
    Raises `InputError` otherwise.
    """
    path = Path(path)
    text = read_text(path, remedy)
    with extra("commands", "reading YAML"):
        import yaml
    try:
        loader = yaml.SafeLoader(text)
        for event in yaml.parse(text, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"'*{event.anchor}' refers to another value: write it out")
        node = loader.get_single_node()
        if node:
            _check_yaml(node)
        values = node and loader.construct_document(node)
    # Dates, tags and deep nesting raise more than YAMLError.
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise unreadable(path, error, f"is not valid YAML ({reason}): {remedy}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise InputError(f"{path} must hold 'key: value' lines: {remedy}")
    return values


def _check_yaml(node) -> None:
    """Raise `ValueError` for a key given twice and for 0123, which YAML reads as 83, in a node."""
    if node.tag == "tag:yaml.org,2002:int" and re.match(r"[-+]?0[0-9_]", node.value):
        raise ValueError(f"{node.value} is a number to the base 8: begin without 0, or quote it")
    if node.id == "sequence":
        for part in node.value:
            _check_yaml(part)
    if node.id == "mapping":
        keys = Counter(key.value for key, _ in node.value if key.id == "scalar")
        twice = [key for key, number in keys.items() if number > 1]
        if twice:
            raise ValueError(f"'{twice[0]}' is given twice: keep one of them")
        for _, part in node.value:
            _check_yaml(part)
