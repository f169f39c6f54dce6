"""Shared by all tests: one torch thread a process, and the folders of figures and photos."""

import contextlib
import csv
import dataclasses
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import ExifTags, Image

from crowd.train import loop, runs
from crowd.train.checkpoints import load_checkpoint, save_checkpoint
from crowd.train.runs import read_log
from mgot.fidt import Preprocessing
from mgot.models import build_model

TINY = {"widths": [16, 8], "hidden": 4}
ROOT = Path(__file__).resolve().parent.parent


def python(code, *words, cwd=ROOT, environment=os.environ, **variables):
    """Run Python code in a process of its own, with more variables in its environment."""
    command, variables = [sys.executable, "-c", code, *words], environment | variables
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True)


def rows(path):
    """The rows of a CSV file, by the names of its columns."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def oriented(orientation):
    """The EXIF of a photo that is to be shown turned or mirrored."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def turn(path):
    """Let a photo's EXIF say that it is to be shown turned by a quarter."""
    Image.open(path).save(path, exif=oriented(6))


def turn_over(path):
    """Another photo of the same size and heads: the same upside down."""
    with Image.open(path) as image:
        image.transpose(Image.Transpose.FLIP_TOP_BOTTOM).save(path)


def interrupt(patch, stop, epoch=2):
    """Make a training stop in an epoch before it begins, or before its line is in the log."""
    if stop == "training":
        patch.setattr(loop, "train_one_epoch", stopped(loop.train_one_epoch, 4, epoch))
    if stop == "logging":
        patch.setattr(runs, "_log", stopped(runs._log, 2, epoch))


def stopped(function, position, epoch):
    def interrupted(*args, **kwargs):
        if args[position] == epoch:
            raise KeyboardInterrupt
        return function(*args, **kwargs)

    return interrupted


def assert_same_run(first, second):
    assert read_log(first / "log.jsonl") == read_log(second / "log.jsonl")
    one, two = (load_checkpoint(folder / "last.pth") for folder in (first, second))
    for part in ("model", "optimizer", "scheduler", "average"):
        torch.testing.assert_close(one[part], two[part], rtol=0, atol=0)
    assert (one["epoch"], one["best"]) == (two["epoch"], two["best"])


def pytest_configure(config):
    # Another number is wanted where tests.machines varies it.
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


def pytest_collection_modifyitems(items):
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="a machine without CUDA"))


@pytest.fixture(autouse=True)
def denormals():
    """A training leaves them flushed in its process, which here is that of the tests after it."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def golden():
    """Folder with outputs of the released functions."""
    return Path(__file__).resolve().parent / "golden"


@pytest.fixture(scope="session")
def root():
    """Root of the repository, where the flat scripts are."""
    return ROOT


@pytest.fixture
def write_counter(tmp_path):
    """Write a checkpoint of a tiny counter; `bias` raises its whole map."""

    def write(name="counter.pth", seed=0, bias=0.0, **preprocessing):
        torch.manual_seed(seed)
        model = build_model("hrnet_small", **TINY)
        # Weights wide enough for a map with many peaks.
        torch.nn.init.normal_(model.last_layer[-1].weight, std=1.0)
        torch.nn.init.constant_(model.last_layer[-1].bias, bias)
        recipe = {
            "model_name": "hrnet_small",
            "model_options": TINY,
            "preprocessing": dataclasses.asdict(Preprocessing(**preprocessing)),
            "train_median": 2.0,
            "settings": {},
        }
        save_checkpoint(tmp_path / name, model=model.state_dict(), recipe=recipe)
        return tmp_path / name

    return write


@pytest.fixture
def failure(capsys):
    """Run a command that must fail; return its one line on stderr."""

    def run(main, *options):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(option) for option in options])
        lines = capsys.readouterr().err.strip().splitlines()
        assert stop.value.code == 2, lines
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.fixture
def runner(failure, capsys):
    """Make a function that runs a command with `always` and more options.

    It returns what was printed, or with `code=2` the one line about bad input.
    """

    def make(main, *always):
        def run(*options, code=0):
            argv = [str(option) for option in (*always, *options)]
            if code:
                return failure(main, *argv)
            main(argv)
            return capsys.readouterr().out

        return run

    return make


@pytest.fixture
def full_disk():
    """Context in which no file of this process grows beyond a number of bytes."""

    @contextlib.contextmanager
    def limit(size):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limit


@pytest.fixture
def copied():
    """Copy folders as `cp -r` does: outputs first, so that what they come from looks newer."""

    def copy(target, *folders):
        for number, folder in enumerate(folders):
            shutil.copytree(folder, target / folder.name, copy_function=shutil.copyfile)
            for path in (target / folder.name).rglob("*"):
                os.utime(path, ns=(10**18 * (1 + number),) * 2)
        return [target / folder.name for folder in folders]

    return copy


@pytest.fixture
def one_gpu(monkeypatch):
    """The second of two processes on a machine with one GPU; returns the GPUs that are taken."""
    taken = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for name, value in {"RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    return taken
