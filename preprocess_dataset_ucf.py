"""GST, step 1: photos with annotated heads -> processed set.

    python preprocess_dataset_ucf.py --input-dataset-path data/qnrf \
        --output-dataset-path data/qnrf_processed --layout qnrf

Brings every photo to the training's size, scales its heads along, and adds to each training head
the mean distance to its three nearest. Run again, it goes on where it stopped.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from crowd.annotations import LAYOUTS, find_photos
from crowd.configuration import ArgumentParser, save_arguments
from crowd.errors import InputError, command
from crowd.files import write_text
from crowd.splits import complete_splits
from gst.preprocess import INTERPOLATIONS, make_jobs, run_jobs, summary

# Arguments that change how the command works and not what it writes.
WORKING = ("workers", "overwrite", "skip_bad")


def parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--input-dataset-path", "--origin-dir", type=str, required=True, help="the data set")
    add("--output-dataset-path", "--data-dir", type=str, required=True, help="folder to write")
    add("--layout", default="qnrf", choices=LAYOUTS, help="how the data set keeps its files")
    add("--min-size", type=int, default=512, help="lower bound of the short side, pixels")
    add("--max-size", type=int, default=2048, help="upper bound of the short side, pixels")
    add("--interpolation", default="bilinear", choices=tuple(INTERPOLATIONS))
    add("--train-list", type=str, help="text file with the names of the training photos")
    add("--val-list", type=str, help="text file with the names of the validation photos")
    add("--val-ratio", type=float, default=0.1, help="share of Train that validates, without lists")
    add("--seed", type=int, default=4073, help="of the split, without lists")
    add(
        "--split",
        choices=("random", "time"),
        help="random photos, or blocks of time per camera (default: time for brt, else random)",
    )
    add("--fold", type=int, help="1 to 5: the fifth of a set without splits that is tested")
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), help="processes; 0: this one")
    add("--overwrite", action="store_true", help="write photos again that are up to date")
    add("--skip-bad", action="store_true", help="list unreadable photos in skipped.txt and go on")
    return parser


def check(arguments) -> None:
    """Raise `InputError` for arguments that do not fit together."""
    if not 1 <= arguments.min_size <= arguments.max_size:
        raise InputError(
            f"--min-size {arguments.min_size} and --max-size {arguments.max_size} do not fit "
            "together: keep 1 <= min <= max"
        )
    if (
        Path(arguments.input_dataset_path).resolve()
        == Path(arguments.output_dataset_path).resolve()
    ):
        raise InputError(f"{arguments.output_dataset_path} is the data set: write elsewhere")
    if arguments.layout == "ucf_cc_50" and arguments.fold is None:
        raise InputError("ucf_cc_50 is tested in five folds: choose one with --fold 1 to 5")


def keep_settings(output: Path, arguments) -> int:
    """Write `preprocess.yml` when it changed; return since when it stands, ns."""
    path = output / "preprocess.yml"
    values = {key: value for key, value in vars(arguments).items() if key not in WORKING}
    text = save_arguments(type(arguments)(**values))
    if arguments.overwrite or not path.exists() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)
    return path.stat().st_mtime_ns


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = parser().read(argv)
    check(arguments)
    found = find_photos(arguments.input_dataset_path, arguments.layout)
    how = arguments.split or ("time" if arguments.layout == "brt" else "random")
    lists = {"train_list": arguments.train_list, "val_list": arguments.val_list}
    splits, note = complete_splits(
        found, how, arguments.val_ratio, arguments.seed, **lists, fold=arguments.fold
    )
    output = Path(arguments.output_dataset_path)
    settings = ("layout", "min_size", "max_size", "interpolation", "skip_bad")
    jobs = make_jobs(splits, output, **{name: arguments[name] for name in settings})
    since = keep_settings(output, arguments)
    if note:
        print(note)
        for split in ("train", "val"):
            names = "".join(f"{photo.name}\n" for photo in splits[split])
            write_text(output / f"{split}.txt", names)
    jobs = [dataclasses.replace(job, not_before=since) for job in jobs]
    outcomes = run_jobs(jobs, arguments.workers)
    faults = [outcome.fault for outcome in outcomes if outcome.fault]
    if arguments.skip_bad:
        write_text(output / "skipped.txt", "".join(f"{fault}\n" for fault in faults))
    print(summary(outcomes))
    written = sum(outcome.written for outcome in outcomes)
    kept = len(outcomes) - written - len(faults)
    print(f"{written} photos written, {kept} were up to date, {len(faults)} skipped")


if __name__ == "__main__":
    main()
