"""Run benchmarks, one after the other, each in a process of its own.

python -m bench                       all of bench/bench_*.py
python -m bench splatting …           those named
python -m bench gpu …                 what wants a GPU, and trainings on it (docs/GPU.md)

Every benchmark prints its figures and writes them to `bench/results/NAME.json`, with the machine's
description. Measure on an idle machine: what else runs is in the figures.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.gpu.command import main as gpu
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError, command
from crowd.train.runs import ROOT

PREFIX = "bench_"


def names() -> list[str]:
    """Names of all benchmarks, sorted."""
    modules = Path(__file__).parent.glob(f"{PREFIX}*.py")
    return sorted(module.stem.removeprefix(PREFIX) for module in modules)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the named benchmarks, all of them when none is named."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv[:1] == ["gpu"]:
        gpu(argv[1:])
        return
    parser = ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", default=[], help=f"of: {', '.join(names())}")
    arguments = parser.read(argv)
    unknown = [name for name in arguments.names if name not in names()]
    if unknown:
        raise InputError(f"there is no benchmark '{unknown[0]}': choose of {', '.join(names())}")
    failed = []
    for name in arguments.names or names():
        print(f"\n== {name}", flush=True)
        done = subprocess.run([sys.executable, "-m", f"bench.{PREFIX}{name}"], cwd=ROOT)
        failed += [name] if done.returncode else []
    if failed:
        raise InputError(f"{', '.join(failed)} stopped: see the message above")


if __name__ == "__main__":
    main()
