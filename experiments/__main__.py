"""Run what uses all packages.

python -m experiments demo                  both papers on scenes it draws itself
python -m experiments run TABLE[/ROW] …     run rows of tables and record them
python -m experiments show [TABLE[/ROW] …]  their errors, mean ± std; all tables
python -m experiments picture data/…/train/11.jpg …    what was fitted to a photo
python -m experiments overview data/…/train/11.jpg     heads, Gaussians, kernel, density in one row
python -m experiments overview mgot/configs/A2B.yml    a transfer's clusters, matches, weights
python -m experiments contact-sheet data/…/train/*.jpg --output sheet.jpg    many photos' fits
python -m experiments extremes results/…/test data/…/test    counted worst, and best
python -m experiments predictions data/…/test/IMG_1.jpg RUN …    of several trainings
python -m experiments confidence runs/mgot_A2B/pseudo_labels data/shb_fidt    right, by confidence
python -m experiments report RUN … [--output report.html]    one page about runs, opens offline
"""

from collections.abc import Sequence
from pathlib import Path

from crowd.io.config import ArgumentParser, Namespace
from crowd.io.errors import InputError, command
from experiments import records, runner, tables
from gst.models import BOXED


def build_parser() -> ArgumentParser:
    """Arguments of `python -m experiments`."""
    parser = ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("what", choices=tuple(ACTIONS), help="what to do")
    parser.add_argument("names", nargs="*", default=[], help="tables, rows, photos or run folders")
    parser.add_argument("--output", type=str, help="folder or file to write to")
    parser.add_argument("--only", type=int, nargs="+", default=[], help="seeds or folds to run")
    return parser


def run_demo(arguments: Namespace) -> None:
    """Run all stages on synthetic photos below `--output` (default: demo)."""
    from experiments import demo

    demo.run(arguments.output or "demo")


def draw_pictures(arguments: Namespace) -> None:
    """Draw fit and kernel of photos of a processed set."""
    from experiments import figures

    for photo in _of_different_names(arguments.names):
        for name, draw in (("gaussians", figures.draw_fit), ("kernel", figures.draw_kernel)):
            path = Path(arguments.output or ".") / f"{photo.stem}_{name}.jpg"
            draw(path, photo)
            print(path)


def draw_overview(arguments: Namespace) -> None:
    """Draw GST in one row, on photos of a processed set, or MGOT, of transfers that were run."""
    from experiments import figures, transfers

    for name in _of_different_names(arguments.names):
        path = Path(arguments.output or ".") / f"{name.stem}_overview.jpg"
        if name.suffix == ".yml":
            transfers.draw_overview(path, ["--config", str(name)])
        else:
            figures.draw_overview(path, name, figures.load_any(BOXED))
        print(path)


def draw_contact_sheet(arguments: Namespace) -> None:
    """Draw photos of a processed set beside what their Gaussians render to, on one sheet."""
    from experiments import figures

    path = Path(arguments.output or "contact_sheet.jpg")
    figures.draw_fit_sheet(path, [Path(name) for name in arguments.names])
    print(path)


def draw_extremes(arguments: Namespace) -> None:
    """Draw, of a test's photos, the ten counted worst and the ten counted best."""
    if len(arguments.names) != 2:
        raise InputError("name the folder of a test (predictions.csv), then that of its photos")
    from experiments import figures

    test, photos = map(Path, arguments.names)
    path = Path(arguments.output or "extremes.jpg")
    counts = records.read_counts(test / "predictions.csv")
    figures.draw_extremes(path, counts, photos, figures.load_any(BOXED))
    print(path)


def draw_predictions(arguments: Namespace) -> None:
    """Draw what several trainings, of either method, make of a photo of a processed set."""
    if len(arguments.names) < 2:
        raise InputError("name a photo of a processed set, then run folders or checkpoints")
    from experiments import figures

    photo, *runs = map(Path, arguments.names)
    path = Path(arguments.output or f"{photo.stem}_predictions.jpg")
    captions = [(run.parent if run.is_file() else run).name for run in runs]
    if len(set(captions)) < len(runs):  # as of two seeds of a training
        captions = list(map(str, runs))
    counters = dict(zip(captions, map(figures.load_any, runs), strict=True))
    figures.draw_predictions(path, photo, counters)
    print(path)


def show_confidence(arguments: Namespace) -> None:
    """Print how right pseudo labels are, by the confidence of a head."""
    if len(arguments.names) != 2:
        raise InputError("name the set of mgot.pseudo_label, then that of mgot.fidt it was made of")
    from experiments import transfers

    print(transfers.confidence_table(*map(Path, arguments.names)))


def run_rows(arguments: Namespace) -> None:
    """Run rows of tables, or all rows of a table, and record them."""
    for row in [row for name in arguments.names for row in tables.read_rows(name)]:
        runner.run_row(row, arguments.only)


def show_tables(arguments: Namespace) -> None:
    """Print tables or rows from their records."""
    print("\n\n".join(records.show(name) for name in arguments.names or tables.table_names()))


def write_report(arguments: Namespace) -> None:
    """Write a page about runs to `--output` (default: report.html)."""
    from experiments import report

    output = Path(arguments.output or "report.html")
    report.write_report([Path(name) for name in arguments.names], output)
    print(output)


def _of_different_names(names: list[str]) -> list[Path]:
    """Files whose pictures, which have their names, do not overwrite one another."""
    paths = [Path(name) for name in names]
    stems = [path.stem for path in paths]
    for stem in stems:
        if stems.count(stem) > 1:
            raise InputError(f"several of these are named {stem}: draw them into an --output each")
    return paths


ACTIONS = {
    "confidence": show_confidence,
    "contact-sheet": draw_contact_sheet,
    "demo": run_demo,
    "extremes": draw_extremes,
    "overview": draw_overview,
    "picture": draw_pictures,
    "predictions": draw_predictions,
    "report": write_report,
    "run": run_rows,
    "show": show_tables,
}


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Do one thing by name."""
    arguments = build_parser().read(argv)
    if not arguments.names and arguments.what not in ("demo", "show"):
        raise InputError(f"say what to {arguments.what}: see python -m experiments --help")
    ACTIONS[arguments.what](arguments)


if __name__ == "__main__":
    main()
