"""Run what uses all packages.

python -m experiments demo                                    GST on scenes it draws itself
python -m experiments picture data/…/train/11.jpg …           what was fitted to a photo
python -m experiments record runs/brt_seed_1 --output results/brt/seed_1
python -m experiments show results/brt …                      errors of records, mean ± std
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crowd.configuration import ArgumentParser
from crowd.errors import InputError, command
from experiments import demo, figures, records


def build_parser() -> ArgumentParser:
    """Arguments of `python -m experiments`."""
    parser = ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("what", choices=tuple(ACTIONS), help="what to do")
    parser.add_argument("names", nargs="*", default=[], help="photos, runs or records")
    parser.add_argument("--output", type=str, help="where to write")
    return parser


def run_demo(_: list[Path], output: str | None) -> None:
    """Run all stages on synthetic photos below `output` (default: demo)."""
    demo.run(output or "demo")


def draw_pictures(photos: list[Path], output: str | None) -> None:
    """Draw fit and kernel of photos of a processed set."""
    for photo in photos:
        for name, draw in (("gaussians", figures.draw_fit), ("kernel", figures.draw_kernel)):
            path = Path(output or ".") / f"{photo.stem}_{name}.jpg"
            draw(path, photo)
            print(path)


def record_runs(runs: list[Path], output: str | None) -> None:
    """Copy the small files of one run to `output`."""
    if len(runs) != 1 or output is None:
        raise InputError("name one run, and with --output the folder of its record")
    records.record_run(runs[0], Path(output))


def show_records(folders: list[Path], _: str | None) -> None:
    """Print the errors of each folder of records."""
    for folder in folders:
        print(f"{folder}\n{records.summarise(folder)}")


ACTIONS = {
    "demo": run_demo,
    "picture": draw_pictures,
    "record": record_runs,
    "show": show_records,
}


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Do one thing by name."""
    arguments = build_parser().read(argv)
    if arguments.what != "demo" and not arguments.names:
        raise InputError(f"say what to {arguments.what}: see python -m experiments --help")
    ACTIONS[arguments.what]([Path(name) for name in arguments.names], arguments.output)


if __name__ == "__main__":
    main()
