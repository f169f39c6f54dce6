"""Files: whole or absent, and faults told in one sentence."""

import errno
import os

import h5py
import numpy as np
import pytest

from crowd.io.errors import InputError, command
from crowd.io.files import (
    atomic_path,
    read_array,
    require_file,
    require_folder,
    write_array,
    write_text,
)
from crowd.io.h5 import read_h5, write_h5

AGAIN = "interrupted; give the command again (trainings: with --resume)\n"


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error, folder):
    with atomic_path(path, folder) as part:
        (part / "a.txt" if folder else part).write_text("half of the n")
        raise error


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_block_leaves_the_old_file_and_no_remains(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    for name, folder in (("a.txt", False), ("folder", True)):
        with pytest.raises(error):
            write_half(tmp_path / name, error, folder)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_block_that_ends_replaces_the_file(tmp_path):
    path = tmp_path / "new" / "folder" / "a.npy"
    with atomic_path(path) as part:
        assert part.suffix == ".npy"
        assert part.parent == path.parent
        part.write_text("first")
        assert not path.exists()
    text = "second ✓ " + os.fsdecode(b"caf\xe9.jpg")
    write_text(path, text)
    assert path.read_text(encoding="utf-8", errors="surrogateescape") == text
    assert names(path.parent) == ["a.npy"]


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "folder").write_text("")
    with pytest.raises(InputError, match="cannot write in"):
        write_text(tmp_path / "folder" / "a.txt", "")


def test_arrays_come_back_and_objects_are_not_unpickled(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    write_array(tmp_path / "a.npy", array)
    write_h5(tmp_path / "a.h5", full=array, empty=np.zeros((0, 8)))
    assert np.array_equal(read_array(tmp_path / "a.npy", "mend"), array)
    write_array(tmp_path / "weights", array)
    assert np.array_equal(read_array(tmp_path / "weights", "mend"), array)
    assert np.array_equal(read_h5(tmp_path / "a.h5", "full", "mend"), array)
    assert read_h5(tmp_path / "a.h5", "empty", "mend").shape == (0, 8)
    np.save(tmp_path / "o.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"o\.npy is not a readable array file: mend"):
        read_array(tmp_path / "o.npy", "mend")
    with pytest.raises(ValueError, match="Object arrays"):
        write_array(tmp_path / "b.npy", np.array([{}], dtype=object))
    assert not (tmp_path / "b.npy").exists()


def test_missing_things_name_themselves(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w"):
        pass
    with pytest.raises(InputError, match=r"a\.h5 has no dataset 'params': mend"):
        read_h5(tmp_path / "a.h5", "params", "mend")
    for read in (require_file, read_array):
        with pytest.raises(InputError, match=r"is a folder, not a file: mend"):
            read(tmp_path, "mend")
        with pytest.raises(InputError, match=r"none does not exist: mend"):
            read(tmp_path / "none", "mend")
    with pytest.raises(InputError, match=r"a\.h5 is not a folder: mend"):
        require_folder(tmp_path / "a.h5", "mend")


def test_room_is_asked_for_only_where_it_lacks(tmp_path):
    (tmp_path / "folder").mkdir()
    for name in ("folder", "a" * 300):
        with pytest.raises(InputError, match=rf"{name} could not be written .*: check this path$"):
            write_text(tmp_path / name, "")
    for error in (OSError(errno.ENOSPC, "full"), OSError(errno.EDQUOT, "full"), OSError("full")):
        with pytest.raises(InputError, match=r"a could not be written \(full\): make room and run"):
            write_half(tmp_path / "a", error, False)


@pytest.mark.parametrize("look", [require_file, require_folder])
def test_what_may_not_be_looked_at_is_one_sentence(tmp_path, monkeypatch, look):
    with pytest.raises(InputError, match=r"aaa cannot be read \(File name too long\): mend"):
        look(tmp_path / ("a" * 300), "mend")

    def refuse(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.stat", refuse)
    with pytest.raises(InputError, match=r"closed/a could not be read \(Permission denied\)"):
        look(tmp_path / "closed" / "a", "mend")


def test_commands_end_with_a_code_and_our_own_faults_keep_their_trace(capsys):
    @command
    def stopped(error):
        raise error

    for error, code, said in (
        (InputError("a.txt is gone: name one"), 2, "error: a.txt is gone: name one\n"),
        (KeyboardInterrupt(), 130, AGAIN),
    ):
        with pytest.raises(SystemExit) as raised:
            stopped(error)
        assert raised.value.code == code
        assert capsys.readouterr().err == said
    with pytest.raises(ZeroDivisionError):
        stopped(ZeroDivisionError())
    command(print)(os.fsdecode(b"caf\xe9"))
    assert capsys.readouterr().out == "caf\\udce9\n"
