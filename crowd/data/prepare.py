"""Processed sets: photos brought to one size with their heads, in several processes, resumable.

A kind of processed set is a subclass of `Job` that says what is written beside each photo.
"""

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from crowd.data.images import AUTO, DEPTH_HELP, depth_option, read_image, write_image
from crowd.data.layouts.annotation import NONE
from crowd.data.layouts.bare import ABOUT, BARE, find_bare
from crowd.data.layouts.places import find_photos, short_names
from crowd.data.layouts.points import PointConvention, Seen, add_convention
from crowd.data.layouts.registry import LAYOUTS, layout_help
from crowd.data.layouts.survey import Survey, survey
from crowd.data.network_input import Preprocessing
from crowd.data.processed import unfinished
from crowd.data.resize import INTERPOLATIONS, JPEG_LIMIT
from crowd.data.splits import complete_splits
from crowd.data.stage import forget, is_made, origin, record_path, withdraw, write_record
from crowd.io.config import YES_NO, ArgumentParser, Namespace, NonNegativeInt, save_arguments
from crowd.io.errors import InputError
from crowd.io.files import read_array, write_array, write_text
from crowd.io.progress import map_photos

# Arguments that change how the command works and not what it writes.
WORKING = ("workers", "overwrite", "skip_bad")
# Arguments that say where files lie, which may be moved, and which photos go into which split:
# neither changes what is written of a photo.
PLACES = ("config", "input_dataset_path", "output_dataset_path", "train_list", "val_list")
PLACES += ("val_ratio", "seed", "split", "fold")


@dataclasses.dataclass(frozen=True)
class Resized:
    """A photo at its new size with the heads that lie in it."""

    image: np.ndarray  # uint8 [H, W, 3]
    points: np.ndarray  # heads (x, y) in pixels of `image`, float32 [N, 2]
    inside: np.ndarray  # which of the annotated heads these are, bool [M]
    ratio: float  # new length of the short side / old


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One photo to process."""

    companions: ClassVar[tuple[str, ...]] = (".npy",)

    seen: Seen  # header and annotation of the photo
    output: Path  # the `NAME.jpg` to write, with `NAME.npy` (the heads) beside it
    how: Preprocessing
    convention: PointConvention
    settings: dict  # that decide what is written
    skip_bad: bool  # report a photo that cannot be read instead of raising

    def outputs(self) -> list[Path]:
        """Everything that is written for this photo."""
        return [self.output, *(self.output.with_suffix(suffix) for suffix in self.companions)]

    def origin(self) -> dict:
        """What `outputs` are made from (`crowd.data.stage`).

        Of the annotation it is what was read of this photo: a table speaks of others too, and the
        names of labels may stand in further files.
        """
        made_from = origin(self.settings, [self.seen.photo])
        made_from["sources"]["annotation"] = self.seen.fault or self.seen.annotation.digest
        return made_from

    def heads(self, resized: Resized) -> np.ndarray:
        """Return what `NAME.npy` shall hold, a row a head, x and y first."""
        return resized.points

    def write(self, resized: Resized, heads: np.ndarray) -> None:
        """Write all of `outputs`, each whole or not at all."""
        write_image(self.output, resized.image)
        write_array(self.output.with_suffix(".npy"), heads)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one photo: heads kept and dropped, or the fault for which it was skipped."""

    split: str
    heads: int = 0
    outside: int = 0
    duplicates: int = 0
    written: bool = False
    fault: str = ""


