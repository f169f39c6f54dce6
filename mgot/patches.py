"""Cut photos into patches, the samples that MGOT clusters and matches.

    python -m mgot.patches --config mgot/configs/A2B.yml --domain source
    python -m mgot.patches --data_dir data/shb_fidt --output patches --unlabelled --resize 1024x768

Patches are 256 × 256 at stride 256, whole ones only: `NAME_ROW_COLUMN.jpg`, row and column counted
in patches, so that sorting by name gives reading order. `NAME_ROW_COLUMN.h5` holds the same piece
of the photo's `fidt_map` and `kpoint`. Run again, the command goes on where it stopped; until it
ends, `preprocess.yml` calls its folder unfinished, and no command takes patches from there.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from crowd.data.folders import list_images
from crowd.data.images import open_image, read_orientation, read_size, write_image
from crowd.data.layouts.points import upright_size
from crowd.data.processed import SETTINGS, UNFINISHED, is_unfinished, list_split, unfinished
from crowd.data.stage import is_made, origin, record_path, withdraw, write_record
from crowd.io.config import YES_NO, ArgumentParser, Namespace
from crowd.io.errors import InputError, command
from crowd.io.files import read_array, read_text, require_folder, write_array
from crowd.io.h5 import read_h5, write_h5
from crowd.io.progress import progress
from mgot.fidt import read_preprocessing
from mgot.maps import PATCH_SIDE
from mgot.transfer import add_transfer, fill

SIDE = 256
FIDT = "run python -m mgot.fidt again (for patches: python -m mgot.patches)"


def patches_of(
    photo: Path, output: Path, size: tuple[int, int] | None = None
) -> dict[Path, tuple[slice, slice]]:
    """The patches of a photo, in reading order: path in `output` -> rows and columns of the photo.

    `size` is (width, height) to which the photo is resized first; None: as it is.
    """
    width, height = size or upright_size(read_size(photo), read_orientation(photo))
    return {
        output / f"{photo.stem}_{row:02d}_{column:02d}.jpg": (
            slice(row * SIDE, (row + 1) * SIDE),
            slice(column * SIDE, (column + 1) * SIDE),
        )
        for row in range(height // SIDE)
        for column in range(width // SIDE)
    }


def read_patch(path: str | os.PathLike) -> np.ndarray:
    """Read what the network sees of a patch: its middle, uint8 `[224, 224, 3]` (released code).

    A patch of another size than 256 × 256 is resized to that first. Raises `InputError` for no
    picture or a truncated one.
    """
    image = open_image(path)
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    margin = (SIDE - PATCH_SIDE) // 2
    return np.asarray(image)[margin:-margin, margin:-margin]


def cut_photo(
    photo: Path, output: Path, labelled: bool = True, size: tuple[int, int] | None = None
) -> int:
    """Write the patches of one photo, unless all are there, made from the same files and settings.

    With `labelled` the pieces of its FIDT map, `NAME.h5` beside it, are written too; `size` is as
    for `patches_of`. Returns the number of its patches. Raises `InputError` when the photo or its
    map is missing, damaged or of another size.
    """
    patches, record = patches_of(photo, output, size), record_path(output / photo.name)
    suffixes = (".jpg", ".h5") if labelled else (".jpg",)
    sources = [photo, photo.with_suffix(".h5")][: len(suffixes)]
    made_from = origin({"labelled": labelled, "size": size}, sources)
    outputs = [path.with_suffix(suffix) for path in patches for suffix in suffixes]
    if not patches or is_made(record, made_from, outputs):
        return len(patches)
    image = open_image(photo)
    if size:
        image = image.resize(size, Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    labels = read_labels(photo, pixels.shape[:2]) if labelled else {}
    withdraw(record)
    for path, place in patches.items():
        if labels:
            pieces = {name: values[place] for name, values in labels.items()}
            write_h5(path.with_suffix(".h5"), **pieces)
        else:
            path.with_suffix(".h5").unlink(missing_ok=True)  # of an earlier, labelled run
        write_image(path, pixels[place])
    write_record(record, made_from)
    return len(patches)


def read_labels(
    photo: Path, shape: tuple[int, int], names: Sequence[str] = ("fidt_map", "kpoint")
) -> dict[str, np.ndarray]:
    """Read `fidt_map` float32 and `kpoint` uint8, `[H, W]`, from the h5 file beside a photo.

    Raises `InputError` when the file is missing, cut short, or of another size than the photo.
    """
    path = photo.with_suffix(".h5")
    labels = {name: read_h5(path, name, FIDT) for name in names}
    for name, values in labels.items():
        if values.shape != shape:
            raise InputError(
                f"{path}: {name} is {list(values.shape)} for a photo of {list(shape)}: {FIDT}"
            )
    return labels


def require_only(folder: Path, names: Sequence[str], present: Sequence[Path]) -> None:
    """Raise `InputError` where `folder` would not hold the outputs of these photos alone.

    That is where two of the `names` to write are the same, or something else is `present`.
    """
    known = set(names)
    if len(known) < len(names):
        raise InputError(f"two photos for {folder} share a name: rename one")
    stray = next((path for path in present if path.name not in known), None)
    if stray:
        raise InputError(f"{stray} is not of these photos: name an empty folder by --output")


def list_patches(folder: str | os.PathLike) -> list[Path]:
    """Return the patches in a folder, by name.

    Raises `InputError` where it is missing, or mgot.patches did not end.
    """
    folder = require_folder(folder, "run python -m mgot.patches, or name the folder it wrote")
    if is_unfinished(folder):
        raise InputError(f"{folder} holds a part of its patches: run python -m mgot.patches again")
    return list_images(folder)


def locate_patches(names: Sequence[str], folder: str | os.PathLike) -> list[Path]:
    """Return where the patches of a feature file or a selection lie, wherever it was made.

    Of whole paths, as in the authors' files, the last part counts. Raises `InputError` where the
    folder, or some of them, are missing, or it is unfinished.
    """
    present = {path.name for path in list_patches(folder)}
    paths = [Path(folder) / Path(name).name for name in names]
    missing = sorted({path.name for path in paths} - present)
    if missing:
        raise InputError(
            f"{folder} lacks {len(missing)} patches, among them {missing[0]}: name the folder "
            "that the features were made from"
        )
    return paths


def write_selection(paths_file: str | os.PathLike, weights_file: str | os.PathLike, paths, weights):
    """Write the selected source patches (strings) and as many weights (float64), unpickled."""
    Path(weights_file).unlink(missing_ok=True)  # a kill would leave those of another selection
    write_array(paths_file, np.asarray(paths, dtype=str))
    write_array(weights_file, np.asarray(weights, dtype=np.float64))


def read_selection(
    paths_file: str | os.PathLike, weights_file: str | os.PathLike
) -> tuple[list[str], np.ndarray]:
    """Read what `write_selection` (or the released code) wrote: patch paths, weights float64 `[n]`.

    Raises `InputError` for missing or damaged files, other content, different lengths, weights that
    are negative or not finite.
    """
    remedy = "name the two files of one run of k_means_ot_weight.py"
    paths, weights = read_array(paths_file, remedy), read_array(weights_file, remedy)
    if paths.ndim != 1 or paths.dtype.kind != "U":
        raise InputError(f"{paths_file} is no list of patch paths: {remedy}")
    if weights.dtype.kind not in "fiu" or not (np.isfinite(weights) & (weights >= 0)).all():
        raise InputError(f"{weights_file} holds weights that are negative or not finite: {remedy}")
    if paths.shape != weights.shape:
        raise InputError(
            f"{paths_file} lists {paths.size} patches and {weights_file} {weights.size} weights: "
            f"{remedy}"
        )
    return paths.tolist(), weights.astype(np.float64)


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of "1024x768"; raise `InputError` for anything else."""
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and min(int(width), int(height)) >= SIDE):
        raise InputError(f"size '{text}' is not WIDTHxHEIGHT of {SIDE} or more: write 1024x768")
    return int(width), int(height)


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(prog="python -m mgot.patches", description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--data_dir", type=str, help="folder that mgot.fidt wrote, with a folder per split")
    add("--split", choices=("train", "val", "test"), default="train")
    add("--output", type=str, help="folder of the patches")
    add("--unlabelled", action=YES_NO, help="cut photos alone (the target always is)")
    add("--resize", type=str, help="WIDTHxHEIGHT before cutting, of unlabelled photos")
    add_transfer(parser, domain=True)
    return parser


def read_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """Read the arguments and complete them by the transfer.

    Raises `InputError` as the parser does, and when labelled photos are to be resized.
    """
    arguments = build_parser().read(argv)
    fill(arguments, {"data_dir": "{domain}.fidt", "output": "{domain}.patches"})
    if arguments.transfer and arguments.domain == "target":
        arguments.unlabelled = True
        arguments.resize = arguments.resize or arguments.target_size
    if arguments.resize and not arguments.unlabelled:
        raise InputError("a resized photo no longer fits its FIDT map: add --unlabelled")
    return arguments


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = read_arguments(argv)
    output = Path(arguments.output)
    size = None if arguments.resize is None else parse_size(arguments.resize)
    photos = list_split(arguments.data_dir, arguments.split)
    names = [path.name for photo in photos for path in patches_of(photo, output, size)]
    if not names:
        where = photos[0].parent
        # A resized photo no longer fits its FIDT map.
        anew = f"make the set again with python -m mgot.fidt --min-size {SIDE}"
        remedy = "enlarge them by --resize" if arguments.unlabelled else anew
        raise InputError(f"no photo in {where} reaches {SIDE} × {SIDE}: {remedy}")
    made = output / SETTINGS
    if made.is_file() and read_text(made, "name an empty folder by --output") != UNFINISHED:
        raise InputError(f"{output} is a processed set: name an empty folder by --output")
    require_only(output, names, list_images(output) if output.is_dir() else [])
    read_preprocessing(arguments.data_dir)  # which an unfinished set does not have
    how = output, not arguments.unlabelled, size
    with unfinished(output):
        counts = [cut_photo(photo, *how) for photo in progress(photos, "patches", "photo")]
    small = counts.count(0)
    print(f"{sum(counts)} patches of {len(photos) - small} photos in {output}")
    if small:
        print(f"{small} photos are smaller than {SIDE} × {SIDE} and give none")


if __name__ == "__main__":
    main()
