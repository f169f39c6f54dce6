"""Damaged files of every format end in success or one sentence; 10,000 each: make fuzz."""

import contextlib
import os
import signal

import pytest

from crowd.io.errors import InputError
from tests.fuzz.runner import Run, fuzz, table
from tests.fuzz.targets import TARGETS

FILES = 60


def test_damaged_files_are_read_or_refused_in_one_sentence(tmp_path):
    run = fuzz([], FILES, 1, tmp_path / "findings")
    assert run.findings == [], table(run)
    assert set(run.counts) == set(TARGETS)
    for name, counts in run.counts.items():
        assert counts.total() == FILES
        # A fuzzer whose files are all refused at the door, or none, tests nothing.
        assert counts["refused"], name
        assert counts["read"] + counts["refused"] + counts["contained"] == FILES


@pytest.mark.parametrize("name", TARGETS)
def test_whole_files_are_read(tmp_path, name):
    target = TARGETS[name]
    for path in target.whole(tmp_path):
        # Pickles, and weights that are not of this model, are there to be refused.
        if path.name in ("pickle.npy", "pickle.pth", "released.pth"):
            with pytest.raises(InputError, match=path.name):
                target.read(path)
        else:
            target.read(path)


def dying(pipe, seed, folder):
    """A reader that kills itself at one file, and says of every other that it was read."""
    with contextlib.suppress(EOFError):
        while pipe.recv() != ("csv", 1):
            pipe.send("read")
        os.kill(os.getpid(), signal.SIGSEGV)


def test_a_dead_worker_is_noted_and_the_rest_done(tmp_path):
    run, names = Run(0, tmp_path / "findings"), ("mat", "csv", "yml")
    run.go([(name, number) for name in names for number in range(3)], dying)
    assert {name: counts.total() for name, counts in run.counts.items()} == dict.fromkeys(names, 3)
    assert [(name, number) for name, number, _ in run.findings] == [("csv", 1)]
    assert "-11" in run.findings[0][2]
