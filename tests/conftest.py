"""Shared by all tests: one torch thread a process, and the folders of figures and photos."""

import contextlib
import os
import resource
import shutil
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


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
