"""Tiny sets, and torchrun with two processes on this machine."""

import os
import subprocess
import sys

import pytest

from tests.gst.conftest import write_set  # noqa: F401 - a fixture
from tests.mgot.conftest import write_fidt_set  # noqa: F401 - a fixture

PATIENCE = 600  # seconds: a busy machine takes minutes to start two processes


@pytest.fixture
def torchrun(root):
    """Start a script, or -m and a module, in two processes; return torchrun's process."""
    started = []

    def start(*words, restarts=0):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        launcher += ["--nproc-per-node", "2", "--max-restarts", str(restarts)]
        environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        words = [*launcher, *map(str, words)]
        started.append(subprocess.Popen(words, cwd=root, env=environment, **streams))
        return started[-1]

    yield start
    for process in started:
        process.terminate()  # it ends its own processes; one that has ended is left alone


@pytest.fixture
def succeed(torchrun):
    """Run to the end, which must be a good one; return what was printed."""

    def run(*words):
        process = torchrun(*words)
        printed, _ = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, printed
        return printed

    return run
