"""Measure everything that wants a GPU, and train on it for what time is left.

    python -m bench gpu --minutes 15 --output records
    python -m bench gpu --rehearse --output records      on a CPU, everything tiny

Stages run in the order of their worth, each in a process and to a deadline of its own; `gpu.json`
holds what is known at every moment. Given again, the command runs the stages that it has not come
to and goes on with the trainings (docs/GPU.md).
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.gpu.stages import FAILED, LEFT, PASSED, RUNNING, Context, read_records
from crowd.io.config import ArgumentParser, Namespace, PositiveFloat
from crowd.io.errors import InputError, command
from crowd.io.files import require_folder, write_text
from crowd.train.runs import ROOT

TRAVELLING = [".gpu_train", ".gpu_test"]
SHORTEST = 5.0  # seconds that a stage is begun for
FOR_TRAINING = 0.5  # share of the time that is kept for the trainings
# What runs, and seconds at most; 0: a training, which takes what is left, is tried once more when
# it fails, and goes on with the next command.
STAGES = {
    "a_machine": ("bench.gpu.measures:describe", 40),
    "b_build": ("bench.gpu.measures:build", 300),
    "c_tests": ("bench.gpu.measures:test", 150),
    "d_parity": ("bench.gpu.measures:parity", 90),
    "e_splatting": ("bench.gpu.measures:splat", 60),
    "f_steps": ("bench.gpu.measures:measure_steps", 120),
    "g_counting": ("bench.gpu.counting:count", 45),
    "h_alignment": ("bench.gpu.measures:align", 60),
    "i_trainings": ("bench.gpu.training:train", 0),
}


def run_all(arguments: Namespace) -> dict[str, dict]:
    """Run every stage that is not done yet, and return all records."""
    end = time.time() + 60 * arguments.minutes
    work, output = Path(arguments.work).resolve(), Path(arguments.output).resolve()
    data = [Path(folder).resolve() for folder in arguments.data]
    for name, (program, most) in STAGES.items():
        for _ in range(1 if most else 2):
            status = read_records(work).get(name, {}).get("status")
            if most and status in (PASSED, FAILED):
                break
            limit = end - time.time()
            if most:
                limit -= FOR_TRAINING * 60 * arguments.minutes
                # A rehearsal tells nothing of speed.
                limit = limit if arguments.rehearse else min(most, limit)
            where = work, output, data, time.time() + limit, arguments.rehearse
            if run(Context(name, program, *where), limit) != FAILED:
                break
    return dict(sorted(read_records(work).items()))


def run(context: Context, limit: float) -> str:
    """Run a stage in a process, which is ended after `limit` seconds with all that it started."""
    if limit < SHORTEST:
        context.note(status=LEFT)
        return LEFT
    print(f"{context.name}: {limit:.0f} s at most", flush=True)
    context.note(status=RUNNING)
    error = "its process died: see log.txt"
    with open(context.output / "log.txt", "a", encoding="utf-8") as log:
        print(f"== {context.name}", file=log, flush=True)
        fields = json.dumps(vars(context), default=str)
        words = [sys.executable, "-m", "bench.gpu.stages", fields]
        how = {"stdout": log, "stderr": log, "env": _environment(), "start_new_session": True}
        process = subprocess.Popen(words, cwd=ROOT, **how)
        try:
            process.wait(limit)
        except subprocess.TimeoutExpired:
            error = "ended for want of time"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    status = read_records(context.work)[context.name]["status"]
    if status == RUNNING:
        status = FAILED
        context.note(status=status, error=error)
    return status


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
        status, seconds = record["status"], record.get("stage_seconds", 0.0)
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
    add = parser.add_argument
    add("--minutes", type=PositiveFloat, default=15.0, help="for all stages together")
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
    records = run_all(arguments)
    text = table(records)
    write_text(Path(arguments.output) / "table.txt", text + "\n")
    print(text)
    if any(record["status"] == FAILED for record in records.values()):
        raise SystemExit(1)
