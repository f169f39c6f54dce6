"""What all benchmarks share: the command, timing, random patches, the record with the machine."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml

from crowd.io.config import ArgumentParser, Namespace
from crowd.io.errors import command
from crowd.io.files import write_text
from crowd.train.runs import ROOT, environment
from mgot.maps import PATCH_SIDE, fidt_map

RESULTS = ROOT / "bench" / "results"
# Median number of heads in a patch of each kind; a kind becomes a cluster.
HEADS = (2, 12, 40, 120)
SPREAD = 0.4


def benchmark(
    name: str, description: str, measure: Callable[..., dict], repeats: int | None = None, **options
) -> Callable:
    """Make a benchmark's command: measure, print the figures, write them to the record.

    `measure` takes the number of repeats, where there is one; `options` as in `read_arguments`.
    """

    @command
    def main(argv: Sequence[str] | None = None) -> None:
        arguments = read_arguments(name, description, argv, repeats, **options)
        figures = measure() if repeats is None else measure(arguments.repeats)
        text = json.dumps(figures)
        short = json.loads(text, parse_float=lambda number: float(f"{float(number):.4g}"))
        print(yaml.safe_dump(short, default_flow_style=None, sort_keys=False, width=100), end="")
        write_record(arguments.output, **figures)

    return main


def read_arguments(
    name: str,
    description: str,
    argv: Sequence[str] | None,
    repeats: int | None = None,
    threads: int = os.cpu_count() or 1,
) -> Namespace:
    """Read the arguments of a benchmark, and set torch's threads.

    `repeats` and `threads` are the defaults of --repeats, which None leaves out, and --threads.
    """
    import torch

    text = description.split("\n", 1)[0]
    parser = ArgumentParser(prog=f"python -m bench.bench_{name}", description=text)
    add = parser.add_argument
    add("--threads", type=int, default=threads, help="threads of torch")
    add("--output", type=str, default=str(RESULTS / f"{name}.json"), help="record to write")
    if repeats is not None:
        add("--repeats", type=int, default=repeats, help="turns of all programs")
    arguments = parser.read(argv)
    torch.set_num_threads(arguments.threads)
    return arguments


def time_in_turn(programs: list[Callable[[], object]], repeats: int) -> list[list[float]]:
    """Time programs in alternation, so that what else the machine does falls on all of them.

    Each runs once to warm up, then `repeats` times; returns the seconds of each program's runs.
    """
    for program in programs:
        program()
    runs: list[list[float]] = [[] for _ in programs]
    for _ in range(repeats):
        for program, times in zip(programs, runs, strict=True):
            start = time.perf_counter()
            program()
            times.append(time.perf_counter() - start)
    return runs


def ratio(slow: Sequence[float], fast: Sequence[float]) -> float:
    """How many times faster: the median over the turns of two programs timed in alternation."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))


def write_record(output: str | os.PathLike, **figures: object) -> None:
    """Write the figures and the machine they were measured on, as JSON, whole or not at all."""
    text = json.dumps({"environment": machine(), **figures}, indent=2, ensure_ascii=False)
    write_text(output, text + "\n")


def machine() -> dict:
    """`crowd.train.runs.environment`, the processor's name, torch's threads and the load."""
    import torch

    described = environment() | {"processor": _processor(), "threads": torch.get_num_threads()}
    described["load"] = round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
    return described


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.processor()


def random_map(kind: int, random: np.random.Generator) -> np.ndarray:
    """The FIDT map of a patch of some kind, float32 `[224, 224]`."""
    heads = max(int(random.lognormal(np.log(HEADS[kind]), SPREAD)), 1)
    return fidt_map(random.uniform(0, PATCH_SIDE, (heads, 2)), PATCH_SIDE, PATCH_SIDE)


def random_maps(kinds, seed: int) -> np.ndarray:
    """Maps of the given kinds, float32 `[n, 224, 224]`."""
    random = np.random.default_rng(seed)
    return np.stack([random_map(kind, random) for kind in kinds])
