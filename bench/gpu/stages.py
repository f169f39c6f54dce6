"""What a stage is given, and the process that runs stages one after the other."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crowd.io.files import write_text

if TYPE_CHECKING:
    import torch

RUNNING, PASSED, FAILED, LEFT = "running", "passed", "failed", "left"


@dataclass
class Context:
    """A stage's surroundings, and the record that it writes as soon as it knows something.

    Attributes:
        name: of the stage.
        work: folder that is kept from one command to the next: records, photos, trainings.
        output: folder of what is to be looked at afterwards.
        data: folders of photos and weights.
        deadline: `time.time()` at which the stage is ended.
        rehearsal: whether there is no GPU, and everything is small.
        train_minutes: for all trainings together; 0: what is left.
    """

    name: str
    work: Path
    output: Path
    data: list[Path]
    deadline: float
    rehearsal: bool
    train_minutes: float
    record: dict = field(default_factory=dict)

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
        """Add figures to the record and write it."""
        self.record |= figures
        text = json.dumps({"stage": self.name, **self.record}, indent=1, default=str)
        write_text(record_path(self.work, self.name), text + "\n")

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


def record_path(work: Path, name: str) -> Path:
    """Where a stage's record is written."""
    return work / "stages" / f"{name}.json"


def run(context: Context, stage: Callable[[Context], None]) -> bool:
    """Run a stage, and say whether it passed; whatever it raises stands in its record."""
    started = time.time()
    context.note(status=RUNNING)
    try:
        stage(context)
    # A command that ends with an error exits.
    except (Exception, SystemExit) as error:
        traceback.print_exc()
        why = f"{type(error).__name__}: {error}"[:1000]
        context.note(status=FAILED, error=why, stage_seconds=time.time() - started)
        return False
    context.note(status=PASSED, stage_seconds=time.time() - started)
    return True


def serve(stages: dict[str, Callable[[Context], None]]) -> None:
    """Run the stages that standard input names, each a line of JSON with a `Context`'s fields.

    One that fails ends the process: a GPU may be of no more use to it.
    """
    for line in sys.stdin:
        context = Context(**json.loads(line))
        print(f"== {context.name}", flush=True)
        if not run(context, stages[context.name]):
            sys.exit(1)