def process_photo(job: Job) -> Outcome:
    """Write one photo and its heads, unless all is there, made from the same files and settings.

    Heads on the photo's edge count as inside; those outside are dropped. Raises `InputError` when
    the photo or its annotation is bad (not with `skip_bad`), or writing failed.
    """
    split, record = job.output.parent.name, record_path(job.output)
    try:
        made_from = job.origin()
        made = is_made(record, made_from, job.outputs())
        if not made:
            resized = _resized(job)
            heads = job.heads(resized)
    except InputError as error:
        if not job.skip_bad:
            raise
        for path in job.outputs():
            path.unlink(missing_ok=True)
        return Outcome(split, fault=str(error))
    if made:
        heads = NONE.points
        if ".npy" in job.companions:
            heads = read_array(job.output.with_suffix(".npy"), "run again with --overwrite")
    else:
        withdraw(record)
        job.write(resized, heads)
        write_record(record, made_from)
    outside = len(job.seen.heads(job.convention)) - len(heads)
    duplicates = len(heads) - len(np.unique(heads[:, :2], axis=0))
    return Outcome(split, len(heads), outside, duplicates, written=not made)


def _resized(job: Job) -> Resized:
    photo, how = job.seen.photo, job.how
    image, points = read_image(photo, how.depth), job.seen.heads(job.convention)
    size = np.array(image.shape[1::-1])
    how.require_drawable(*size, photo)
    inside = ((points >= 0) & (points <= size)).all(1)
    image = how.resize(image)
    new_size = np.array(image.shape[1::-1])
    # Each axis by its own factor, so that heads follow the rounding of the side they lie on.
    heads = np.minimum(points[inside] * (new_size / size), new_size).astype(np.float32)
    return Resized(image, heads, inside, new_size.min() / size.min())


def places_of(splits: dict[str, list[Path]], output: Path) -> list[tuple[str, Path, Path]]:
    """Return (split, photo, file to write) of each photo of 'train', 'val', 'test'.

    Raises `InputError` when two photos of a split would get one name, or the folder `output` holds
    photos that are not of this split: left there, they would train or be tested along.
    """
    places = []
    for split in ("train", "val", "test"):
        names: dict[str, Path] = {}
        for photo, short in short_names(splits.get(split, [])).items():
            # Photos of scenes that share their numbers: scene01_img01.
            name = "_".join(short.with_suffix("").parts)
            if name in names:
                raise InputError(f"{names[name]} and {photo} share a name: rename one")
            names[name] = photo
            places.append((split, photo, output / split / f"{name}.jpg"))
        # Not what begins with a point: parts of a process that was killed.
        present = sorted((output / split).glob("[!.]*.*"))
        written = (path for path in present if path.suffix in (".jpg", ".npy", ".h5"))
        stray = next((path for path in written if path.stem not in names), None)
        if stray:
            raise InputError(
                f"{stray} is not a photo of this {split} split: name an empty folder for the "
                "output, or remove the old one"
            )
    return places


