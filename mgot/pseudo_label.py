"""Label the photos of a domain by a model: predicted FIDT maps and their peaks (DAOT's stage 1).

    python -m mgot.pseudo_label --config mgot/configs/A2B.yml
    python -m mgot.pseudo_label --save_path runs/mgot_sha/best.pth --data_dir data/shb_fidt \
        --output pseudo

Writes a set as mgot.fidt does: `NAME.jpg` (a copy), `NAME.npy` the peaks, `NAME.h5` with the
predicted map as it is and its peaks as `kpoint`; with --redraw, the FIDT map of these peaks, as
sharp as that of annotated heads, which a training may scale (--scale_range). Annotations of the
photos are never read. Run again, it goes on where it stopped; until it ends, its set is unfinished
and trains nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crowd.data.layouts.places import SPLITS
from crowd.data.network_input import photo_tensor, read_photo
from crowd.data.processed import SETTINGS, is_unfinished, list_split, read_annotation, unfinished
from crowd.data.stage import is_made, origin, read_record, record_path, withdraw, write_record
from crowd.io.config import YES_NO, ArgumentParser, Namespace, NonNegativeInt
from crowd.io.errors import InputError, command
from crowd.io.files import content_hash, read_text, write_array
from crowd.io.h5 import write_h5
from crowd.io.progress import note, progress
from mgot.fidt import Preprocessing, copy_file, read_preprocessing
from mgot.maps import fidt_map as draw
from mgot.maps import head_pixels
from mgot.patches import FIDT, require_only
from mgot.transfer import TILE_HELP, add_transfer, files_of, fill

if TYPE_CHECKING:
    from mgot.evaluation import Counter

FILES = {"save_path": "source.checkpoint", "data_dir": "target.fidt", "output": "pseudo_labels"}


def label_photo(counter: Counter, photo: Path, folder: Path, settings: dict) -> int | None:
    """Predict the map of a photo, write it with its peaks to `folder`; return the number of heads.

    None where all that is written is there, made by the same settings from the same photo, which is
    read as it is stored: the labels are for this very file. `settings` are `smooth` and `tile`, as
    for `mgot.local_maxima` and `predict_map`, `redraw`, for the FIDT map of the heads found in
    place of the predicted one, and what else decides the labels. Raises `InputError`
    where the photo cannot be read or the map is not finite.
    """
    made_from, record = origin(settings, [photo]), record_path(folder / photo.name)
    points, maps, copy = (folder / f"{photo.stem}{end}" for end in (".npy", ".h5", photo.suffix))
    if is_made(record, made_from, (points, maps, copy)):
        return None
    from mgot.evaluation import peak_centers, predict_map

    stored = Preprocessing()
    tensor = photo_tensor(read_photo(photo, stored), stored)
    predicted = predict_map(counter.model, tensor, settings["tile"])
    heads = peak_centers(predicted, str(photo), settings["smooth"])
    withdraw(record)
    copy_file(photo, copy)
    written = draw(heads, *predicted.shape) if settings["redraw"] else predicted.numpy()
    write_h5(maps, fidt_map=written, kpoint=head_pixels(heads, *predicted.shape))
    write_array(points, heads)
    write_record(record, made_from)
    return len(heads)


def require_labels(folder: Path, photos: Sequence[Path]) -> None:
    """Raise `InputError` where a finished set's points of these photos are not this command's."""
    if is_unfinished(folder.parent):
        return
    for photo in photos:
        points = folder / f"{photo.stem}.npy"
        settings = read_record(record_path(folder / photo.name)).get("settings", {})
        if points.is_file() and "checkpoint" not in settings:
            raise InputError(f"{points} is no pseudo label: name another folder by --output")


def require_whole(folder: Path, photos: Sequence[Path]) -> None:
    """Raise `InputError` where an earlier labelling of a split, into `folder`, did not end.

    Then photos of it have no labels, or labels by other settings than the rest.
    """
    made = [read_record(record_path(folder / photo.name)).get("settings") for photo in photos]
    if None in made or any(settings != made[0] for settings in made):
        raise InputError(
            f"{folder} was not labelled to its end, so the set is still unfinished: run "
            f"mgot.pseudo_label --split {folder.name} again"
        )


def median_spacing(photos: Sequence[Path]) -> float:
    """Median distance from a head to the nearest other one of its photo, pixels; 0 without any."""
    from scipy.spatial import cKDTree

    heads = (read_annotation(photo, 2) for photo in photos)
    apart = [cKDTree(one).query(one, k=2)[0][:, 1] for one in heads if len(one) > 1]
    return float(np.median(np.concatenate(apart))) if apart else 0.0


def say_spacing(photos: Sequence[Path], arguments: Namespace) -> None:
    """Print how far apart the heads found are, and those of the source where its set is there."""
    found = median_spacing(photos)
    if not found:
        return
    sentence = f"heads found: {found:.1f} pixels to the nearest other one (median)"
    source = Path(files_of(arguments)["source.fidt"]) if arguments.transfer else None
    if source and (source / "train").is_dir():
        try:
            annotated = median_spacing(list_split(source, "train"))
        except InputError as error:  # the labels are whole without it
            note(str(error))
        else:
            scale = f"mgot.test --scale {annotated / found:.2f} shows them so"
            sentence += f"; annotated in {source}: {annotated:.1f} ({scale})"
    print(sentence)


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(
        prog="python -m mgot.pseudo_label", description=__doc__.split("\n", 1)[0]
    )
    add = parser.add_argument
    add("--save_path", type=str, help="checkpoint of the source model")
    add("--data_dir", type=str, help="set of mgot.fidt with the target's photos")
    add("--split", choices=SPLITS, default="train")
    add("--output", type=str, help="folder of the labelled set")
    redraw = "write the FIDT map of the heads found, not the predicted map (not released)"
    add("--redraw", action=YES_NO, default=False, help=redraw)
    add("--tile", type=NonNegativeInt, default=0, help=TILE_HELP)
    add("--device", "--gpu_id", type=str, default="auto", help="a GPU's number, cpu or auto")
    add_transfer(parser)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    fill(arguments, FILES)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from crowd.train.devices import pick_device
    from crowd.train.loading import require_upright
    from mgot.evaluation import load_counter

    counter = load_counter(arguments.save_path, pick_device(arguments.device), arguments.model_name)
    photos = list_split(arguments.data_dir, arguments.split)
    for photo in photos:
        require_upright(photo)
    settings = {
        "checkpoint": content_hash(arguments.save_path),
        "smooth": read_preprocessing(arguments.data_dir).smooth,
        "tile": arguments.tile,
        "redraw": arguments.redraw,
    }
    data_dir, output = Path(arguments.data_dir), Path(arguments.output)
    if data_dir.resolve() == output.resolve():
        raise InputError(f"{output} is the set with the photos: write elsewhere")
    folder = output / arguments.split
    names = [f"{photo.stem}.h5" for photo in photos]
    # Not what begins with a point: parts of a process that was killed.
    require_only(folder, names, sorted(folder.glob("[!.]*.h5")))
    require_labels(folder, photos)
    made = data_dir / SETTINGS
    with unfinished(output, read_text(made, FIDT) if made.is_file() else ""):
        bar = progress(photos, "labels")
        found = [label_photo(counter, photo, folder, settings) for photo in bar]
        for split in {*SPLITS} - {arguments.split}:
            if (output / split).is_dir() and (data_dir / split).is_dir():
                require_whole(output / split, list_split(data_dir, split))
    heads = [number for number in found if number is not None]
    kept = len(photos) - len(heads)
    print(f"{len(heads)} photos labelled with {sum(heads)} heads, {kept} were up to date")
    say_spacing(list_split(output, arguments.split), arguments)


if __name__ == "__main__":
    main()
