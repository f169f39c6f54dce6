"""What a command does with bad input: one sentence, exit code 2, nothing half-written."""

import contextlib
import errno
import functools
import os
import re
import sys
from collections.abc import Callable, Iterator

LONGEST = 2000


class InputError(Exception):
    """A fault in the user's input; the message names the file (or argument) and the remedy."""

    def __init__(self, message: str):
        # torch's DataLoader raises a worker's error anew with its traceback as the message.
        message = message.rsplit(f"{type(self).__name__}: ", 1)[-1].strip()
        # Names and values come from files: none may break the line, steer the terminal, fail to
        # print, or bury the remedy.
        message = re.sub(r"[\r\n\t]+", " ", message)
        message = "".join(
            character if character.isprintable() else ascii(character)[1:-1]
            for character in message
        )
        if len(message) > LONGEST:
            message = f"{message[: 2 * LONGEST // 3]} … {message[-LONGEST // 4 :]}"
        super().__init__(message)


class Refused(InputError):
    """The system would not open or read a file: no permission, no lock, an ailing disk.

    The file may be whole: what reads it must neither call it damaged nor compute it anew.
    """


class MissingExtra(InputError, ImportError):
    """A package is not installed that some commands and functions need, and others do not."""


@contextlib.contextmanager
def extra(name: str, purpose: str) -> Iterator[None]:
    """Optional dependency: import in the block what an extra of pyproject.toml brings.

        with extra("commands", "resizing photos"):
            import cv2

    Raises `MissingExtra`, which names package, purpose and extra, when it is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = str(error.name).partition(".")[0]
        raise MissingExtra(f"{package} is needed for {purpose}: {install(name)}") from error


def install(extra: str) -> str:
    """Say how an extra is installed, beside the packages or from a checkout."""
    return f'pip install "mgot-gst[{extra}]" (in a checkout: ".[{extra}]")'


def raise_or_note(message: str, faults: list[str] | None) -> None:
    """Raise `InputError`, or append the message to `faults` where a list is given."""
    if faults is None:
        raise InputError(message)
    faults.append(str(InputError(message)))


def command(main: Callable) -> Callable:
    """Make `main` a command: an `InputError` becomes one line on stderr and exit code 2.

    It exits quietly on a broken pipe (`| head`). Any other exception is a fault of ours and keeps
    its traceback.
    """

    @functools.wraps(main)
    def run(*args, **kwargs):
        with contextlib.suppress(AttributeError):  # of a notebook, which prints anything
            sys.stdout.reconfigure(errors="backslashreplace")  # names of files may be no text
        with ending():
            result = main(*args, **kwargs)
            sys.stdout.flush()
            return result

    return run


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """End the program as `command` says if the block fails."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        again = "interrupted; give the command again (trainings: with --resume)"
        print(again, file=sys.stderr)
        raise SystemExit(130) from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EPIPE):
            raise
        with contextlib.suppress(OSError):
            sys.stdout.flush()  # the error may be of another file
        # What is left of the output goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            raise SystemExit(141) from None
        print(f"error: {error.strerror}: make room, then give the command again", file=sys.stderr)
        raise SystemExit(2) from None