def add_arguments(
    parser: ArgumentParser, layout: str | None, required: bool, bare: bool = False
) -> None:
    """Add the arguments that say what is read, how it is split, and how the command works.

    `layout` is the default of `--layout`, `required` whether the two folders must be named,
    `bare` whether photos may be without annotations; the command adds the sizes itself.
    """
    add = parser.add_argument
    add("--input-dataset-path", "--origin-dir", type=str, required=required, help="the data set")
    add("--output-dataset-path", "--data-dir", type=str, required=required, help="folder to write")
    layouts, about = (*LAYOUTS, *([BARE] if bare else ())), f"; {ABOUT}" if bare else ""
    add("--layout", default=layout, choices=layouts, help=layout_help() + about)
    add_convention(parser)
    add("--interpolation", default="bilinear", choices=INTERPOLATIONS)
    add("--depth", type=depth_option, default=AUTO, help=DEPTH_HELP)
    add("--train-list", type=str, help="text file with the names of the training photos")
    add("--val-list", type=str, help="text file with the names of the validation photos")
    add("--val-ratio", type=float, default=0.1, help="share of Train that validates, without lists")
    add("--seed", type=NonNegativeInt, default=4073, help="of the split, without lists")
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

    `make` returns the job of (split, **all fields of `Job` but `how`). Raises `InputError` for
    arguments that do not fit together or do not fit the set, and for a bad photo.
    """
    _check(arguments)
    root, layout = arguments.input_dataset_path, arguments.layout
    found = find_bare(root) if layout == BARE else find_photos(root, layout)
    how = arguments.split or ("time" if layout == "brt" else "random")
    lists = (arguments.train_list, arguments.val_list)
    splits, note = complete_splits(
        found, how, arguments.val_ratio, arguments.seed, *lists, arguments.fold
    )
    output = Path(arguments.output_dataset_path)
    convention = PointConvention.of(arguments)
    photos = [photo for split in splits.values() for photo in split]
    if layout == BARE:
        looked = Survey(layout, convention, {photo: Seen(photo, layout) for photo in photos})
    else:
        looked = survey(photos, layout, convention, arguments.workers)
    looked.require_answers()
    values = {key: value for key, value in vars(arguments).items() if key not in WORKING}
    settings = {key: value for key, value in values.items() if key not in PLACES}
    fields = {"convention": convention, "settings": settings, "skip_bad": arguments.skip_bad}

    jobs = [
        make(split, seen=looked.photos[photo], output=path, **fields)
        for split, photo, path in places_of(splits, output)
    ]
    for line in looked.notes():
        print(line)
    # Until all photos are there, some may be of other settings or older annotations.
    with unfinished(output, save_arguments(Namespace(**values))):
        if arguments.overwrite:
            for split in splits:
                forget(output / split)
        if note:
            print(note)
            listed = short_names(splits["train"] + splits["val"])
            for split in ("train", "val"):
                lines = "".join(f"{listed[photo].as_posix()}\n" for photo in splits[split])
                write_text(output / f"{split}.txt", lines)
        outcomes = map_photos(process_photo, jobs, arguments.workers, "preprocessing")
        _report(outcomes, output)
        lost = {one.split for one in outcomes} - {one.split for one in outcomes if not one.fault}
        if lost:
            raise InputError(
                f"no photo of {min(lost)} could be read: mend those in {output / 'skipped.txt'}, "
                "or choose another --seed or list"
            )


def _check(arguments: Namespace) -> None:
    """Raise `InputError` for arguments that do not fit together."""
    if not 1 <= arguments.min_size <= min(arguments.max_size, JPEG_LIMIT):
        raise InputError(
            f"--min-size {arguments.min_size} and --max-size {arguments.max_size} do not fit "
            "together: keep 1 <= min <= max"
        )
    places = (arguments.input_dataset_path, arguments.output_dataset_path)
    if len({Path(place).resolve() for place in places}) == 1:
        raise InputError(f"{arguments.output_dataset_path} is the data set: write elsewhere")
    if arguments.layout == "ucf_cc_50" and arguments.fold is None:
        raise InputError("ucf_cc_50 is tested in five folds: choose one with --fold 1 to 5")


def _report(outcomes: Sequence[Outcome], output: Path) -> None:
    """Print a line for each split: photos, heads, heads per photo, what was dropped.

    'duplicates' are heads at the very place of another; they are kept.
    """
    faults = [outcome.fault for outcome in outcomes if outcome.fault]
    if faults:
        write_text(output / "skipped.txt", "".join(f"{fault}\n" for fault in faults))
    else:
        (output / "skipped.txt").unlink(missing_ok=True)
    columns = ("split", "photos", "heads", "min", "median", "max", "outside", "duplicates")
    print(("{:<6}" + "{:>12}" * 7).format(*columns))
    for split in dict.fromkeys(outcome.split for outcome in outcomes):
        kept = [one for one in outcomes if one.split == split and not one.fault]
        heads = np.array([one.heads for one in kept] or [0])
        figures = (len(kept), heads.sum(), heads.min(), np.median(heads), heads.max())
        dropped = (sum(one.outside for one in kept), sum(one.duplicates for one in kept))
        print(f"{split:<6}" + "".join(f"{figure:>12g}" for figure in (*figures, *dropped)))
    written = sum(outcome.written for outcome in outcomes)
    kept = len(outcomes) - written - len(faults)
    print(f"{written} photos written, {kept} were up to date, {len(faults)} skipped")
