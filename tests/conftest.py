"""Shared by all tests: one torch thread a process, and the folders of figures and photos."""

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config):
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden():
    """Folder with outputs of the released functions."""
    return Path(__file__).resolve().parent / "golden"


@pytest.fixture(scope="session")
def root():
    """Root of the repository, where the flat scripts are."""
    return ROOT
