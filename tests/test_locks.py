"""A lock, or what else the system refuses, is never called damage; h5 files are read unlocked."""

import contextlib
import errno
import fcntl
import functools
import os
import shutil
import subprocess

import h5py
import numpy as np
import pytest

from crowd.data.images import read_image, write_image
from crowd.data.layouts import mat
from crowd.data.processed import unfinished
from crowd.data.splits import read_list
from crowd.data.stage import origin, record_path, write_record
from crowd.io.errors import InputError, Refused
from crowd.io.files import read_array, read_yaml, write_array, write_text
from crowd.io.h5 import read_h5, write_h5
from crowd.train.checkpoints import load_checkpoint
from crowd.train.runs import run_folder
from GS2D.jobs import FitSettings, is_finished
from GS2D.store import gaussians_path, read_gaussians, write_gaussians
from mgot.feature_files import open_features, read_index_lists
from mgot.features import write_features
from tests.conftest import python
from tests.fuzz.targets import TARGETS, Target

PARAMS = np.ones((2, 8), np.float32)
SIDE = 224


def maps(first, last):
    return np.ones((last - first, SIDE, SIDE), np.float32)


def read_names(path):
    with open_features(path) as features:
        return features.names, features.read([0])


def finished_features(folder):
    assert write_features(folder / "f.h5", ["a.jpg"], "r", maps) == 1
    return [folder / "f.h5"]


def read_finished(path):
    assert write_features(path, ["a.jpg"], "r", maps) == 0


def matlab(folder):
    write_h5(folder / "a.mat", annPoints=np.array([[1.0, 3.0], [2.0, 4.0]]))
    return [folder / "a.mat"]


# Every kind of h5 file that a command reads: how it is written, and how it is read.
H5 = {name: TARGETS[name] for name in TARGETS if name.startswith("h5_")}
H5["finished features"] = Target(".h5", finished_features, read_finished)
H5["MATLAB 7.3"] = Target(".mat", matlab, lambda path: mat.read_points(path, "annPoints"))


@contextlib.contextmanager
def refusing(name, number, words=None):
    """What has this name raises the system's error of that number."""

    def refuse(*_, **__):
        raise OSError(number, words or os.strerror(number))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(name, refuse)
        yield


def begin_features(path, names, done):
    """Write features, and interrupt it when so many of them are done."""

    def stop(first, last):
        if first == done:
            raise KeyboardInterrupt
        return maps(first, last)

    with pytest.raises(KeyboardInterrupt):
        write_features(path, names, "r", stop, block=1)


@pytest.fixture
def fitted_photo(tmp_path):
    photo = tmp_path / "a.png"
    write_image(photo, np.zeros((9, 9, 3), np.uint8))
    write_array(photo.with_suffix(".npy"), np.ones((2, 2), np.float32))
    write_gaussians(gaussians_path(photo), PARAMS)
    return photo


@pytest.fixture
def held():
    """Lock a file as another process does that has it open."""
    handles = []

    def lock(path):
        handles.append(os.open(path, os.O_RDWR))
        fcntl.flock(handles[-1], fcntl.LOCK_EX)

    yield lock
    for handle in handles:
        os.close(handle)


WRITERS = {
    "training": lambda folder: run_folder(folder, ""),
    "set": unfinished,
}


@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS)
def test_a_folder_is_written_by_one_process_at_a_time(tmp_path, writer):
    refused = pytest.raises(InputError, match="is being written by another process")
    with contextlib.suppress(KeyError), writer(tmp_path):
        with refused, writer(tmp_path):
            pass
        raise KeyError
    with writer(tmp_path):  # free again, though the block before it failed
        pass


@pytest.mark.parametrize("kind", H5)
def test_h5_files_are_read_while_another_process_holds_them(tmp_path, held, kind):
    for path in H5[kind].whole(tmp_path):
        held(path)
        with pytest.raises(BlockingIOError):
            h5py.File(path)
        H5[kind].read(path)


@pytest.fixture(scope="module")
def without_locks(tmp_path_factory):
    """Run Python as on a disk that grants no locks."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("no_locks")
    lockless = "#include <errno.h>\nint flock(int f, int o) { errno = ENOLCK; return -1; }\n"
    (folder / "a.c").write_text(lockless)
    built = subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "a.so", folder / "a.c"])
    if built.returncode:
        pytest.skip("the C compiler makes no shared library here")
    return functools.partial(python, LD_PRELOAD=str(folder / "a.so"))


LOCKLESS = """
import sys
from pathlib import Path
import h5py, pytest
from tests.test_locks import H5
for kind in H5:
    (folder := Path(sys.argv[-1]) / kind).mkdir()
    for path in H5[kind].whole(folder):
        with pytest.raises(OSError, match="No locks available"):
            h5py.File(path)
        H5[kind].read(path)
