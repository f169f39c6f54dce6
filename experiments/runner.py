"""Run rows of tables: each command once, in order; then record what its figures rest on."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from crowd.io.errors import InputError
from crowd.io.files import atomic_path, require_file, write_text
from crowd.train.runs import STARTS, environment, read_log
from experiments.tables import Row, read_rows, with_predecessors

RUNS = Path("runs")
FINISHED = "stages.jsonl"
OF_RUN = ("config.yml", "environment.json", STARTS, "log.jsonl")
OF_RESULT = ("metrics.json", "predictions.csv")


def run_row(row: Row, only: Iterable[int] = ()) -> None:
    """Run a row's commands for each of its seeds or folds, and record the outcome.

    Commands that are finished are not repeated, unless one before them was; one that was
    interrupted continues where it can.
    All paths are those of a checkout, from which the command is run: `data/`, `runs/`, `results/`.
    `only` names some seeds or folds. Raises `InputError` where a data set is missing, a command
    failed, or a seed is none of the row's.
    """
    row.require_data()
    unknown = set(only) - set(row.repeat_values)
    if unknown:
        raise InputError(
            f"{row.table.name}/{row.name} has no {row.table.repeat_name} {unknown.pop()}; it has "
            f"{', '.join(map(str, row.repeat_values))}"
        )
    for repeat in only or row.repeat_values:
        for one in with_predecessors(row):
            _forget_lost(one, repeat)
        ran = [run_stage(stage, row, repeat) for stage in stages_of(row)]
        record_row(row, repeat, anew=any(ran))


def stages_of(row: Row) -> list[str]:
    """All commands that a row takes, those of the table and of the rows before it included."""
    return [*row.table.prepare, *(stage for one in with_predecessors(row) for stage in one.stages)]


def work_folder(row: Row, repeat: int) -> Path:
    """Folder of a table's runs with one seed or fold."""
    return RUNS / row.table.name / f"{row.table.repeat_name}_{repeat}"


def fill_in(text: str, row: Row, repeat: int) -> str:
    """Put seed or fold and folder into a command or a path."""
    return text.format(repeat=repeat, work=work_folder(row, repeat).as_posix())


def record_row(row: Row, repeat: int, anew: bool) -> None:
    """Copy what the row's figures rest on to its record, with the commands and their times.

    Unless it is `anew`, a whole record of these runs stays: what lies beside them by now may be of
    another test. Raises `InputError` where a file is missing; nothing is copied then.
    """
    record = row.folder / f"{row.table.repeat_name}_{repeat}"
    run, result = (Path(fill_in(place, row, repeat)) for place in (row.run, row.result))
    results, parts = (OF_RESULT, OF_RUN) if row.run else (OF_RESULT[:1], ())
    sources = {f"test/{name}": result / name for name in results}
    sources |= {name: run / name for name in parts}
    sources |= {name: Path(fill_in(file, row, repeat)) for name, file in row.also.items()}
    commands = {fill_in(stage, row, repeat) for stage in stages_of(row)}
    lines = [line for lines in _logs(row, repeat).values() for line in lines]
    lines = [line for line in lines if line["command"] in commands]
    whole = all((record / name).is_file() for name in sources)
    if not anew and whole and read_log(record / FINISHED) == lines:
        print(f"{record} is of these runs: it stays")
        return
    for source in sources.values():
        require_file(source, "train and test first")
    (record / FINISHED).unlink(missing_ok=True)
    for name, source in sources.items():
        with atomic_path(record / name) as part:
            shutil.copyfile(source, part)
    _write_log(record / FINISHED, lines)
    print(f"recorded {record}")


def is_common(stage: str) -> bool:
    """Whether a command depends on no seed or fold: it is run once for all of them."""
    return not any(mark in stage for mark in ("{work}", "{repeat}"))


def run_stage(stage: str, row: Row, repeat: int) -> bool:
    """Run `python STAGE`, once: what is finished stands in `stages.jsonl` of the runs' folder.

    `cpu_seconds` there are those of the command's own process: workers that a fork server started
    (fits, preprocessing) are missing from them, and in `seconds` alone. Returns whether it ran.
    """
    folder = RUNS / row.table.name if is_common(stage) else work_folder(row, repeat)
    path, command = folder / FINISHED, fill_in(stage, row, repeat)
    if any(line["command"] == command for line in read_log(path)):
        return False
    _forget(stage, row, repeat)
    started, before = time.monotonic(), os.times()
    run_python(command)
    line = {
        "command": command,
        "seconds": round(time.monotonic() - started, 1),
        "cpu_seconds": round(sum(os.times()[2:4]) - sum(before[2:4]), 1),
        "commit": environment()["commit"],
    }
    # Read again: another row may have run beside this one, with the same seed.
    _write_log(path, [*read_log(path), line])
    return True


def run_python(command: str) -> None:
    """Run `python COMMAND`; raise `InputError` where it fails."""
    print(f"\n$ python {command}", flush=True)
    if subprocess.run([sys.executable, *shlex.split(command)]).returncode:
        raise InputError(f"stopped at 'python {command}': see its message above, then run it again")


def _forget_lost(row: Row, repeat: int) -> None:
    """Forget the commands of a row whose run or result was removed since, so that they run again.

    That is all of them where all are finished, else from the first one on that names what was
    removed. What a row that was stopped half-way has not made yet is not lost.
    """
    places = [Path(fill_in(place, row, repeat)) for place in (row.run, row.result) if place]
    lost = [place for place in places if not place.is_dir()]
    known = {line["command"] for lines in _logs(row, repeat).values() for line in lines}
    finished = [stage for stage in row.stages if fill_in(stage, row, repeat) in known]

    def names_lost(stage: str) -> bool:
        words = map(Path, shlex.split(fill_in(stage, row, repeat)))
        return any(word.is_relative_to(place) for word in words for place in lost)

    if finished != row.stages:
        finished = list(filter(names_lost, finished))
    if lost and finished:
        _forget(finished[0], row, repeat)


def _forget(stage: str, row: Row, repeat: int) -> None:
    """Take out of the logs what comes after a stage in any row, and what is in no row any more.

    The first rests on what the stage is about to write anew, the last may be overwritten by it.
    """
    rows = [row, *read_rows(row.table.name)]
    chains = [stages_of(one) for one in rows]
    after = {one for chain in chains if stage in chain for one in chain[chain.index(stage) :]}
    kept = {one for chain in chains for one in chain} - after
    repeats = {value for one in rows for value in one.repeat_values} if is_common(stage) else ()
    for value in {*repeats, repeat}:
        commands = {fill_in(one, row, value) for one in kept}
        for path, lines in _logs(row, value).items():
            left = [line for line in lines if line["command"] in commands]
            if left != lines:
                _write_log(path, left)


def _logs(row: Row, repeat: int) -> dict[Path, list[dict]]:
    """What is finished of a table with one seed or fold, and for all of them."""
    folders = RUNS / row.table.name, work_folder(row, repeat)
    return {folder / FINISHED: read_log(folder / FINISHED) for folder in folders}


def _write_log(path: Path, lines: Iterable[dict]) -> None:
    write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
