"""MATLAB files, v5 to v7.3: read in a process of its own, so that a damaged one crashes nothing.

scipy's reader of MATLAB files is C code that a few flipped bits make write outside its memory, and
version 7.3 is HDF5, a C library too. One child serves all files of its parent: starting it costs
about a second once, a file then a millisecond or a few more than reading it here. It ends with its
parent. Values come back as bytes of a plain array, so nothing that the child says is executed.
"""

import atexit
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from crowd.data.layouts.annotation import REPLACE, Annotation, Format, as_points
from crowd.io.errors import InputError
from crowd.io.files import is_refusal, require_file, unreadable, write_bytes

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 60
MEMORY = 2 * 2**30
SHANGHAITECH = "image_info"


class _Child:
    """The running process, and who started it."""

    def __init__(self):
        self.owner = os.getpid()
        # The package is found wherever the parent works; more threads would only reserve memory.
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
        settings = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.pipe, theirs = Pipe()
        nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                env={**os.environ, **settings},
                pass_fds=[theirs.fileno()],
                **nothing,
            )
        self.pipe.recv_bytes()  # it has started

    def ask(self, path: str, key: str) -> bytes:
        """Return the answer; raise `EOFError` or `OSError` when the child died or hangs."""
        self.pipe.send_bytes(json.dumps([path, key]).encode())
        if not self.pipe.poll(SECONDS):
            raise EOFError
        return self.pipe.recv_bytes()

    def end(self) -> None:
        """End the process; one that a fork copied belongs to another and stays."""
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()


_lock = threading.Lock()
_child: _Child | None = None


def read_points(path: Path, key: str) -> np.ndarray:
    """Read the points that a MATLAB file of any version keeps under `key`, float32 [N, 2].

    Cells and structs around them (ShanghaiTech's `image_info[0,0][0,0][0]`) are opened: a cell at
    its first element, a struct at its field `location`, or else its first.
    Raises `InputError` when the file has no such key, is damaged, crashes the reader, or would take
    more than 2 GiB or a minute.
    """
    global _child
    path = require_file(path, "every photo needs its annotation beside it; " + REPLACE)
    with _lock:
        if _child is None or _child.owner != os.getpid():
            _child = _Child()
        try:
            answer = _child.ask(os.path.abspath(path), key)
        except (EOFError, OSError) as error:
            _child.end()
            _child = None
            raise InputError(
                f"{path} is damaged (the reader of MATLAB files crashed on it, or did not end "
                f"within {SECONDS} s): {REPLACE}"
            ) from error
    if answer.startswith(np.lib.format.MAGIC_PREFIX):
        return as_points(np.lib.format.read_array(io.BytesIO(answer), allow_pickle=False), path)
    fault, *refusal = json.loads(answer)
    raise unreadable(path, OSError(*refusal), fault)


def write_points(path: Path, key: str, points: np.ndarray) -> None:
    """Write points [n, 2] under `key`, float64, as the data set that has this key keeps them."""
    import scipy.io

    values = points.astype(np.float64)
    if key == SHANGHAITECH:
        number = np.array([[len(points)]], np.float64)
        values, location = np.empty((1, 1), object), values
        values[0, 0] = {"location": location, "number": number}
    scipy.io.savemat(buffer := io.BytesIO(), {key: values})
    write_bytes(path, buffer.getvalue())


def mat(key: str) -> Format:
    """Return the format of MATLAB files that keep the points of a photo under `key`."""
    return Format(
        (".mat",),
        lambda _, path: Annotation(read_points(path, key)),
        write=lambda path, points, *_: write_points(path, key, points),
    )


@atexit.register
def _end() -> None:
    if _child is not None:
        _child.end()


def _serve(pipe: Connection) -> None:
    """Answer one message [path, key] after the other, until the parent ends."""
    # Ctrl-C is for the parent, which then ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Let a file that unpacks without end meet a MemoryError; not every system can.
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    pipe.send_bytes(b"ready")
    with contextlib.suppress(EOFError):
        while True:
            pipe.send_bytes(_answer(*json.loads(pipe.recv_bytes())))


def _answer(path: str, key: str) -> bytes:
    """Return the array as an .npy file, or JSON: what is wrong, and what the system said of it."""
    # Not above: the parent never reads such a file itself.
    import h5py

    refusal = (0, "")
    try:
        values = _read_h5(h5py, path, key) if h5py.is_hdf5(path) else _read_v5(path, key)
        np.lib.format.write_array(buffer := io.BytesIO(), values, allow_pickle=False)
        return buffer.getvalue()
    except InputError as error:
        fault = str(error)
    except MemoryError:
        fault = f"is damaged (it asks for more memory than any annotation needs): {REPLACE}"
    # scipy and h5py raise almost anything on a damaged file, from zlib.error to TypeError.
    except Exception as error:
        fault = f"is damaged or not a MATLAB file: {REPLACE}"
        refusal = (error.errno, str(error)) if is_refusal(error) else refusal
    return json.dumps([fault, *refusal]).encode()


def _lacks(key: str, names: Iterable[str]) -> InputError:
    return InputError(f"has no '{key}' (it holds: {', '.join(names) or 'none'}): check --layout")


def _read_v5(path: str, key: str) -> np.ndarray:
    import scipy.io

    content = scipy.io.loadmat(path, appendmat=False)
    if key not in content:
        raise _lacks(key, (name for name in content if not name.startswith("__")))
    value = content[key]
    while isinstance(value, np.ndarray | np.void) and value.dtype.hasobject:
        names = value.dtype.names
        if names:
            value = value["location" if "location" in names else names[0]]
        elif value.size:
            value = value.flat[0]
        else:
            return np.zeros((0, 2))
    return np.asarray(value)


def _read_h5(h5py, path: str, key: str) -> np.ndarray:
    """Version 7.3 is HDF5: arrays transposed, cells as references, empty ones as their shape."""
    with h5py.File(path, "r", locking=False) as file:
        if key not in file:
            raise _lacks(key, (name for name in file if not name.startswith("#")))
        node = file[key]
        while True:
            if isinstance(node, h5py.Group):
                node = node["location" if "location" in node else next(iter(node))]
            elif node.attrs.get("MATLAB_empty", 0) or not node.size:
                return np.zeros((0, 2))
            elif h5py.check_ref_dtype(node.dtype):
                node = file[node[()].flat[0]]
            else:
                return node[()].T


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
