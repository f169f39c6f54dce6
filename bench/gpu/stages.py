"""What a stage is given, and the process that runs one: bench.gpu.command starts it."""

from __future__ import annotations

import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from crowd.io.files import write_text

if TYPE_CHECKING:
    import torch

RUNNING, PASSED, FAILED, LEFT = "running", "passed", "failed", "left"


@dataclass
class Context:
    """A stage's surroundings, and the record that it writes as soon as it knows something."""

    name: str
    program: str  # function that is the stage, MODULE:FUNCTION
    work: Path  # folder kept from one command to the next: records, photos, trainings
    output: Path  # folder of what is to be looked at afterwards
    data: list[Path]  # folders of photos and weights
    deadline: float  # `time.time()` at which the stage is ended
    rehearsal: bool  # whether there is no GPU, and everything is small

    def __post_init__(self):
        self.work, self.output = Path(self.work), Path(self.output)
        self.data = [Path(folder) for folder in self.data]

    @property
    def device(self) -> torch.device:
        """Where to compute."""
        import torch

        return torch.device("cpu" if self.rehearsal else "cuda")

    def pick(self, real, rehearsed):
        """One of two values: what is done on a GPU, and in a rehearsal."""
        return rehearsed if self.rehearsal else real

    def find(self, name: str) -> Path | None:
        """The first of the data folders' files or folders of this name."""
        return next((path / name for path in self.data if (path / name).exists()), None)

    def note(self, **figures: object) -> None:
        """Add figures to the stage's record, and to `gpu.json` with those of all stages."""
        records = read_records(self.work)
        records[self.name] = records.get(self.name, {}) | figures
        for path, known in (
            (self.work / "stages" / f"{self.name}.json", records[self.name]),
            (self.output / "gpu.json", {"stages": dict(sorted(records.items()))}),
        ):
            write_text(path, json.dumps(known, indent=1, default=str) + "\n")

    def seconds(self, program: Callable[[], object], repeats: int = 1, warm: bool = True) -> float:
        """Seconds of one run of `program`, the mean of `repeats` after one to warm up."""
        for runs in (int(warm), repeats):
            started = time.perf_counter()
            for _ in range(runs):
                program()
            if self.device.type == "cuda":
                import torch

                torch.cuda.synchronize()
        return (time.perf_counter() - started) / repeats


def read_records(work: Path) -> dict[str, dict]:
    """What all stages have written so far, in this command or one before, by their names."""
    paths = (work / "stages").glob("[!.]*.json")
    return {path.stem: json.loads(path.read_text("utf-8")) for path in paths}


def main() -> None:
    """Run a stage, given as JSON of a `Context`'s fields; what it raises stands in its record."""
    context, started = Context(**json.loads(sys.argv[1])), time.time()
    try:
        if context.rehearsal:
            importlib.import_module("bench.gpu.stand_ins").install()
        module, _, function = context.program.partition(":")
        getattr(importlib.import_module(module), function)(context)
        context.note(status=PASSED)
    # A command that ends with an error exits.
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        context.note(status=FAILED, error=f"{type(error).__name__}: {error}"[:1000])
    context.note(stage_seconds=time.time() - started)


if __name__ == "__main__":
    main()
