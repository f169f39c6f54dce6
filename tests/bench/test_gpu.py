"""One command on a GPU, rehearsed on a CPU; and what becomes of stages that fail."""

import contextlib
import json
import subprocess
import sys
import time

import pytest
import torch

from bench import __main__ as bench
from bench.gpu import command, training
from bench.gpu.stages import Context
from gst.counter import load_counter

CPU = torch.device("cpu")


def test_every_stage_is_rehearsed_and_leaves_its_record(tmp_path):
    bench.main(["gpu", "--rehearse", "--minutes", "30", "--output", str(tmp_path)])
    record = json.loads((tmp_path / "gpu.json").read_text())["stages"]
    assert {name: one["status"] for name, one in record.items()} == dict.fromkeys(record, "passed")
    assert list(record) == list(command.STAGES)
    assert (tmp_path / "table.txt").read_text().count(" passed ") == len(record)
    assert list(record["i_trainings"]["trainings"]) == list(training.PLANS)
    for name, trained in record["i_trainings"]["trainings"].items():
        assert (trained["epochs"], trained["test"]["photos"]) == (2, 2)
        counter = load_counter(tmp_path / f"{name}.pth", CPU)
        assert (counter.name, counter.preprocessing.tile) == ("vgg_small", 2048)


@pytest.mark.parametrize(
    ("status", "wait", "fails"), [(0, 600, False), (2, 600, True), (None, 62, False), (0, 0, False)]
)
def test_trainings_go_on_with_the_next_command(status, wait, fails, tmp_path, monkeypatch):
    """They end as they like, with an error, or not before the deadline; or there is no time."""
    begun, real = [], subprocess.Popen
    last = f"raise SystemExit({status})" if status is not None else "import time; time.sleep(99)"

    def start(words, **_):
        begun.append(real([sys.executable, "-c", last]))
        assert "--resume" in words
        return begun[-1]

    monkeypatch.setattr(training, "draw", lambda folders: None)
    monkeypatch.setattr(training, "processed", lambda context, half: tmp_path)
    monkeypatch.setattr(training, "_fit_gaussians", lambda *_: None)
    monkeypatch.setattr(training.subprocess, "Popen", start)
    data = [tmp_path / name for name in command.TRAVELLING]
    context = Context("i", "", tmp_path, tmp_path / "out", data, time.time() + wait, True)
    with pytest.raises(RuntimeError, match="failed") if fails else contextlib.nullcontext():
        training.train(context)
    # None is begun that would not end before the deadline.
    assert len(begun) == (len(training.PLANS) if wait > training.RESERVE else 0)
    assert all(process.poll() is not None for process in begun)


STAND_IN = """
import os, time

def fail(context):
    context.note(seen=1)
    raise ValueError("no such luck")

def sleep(context):
    context.note(seen=2)
    time.sleep(60)

def train(context):
    tries = context.work / "tries"
    tries.write_text(tries.read_text() + "I" if tries.exists() else "I")
    context.note(tries=tries.read_text())
    if tries.read_text() == "I":
        os._exit(3)

def succeed(context):
    pass
"""


def test_a_stage_that_fails_or_takes_too_long_stops_no_other(tmp_path, monkeypatch, capsys):
    (tmp_path / "toy.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(command, "SHORTEST", 0.0)
    monkeypatch.setattr(command, "require_gpu", lambda: None)
    stages = {
        "a_fails": ("toy:fail", 60),
        "b_sleeps": ("toy:sleep", 15),
        "c_passes": ("toy:succeed", 60),
        "d_none_left": ("toy:succeed", -1),
        "h_trains": ("toy:train", 0),
    }
    monkeypatch.setattr(command, "STAGES", stages)
    words = ["--output", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--minutes", "9"]
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 1
    record = json.loads((tmp_path / "out" / "gpu.json").read_text())["stages"]
    expected = ("failed", "failed", "passed", "left", "passed")
    outcomes = {name: one["status"] for name, one in record.items()}
    assert outcomes == dict(zip(stages, expected, strict=True))
    assert record["a_fails"]["error"] == "ValueError: no such luck"
    assert (record["a_fails"]["seen"], record["b_sleeps"]["seen"]) == (1, 2)
    assert record["b_sleeps"]["error"] == "ended for want of time"
    # A training that fails is tried once more, and goes on with every command; others stay.
    assert record["h_trains"]["tries"] == "II"
    with pytest.raises(SystemExit):
        command.main(words)
    record = json.loads((tmp_path / "out" / "gpu.json").read_text())["stages"]
    assert record["h_trains"]["tries"] == "III"
    assert record["b_sleeps"]["status"] == "failed"
    assert "no such luck" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine with CUDA")
def test_a_machine_without_a_gpu_is_one_sentence(tmp_path, failure):
    assert "add --rehearse" in failure(bench.main, "gpu", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
