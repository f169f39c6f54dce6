"""Read damaged files of every format: `python -m tests.fuzz --files 10000`.

Each must be read, or refused in one sentence. 'contained' counts files that crashed a child process
and were refused in one sentence too. Anything else is a finding: the file and what happened are
kept in `--output`, and the exit code is 1.
"""

import sys
from pathlib import Path

from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError, command
from tests.fuzz.runner import fuzz, table
from tests.fuzz.targets import TARGETS


@command
def main(argv=None) -> None:
    parser = ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--files", type=int, default=10_000, help="damaged files of each format")
    parser.add_argument("--formats", type=str, default="", help=f"some of {','.join(TARGETS)}")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other files")
    parser.add_argument("--output", type=str, default="fuzz", help="folder of the findings")
    arguments = parser.read(argv)
    names = [name for name in arguments.formats.split(",") if name]
    for name in names:
        if name not in TARGETS:
            raise InputError(f"unknown format '{name}': choose of {', '.join(TARGETS)}")
    run = fuzz(names, arguments.files, arguments.seed, Path(arguments.output))
    print(table(run))
    for name, number, said in run.findings:
        print(f"{name} {number}: {said.strip().splitlines()[-1]}")
    sys.exit(1 if run.findings else 0)


if __name__ == "__main__":
    main()
