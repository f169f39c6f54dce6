"""Measure everything that wants a GPU, and train on it for what time is left.

    python -m bench gpu --minutes 15 --output records
    python -m bench gpu --rehearse --output records      on a CPU, everything tiny

Stages run in the order of their worth, each to a deadline of its own; `gpu.json` holds what is
known at every moment. Given again, the command runs the stages that it has not come to and goes on
with the trainings (docs/GPU.md).
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bench.gpu.stages import FAILED, LEFT, PASSED, RUNNING, record_path
from crowd.io.config import ArgumentParser, NonNegativeFloat, PositiveFloat
from crowd.io.errors import InputError, command
from crowd.io.files import require_folder, write_text
from crowd.train.runs import ROOT

WORKER = "bench.gpu.worker"
TRAVELLING = [".gpu_train", ".gpu_test"]
SHORTEST = 5.0  # seconds that a stage is begun for
FOR_TRAINING = 0.5  # share of the time that is kept for the trainings


class Stage(NamedTuple):
    """A name of `bench.gpu.worker`, and seconds at most; 0: a training, which takes what is left,
    is tried once more when it fails, and goes on with the next command.
    """

    name: str
    seconds: float


STAGES = (
    Stage("a_machine", 40),
    Stage("b_build", 300),
    Stage("c_tests", 150),
    Stage("d_parity", 90),
    Stage("e_splatting", 60),
    Stage("f_steps", 120),
    Stage("g_alignment", 45),
    Stage("h_light", 0),
    Stage("i_vgg", 0),
)


class Session:
    """All stages of one command, and the process that computes them.

    A stage that fails or takes too long ends that process; the next one gets a new one.
    """

    def __init__(self, arguments):
        self.output, self.work = Path(arguments.output).resolve(), Path(arguments.work).resolve()
        self.fields = {
            "work": str(self.work),
            "output": str(self.output),
            "data": [str(Path(folder).resolve()) for folder in arguments.data],
            "rehearsal": arguments.rehearse,
            "train_minutes": arguments.train_minutes,
        }
        self.seconds = 60 * arguments.minutes
        self.end = time.time() + self.seconds
        self.process: subprocess.Popen | None = None
        self.records = {stage.name: self._record(stage) for stage in STAGES}

    def run(self) -> dict[str, dict]:
        """Run every stage that is not done yet, and return all records."""
        try:
            for stage in STAGES:
                if not stage.seconds or self.records[stage.name].get("status") in (None, LEFT):
                    self._run(stage)
                if not stage.seconds and self.records[stage.name]["status"] == FAILED:
                    self._run(stage)
        finally:
            self._stop()
        return self.records

    def _run(self, stage: Stage) -> None:
        left = self.end - time.time()
        limit = left - FOR_TRAINING * self.seconds if stage.seconds else left
        if stage.seconds and not self.fields["rehearsal"]:  # which tells nothing of speed
            limit = min(stage.seconds, limit)
        if limit < SHORTEST:
            self._keep(stage, {"status": LEFT})
            return
        if self.process is None or self.process.poll() is not None:
            self._start()
        deadline = time.time() + limit
        record_path(self.work, stage.name).unlink(missing_ok=True)
        line = json.dumps({"name": stage.name, "deadline": deadline, **self.fields})
        print(line, file=self.process.stdin, flush=True)
        print(f"{stage.name}: {limit:.0f} s at most", flush=True)
        self._follow(stage, deadline)
        if self.records[stage.name]["status"] != PASSED:
            self._stop()

    def _follow(self, stage: Stage, deadline: float) -> None:
        """Copy the stage's record while it grows, until it is whole, out of time or abandoned."""
        while True:
            alive = self.process.poll() is None
            record = self._record(stage)
            if record.get("status") not in (PASSED, FAILED) and not alive:
                record |= {"status": FAILED, "error": "its process died: see log.txt"}
            elif record.get("status") not in (PASSED, FAILED) and time.time() > deadline:
                record |= {"status": FAILED, "error": "ended for want of time"}
            if record != self.records[stage.name]:
                self._keep(stage, record)
            if record.get("status") in (PASSED, FAILED):
                return
            time.sleep(0.1)

    def _start(self) -> None:
        words = [sys.executable, "-m", WORKER, *["--rehearse"] * self.fields["rehearsal"]]
        self.output.mkdir(parents=True, exist_ok=True)
        with open(self.output / "log.txt", "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                words,
                cwd=ROOT,
                env=_environment(),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                # Its tests and compilers end with it.
                start_new_session=True,
            )

    def _stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _record(self, stage: Stage) -> dict:
        """What the stage has written so far, in this command or one before."""
        path = record_path(self.work, stage.name)
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def _keep(self, stage: Stage, record: dict) -> None:
        """Write a record where it is looked at, and where the next command finds it."""
        self.records[stage.name] = record
        if record.get("status") not in (None, RUNNING):
            write_text(record_path(self.work, stage.name), json.dumps(record))
        text = json.dumps({"minutes": self.seconds / 60, "stages": self.records}, indent=1)
        write_text(self.output / "gpu.json", text + "\n")


