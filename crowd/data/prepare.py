"""What the commands that make a processed set have in common: arguments, splits, settings."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from crowd.annotations import LAYOUTS, find_photos
from crowd.data.depth import AUTO, depth_option
from crowd.data.depth import HELP as DEPTH_HELP
from crowd.data.layouts.places import short_names
from crowd.data.layouts.points import PointConvention, add_convention
from crowd.data.layouts.registry import layout_help
from crowd.data.layouts.survey import survey
from crowd.data.photo_jobs import Job, make_jobs, process_photo, summary
from crowd.data.processed import SETTINGS
from crowd.data.resize import INTERPOLATIONS
from crowd.data.splits import complete_splits
from crowd.data.stage import forget
from crowd.io.config import YES_NO, ArgumentParser, Namespace, save_arguments
from crowd.io.errors import InputError
from crowd.io.files import write_text
from crowd.io.workers import map_photos

# Arguments that change how the command works and not what it writes.
WORKING = ("workers", "overwrite", "skip_bad")
# Arguments that say where files lie, which may be moved.
PLACES = ("config", "input_dataset_path", "output_dataset_path", "train_list", "val_list")


def add_arguments(parser: ArgumentParser, layout: str | None, required: bool) -> None:
    """Add the arguments that say what is read, how it is split, and how the command works.

    `layout` is the default of `--layout`, `required` whether the two folders must be named; the
    command adds the sizes itself.
    """
    add = parser.add_argument
    add("--input-dataset-path", "--origin-dir", type=str, required=required, help="the data set")
    add("--output-dataset-path", "--data-dir", type=str, required=required, help="folder to write")
    add("--layout", default=layout, choices=tuple(LAYOUTS), help=layout_help())
    add_convention(parser)
    add("--interpolation", default="bilinear", choices=INTERPOLATIONS)
    add("--depth", type=depth_option, default=AUTO, help=DEPTH_HELP)
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
    add("--overwrite", action=YES_NO, help="write photos again that are up to date")
    add("--skip-bad", action=YES_NO, help="list unreadable photos in skipped.txt and go on")


def process(arguments: Namespace, make: Callable[..., Job]) -> None:
    """Make the processed set that the arguments describe, and print what is in it.

    `make` returns the job of (split, photo, output, **other fields of `Job`). Raises `InputError`
    for arguments that do not fit together or do not fit the set, and for a bad photo.
    """
    _check(arguments)
    found = find_photos(arguments.input_dataset_path, arguments.layout)
    how = arguments.split or ("time" if arguments.layout == "brt" else "random")
    lists = {"train_list": arguments.train_list, "val_list": arguments.val_list}
    splits, note = complete_splits(
        found, how, arguments.val_ratio, arguments.seed, **lists, fold=arguments.fold
    )
    output = Path(arguments.output_dataset_path)
    convention = PointConvention.of(arguments)
    photos = [photo for split in splits.values() for photo in split]
    looked = survey(photos, arguments.layout, convention, arguments.workers)
    looked.require_answers()
    values = {key: value for key, value in vars(arguments).items() if key not in WORKING}
    names = ("layout", "max_size", "interpolation", "depth", "skip_bad")
    fields = {name: arguments[name] for name in names} | {"convention": convention}
    fields["settings"] = {key: value for key, value in values.items() if key not in PLACES}

    def job_of(split: str, photo: Path, file: Path) -> Job:
        return make(split, photo, file, seen=looked.photos[photo], **fields)

    jobs = make_jobs(splits, output, job_of)
    write_text(output / SETTINGS, save_arguments(Namespace(**values)))
    if arguments.overwrite:
        for split in splits:
            forget(output / split)
    for line in looked.notes():
        print(line)
    if note:
        print(note)
        listed = short_names(splits["train"] + splits["val"])
        for split in ("train", "val"):
            lines = "".join(f"{listed[photo].as_posix()}\n" for photo in splits[split])
            write_text(output / f"{split}.txt", lines)
    outcomes = map_photos(process_photo, jobs, arguments.workers, "preprocessing")
    _report(outcomes, output, arguments.skip_bad)


def _check(arguments: Namespace) -> None:
    """Raise `InputError` for arguments that do not fit together."""
    if not 1 <= arguments.min_size <= arguments.max_size:
        raise InputError(
            f"--min-size {arguments.min_size} and --max-size {arguments.max_size} do not fit "
            "together: keep 1 <= min <= max"
        )
    places = (arguments.input_dataset_path, arguments.output_dataset_path)
    if len({Path(place).resolve() for place in places}) == 1:
        raise InputError(f"{arguments.output_dataset_path} is the data set: write elsewhere")
    if arguments.layout == "ucf_cc_50" and arguments.fold is None:
        raise InputError("ucf_cc_50 is tested in five folds: choose one with --fold 1 to 5")


def _report(outcomes: Sequence, output: Path, skip_bad: bool) -> None:
    faults = [outcome.fault for outcome in outcomes if outcome.fault]
    if skip_bad:
        write_text(output / "skipped.txt", "".join(f"{fault}\n" for fault in faults))
    print(summary(outcomes))
    written = sum(outcome.written for outcome in outcomes)
    kept = len(outcomes) - written - len(faults)
    print(f"{written} photos written, {kept} were up to date, {len(faults)} skipped")