"""


def test_a_disk_without_locks_is_read_and_written(tmp_path, without_locks):
    code = f"import sys; sys.path.insert(0, '.'); sys.argv.append({str(tmp_path)!r})\n{LOCKLESS}"
    done = without_locks(code, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    assert "grants no locks: let no second command write it" in done.stderr


@pytest.mark.parametrize("before", [0, 3])
def test_begun_features_survive_a_disk_without_locks(tmp_path, without_locks, before):
    """What an interrupted command left is continued, not written anew."""
    names = [f"{number}.jpg" for number in range(4)]
    begin_features(tmp_path / "f.h5", names, before)
    done = without_locks(
        "import numpy as np\nfrom mgot.features import write_features\n"
        f"print(write_features({str(tmp_path / 'f.h5')!r}, {names}, 'r',"
        "lambda first, last: np.ones((last - first, 224, 224), 'f4'), block=1))"
    )
    assert done.stdout == f"{4 - before}\n", done.stderr


def test_begun_features_that_cannot_be_read_now_are_not_begun_again(tmp_path):
    names = ["a.jpg", "b.jpg"]
    begin_features(tmp_path / "f.h5", names, 1)
    (part,) = tmp_path.glob("*/*/*.npy")
    begun = part.read_bytes()
    with refusing("numpy.lib.format.read_array", errno.EIO), pytest.raises(Refused):
        write_features(tmp_path / "f.h5", names, "r", maps, 1)
    assert part.read_bytes() == begun


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOLCK])
def test_a_lock_that_is_asked_for_names_its_variable(tmp_path, fitted_photo, number):
    """HDF5_USE_FILE_LOCKING=TRUE overrules what a program asks for."""
    write_features(tmp_path / "f.h5", ["a.jpg"], "r", maps)
    words = f"Unable to open file (unable to lock file, errno = {number})"
    says = pytest.raises(Refused, match="set HDF5_USE_FILE_LOCKING=FALSE")
    for read in (
        lambda: read_gaussians(gaussians_path(fitted_photo)),
        lambda: is_finished(fitted_photo, FitSettings()),
        lambda: read_names(tmp_path / "f.h5"),
        lambda: write_features(tmp_path / "f.h5", ["a.jpg"], "r", maps),
    ):
        with refusing("h5py.File", number, words), says as caught:
            read()
        assert "damaged" not in str(caught.value)
        assert "remove" not in str(caught.value)


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE])
@pytest.mark.parametrize("kind", ["h5", "npy", "jpg", "pth", "index", "yml", "list"])
def test_what_the_system_refuses_is_not_called_damaged(tmp_path, number, kind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"whole")
    opener, read = {
        "h5": ("h5py.File", lambda: read_h5(path, "a", "remove it")),
        "npy": ("builtins.open", lambda: read_array(path, "remove it")),
        "jpg": ("PIL.Image.open", lambda: read_image(path)),
        "pth": ("torch.load", lambda: load_checkpoint(path)),
        "index": ("builtins.open", lambda: read_index_lists(path)),
        "list": ("pathlib.Path.read_text", lambda: read_list(path, [])),
        "yml": ("pathlib.Path.read_text", lambda: read_yaml(path, "remove it")),
    }[kind]
    says = pytest.raises(Refused, match="which says nothing against its content")
    with refusing(opener, number), says:
        read()
    with pytest.raises(InputError) as caught:
        read()
    assert not isinstance(caught.value, Refused)


def test_a_fit_that_cannot_be_read_now_is_not_fitted_again(fitted_photo):
    path, labels = gaussians_path(fitted_photo), fitted_photo.with_suffix(".npy")
    write_record(record_path(path), origin(FitSettings().deciding(), [fitted_photo, labels]))
    assert is_finished(fitted_photo, FitSettings())
    with refusing("h5py.File", errno.EIO), pytest.raises(Refused):
        is_finished(fitted_photo, FitSettings())
    write_text(path, "no h5 file")
    assert not is_finished(fitted_photo, FitSettings())