def _environment() -> dict[str, str]:
    """What a build of gsplat needs to know: where nvcc is, for which card, with how many jobs."""
    known = {"MAX_JOBS": str(os.cpu_count() or 1), "PYTHONUNBUFFERED": "1"}
    import torch

    if torch.cuda.is_available():
        known["TORCH_CUDA_ARCH_LIST"] = ".".join(map(str, torch.cuda.get_device_capability(0)))
        if Path("/usr/local/cuda").is_dir():
            known["CUDA_HOME"] = "/usr/local/cuda"
    return known | os.environ


def table(records: dict[str, dict]) -> str:
    """Lay out which stages passed, failed and were left."""
    lines = [f"{'stage':12}  {'':7}  seconds"]
    for name, record in records.items():
        status, seconds = record.get("status", LEFT), record.get("stage_seconds", 0.0)
        lines.append(f"{name:12}  {status:7}  {seconds:7.1f}  {record.get('error', '')}"[:240])
    return "\n".join(line.rstrip() for line in lines)


def require_gpu() -> None:
    """Raise `InputError` where there is none."""
    import torch

    if not torch.cuda.is_available():
        raise InputError("torch sees no GPU here: run this where it does, or add --rehearse")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run all stages, print the table, exit with 1 when one failed."""
    parser = ArgumentParser(prog="python -m bench gpu", description=__doc__)
    add, trainings = parser.add_argument, "for the trainings of several commands; 0: what is left"
    add("--minutes", type=PositiveFloat, default=15.0, help="for all stages together")
    add("--train-minutes", type=NonNegativeFloat, default=0.0, help=trainings)
    add("--output", type=str, required=True, help="folder of the record, the log and the weights")
    add("--data", type=str, nargs="*", default=TRAVELLING, help="folders of photos and weights")
    add("--work", type=str, default="runs/gpu", help="folder kept from one command to the next")
    add("--rehearse", action="store_true", help="no GPU: everything tiny, gsplat by stand-ins")
    arguments = parser.read(argv)
    if arguments.rehearse:
        arguments.work = str(Path(arguments.output) / "work")
        arguments.data = [str(Path(arguments.work) / name) for name in TRAVELLING]
        shutil.rmtree(arguments.work, ignore_errors=True)
    else:
        require_gpu()
        for folder in arguments.data if arguments.data != TRAVELLING else ():
            require_folder(folder, "name folders of photos and weights with --data")
    records = Session(arguments).run()
    text = table(records)
    write_text(Path(arguments.output) / "table.txt", text + "\n")
    print(text)
    if any(record.get("status") == FAILED for record in records.values()):
        raise SystemExit(1)
