"""A few kills of the soak, what killed processes leave, full disks, read-only folders."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from crowd.data.images import write_image
from crowd.io import files
from crowd.io.errors import InputError
from crowd.io.files import write_array, write_text
from crowd.io.h5 import write_h5
from crowd.train.checkpoints import load_checkpoint, save_checkpoint
from crowd.train.runs import run_folder
from mgot.features import write_features
from tests.conftest import python
from tests.soak import soak


def test_killed_stages_continue_to_the_files_of_an_undisturbed_run(tmp_path):
    """Preprocessing, splatting and a training killed at random; `make soak` does all stages."""
    commands = {name: soak.stages(epochs=4)[name] for name in ("preprocess", "splat", "train gst")}
    for name in ("whole", "parts"):
        soak.draw_sets(tmp_path / name, images=8, domains="a")
    took = {name: soak.run(tmp_path / "whole", words) for name, words in commands.items()}
    kills = soak.killed_pass(tmp_path / "parts", commands, took, 2.0, random.Random(3), 3)
    assert kills.total() > 0
    count, faults = soak.differences(tmp_path / "whole", tmp_path / "parts")
    assert count > 30
    assert faults == []


def test_the_soak_sees_what_differs(tmp_path):
    for name, value in (("a", 1.0), ("b", 2.0)):
        write_h5(tmp_path / name / "x.h5", values=np.full(3, value))
        write_text(tmp_path / name / "same.txt", "same")
        save_checkpoint(tmp_path / name / "x.pth", epoch=value)
    write_text(tmp_path / "b/more.txt", "")
    count, faults = soak.differences(tmp_path / "a", tmp_path / "b")
    assert count == 3
    assert faults == ["more.txt exists once", "x.h5 differs", "x.pth differs"]


KILLED = """
import os, sys
from crowd.io.files import atomic_path
with atomic_path(sys.argv[1]), atomic_path(sys.argv[2], folder=True) as part:
    (part / "a.txt").touch()
    os.kill(os.getpid(), 9)
"""


def test_parts_of_the_killed_go_and_those_of_the_living_stay(tmp_path, monkeypatch):
    python(KILLED, str(tmp_path / "a.txt"), str(tmp_path / "folder"))
    left, folder = sorted(tmp_path.iterdir(), key=Path.is_dir)
    assert (folder / "a.txt").is_file()
    living = tmp_path / left.name.replace(left.name.split("-")[-2], str(os.getppid()))
    elsewhere = tmp_path / ".part-another-machine-1-x.txt"
    old = tmp_path / ".part-another-machine-1-y.txt"
    for path in (living, elsewhere, old):
        path.write_text("half")
    os.utime(old, (0, 0))
    monkeypatch.setattr(files, "_cleared", set())
    write_text(tmp_path / "b.txt", "whole")
    assert set(tmp_path.iterdir()) == {living, elsewhere, tmp_path / "b.txt"}


def is_running(process):
    try:
        os.kill(process, 0)  # asks whether there is such a process
    except ProcessLookupError:
        return False
    return True


POOL = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from crowd.io.progress import start_worker
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context, start_worker) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        time.sleep(60)
"""


def test_workers_end_with_their_killed_main_process(tmp_path):
    script = tmp_path / "main.py"
    script.write_text(POOL)
    environment = os.environ | {"PYTHONPATH": str(soak.ROOT)}
    main = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment)
    worker = int(main.stdout.readline())
    main.send_signal(signal.SIGKILL)
    main.wait()
    until = time.monotonic() + 20
    while is_running(worker):
        assert time.monotonic() < until
        time.sleep(0.05)


WRITERS = {
    "npy": lambda folder: write_array(folder / "a.npy", np.zeros(9000)),
    "h5": lambda folder: write_h5(folder / "a.h5", a=np.random.rand(9000)),
    "text": lambda folder: write_text(folder / "a.txt", "x" * 9000),
    "jpg": lambda folder: write_image(folder / "a.jpg", np.random.rand(200, 200, 3)),
    "checkpoint": lambda folder: save_checkpoint(folder / "a.pth", a=np.zeros(9).tolist() * 999),
    "features": lambda folder: write_features(
        folder / "a.h5", ["p"], "r", lambda first, last: np.zeros((1, 224, 224))
    ),
    "log": lambda folder: run_folder(folder, "x" * 9000).__enter__(),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("room", [0, 700, 5000])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(kind, room, tmp_path, full_disk):
    with full_disk(room), pytest.raises(InputError, match=r"could not be written .*make room"):
        WRITERS[kind](tmp_path / "new")
    assert not [path for path in (tmp_path / "new").rglob("*") if path.is_file()]


def test_a_disk_that_fills_during_a_training_keeps_the_last_epoch(tmp_path, full_disk):
    path = tmp_path / "last.pth"
    save_checkpoint(path, epoch=1)
    with full_disk(100), pytest.raises(InputError, match="make room"):
        save_checkpoint(path, epoch=2)
    assert load_checkpoint(path)["epoch"] == 1
    with run_folder(tmp_path, "") as log:
        log(0, {"loss": 1.0}, {})
        with full_disk(5), pytest.raises(InputError, match="make room and add --resume"):
            log(1, {"loss": 1.0}, {})


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_that_is_read_only_is_one_sentence(kind, tmp_path):
    (tmp_path / "closed").mkdir(mode=0o555)
    if os.access(tmp_path / "closed", os.W_OK):  # root may write anywhere but here
        place = "/proc/sys/new"
    else:
        place = tmp_path / "closed" / "new"
    with pytest.raises(InputError, match=r"cannot write in|could not be written"):
        WRITERS[kind](Path(place))
