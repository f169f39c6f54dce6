"""Photos with annotated heads -> photos, points and FIDT maps, the sets that MGOT works on.

    python -m mgot.fidt --layout sht --input-dataset-path data/shb \
        --output-dataset-path data/shb_fidt
    python -m mgot.fidt --config mgot/configs/A2B.yml --domain source
    python -m mgot.fidt --config mgot/configs/A2B.yml --domain target --layout photos

Beside each `NAME.jpg` lie `NAME.npy` (heads [N, 2]) and `NAME.h5` (`fidt_map` float32 and `kpoint`
uint8, [H, W]); of a target without annotations (`--layout photos`) there are train/ and its photos
alone. ShanghaiTech keeps its sizes; other sets get a long side of at most 2048 and a short side of
at least 512 (photos of UCF-QNRF that are counted: 1024), as in FIDT. Run again, it goes on where it
stopped.
"""

import dataclasses
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from crowd.data import network_input as photos
from crowd.data.images import read_orientation, read_size, write_image
from crowd.data.layouts.bare import BARE
from crowd.data.layouts.registry import LAYOUTS
from crowd.data.prepare import Job, Resized, add_arguments, process
from crowd.data.resize import JPEG_LIMIT, LONG
from crowd.io.config import YES_NO, ArgumentParser, Namespace
from crowd.io.errors import InputError, command
from crowd.io.files import atomic_path, write_array
from crowd.io.h5 import write_h5
from mgot.maps import fidt_map, head_pixels
from mgot.transfer import KEYS, add_transfer, fill

FILES = {
    "input_dataset_path": "{domain}.raw",
    "output_dataset_path": "{domain}.fidt",
    "layout": "{domain}.layout",
}


# Bounds of a layout's photos, pixels (see `crowd.data.resize.target_size`): the shortest short side
# of training photos, the longest long side, the shortest short side of photos counted whole.
BOUNDS = ("min_size", "max_size", "test_min_size")
SIZES = {"sht": (1, JPEG_LIMIT, 1), "qnrf": (512, 2048, 1024)}
OTHER_SIZES = (512, 2048, 512)
FIELDS = {name: name for name in ("max_size", "interpolation", "depth", "smooth")}
FIELDS |= {"min_size": "test_min_size"}


@dataclasses.dataclass(frozen=True)
class Preprocessing(photos.Preprocessing):
    """What happens to a photo before it is counted, and to its map; travels with the weights.

    By default photos stay as they are stored, which is right for those of a set that mgot.fidt
    wrote: they have their size already, whichever set the counter was trained on.

    Attributes:
        smooth: whether the predicted map is smoothed before peaks are sought.
    """

    bounded: ClassVar[str] = LONG

    min_size: int = 1
    max_size: int = JPEG_LIMIT
    smooth: bool = False


def read_preprocessing(data_dir: str | os.PathLike) -> Preprocessing:
    """Return how mgot.fidt made the val and test photos of a set.

    Raises `InputError` when the set's `preprocess.yml` is damaged, or says that mgot.fidt, or
    mgot.pseudo_label, did not end; without one photos stay as they are.
    """
    command = "python -m mgot.fidt (of pseudo labels: mgot.pseudo_label)"
    return photos.read_preprocessing(data_dir, Preprocessing, FIELDS, command)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FidtJob(Job):
    """One photo to process, with the FIDT map of its heads."""

    companions: ClassVar[tuple[str, ...]] = (".npy", ".h5")

    def write(self, resized: Resized, heads: np.ndarray) -> None:
        """Write heads, maps and photo."""
        height, width = resized.image.shape[:2]
        write_array(self.output.with_suffix(".npy"), heads)
        write_h5(
            self.output.with_suffix(".h5"),
            fidt_map=fidt_map(heads, height, width),
            kpoint=head_pixels(heads, height, width),
        )
        self.write_photo(resized)

    def write_photo(self, resized: Resized) -> None:
        """Write the photo; a JPEG that keeps its size is copied as it is."""
        height, width = resized.image.shape[:2]
        jpeg = self.seen.photo.suffix.lower() in (".jpg", ".jpeg")
        same = jpeg and read_size(self.seen.photo) == (width, height)
        if same and read_orientation(self.seen.photo) == 1:
            copy_file(self.seen.photo, self.output)
        else:
            write_image(self.output, resized.image)


@dataclasses.dataclass(frozen=True, kw_only=True)
class BareJob(FidtJob):
    """One photo of a target without annotations: nothing is said of its heads, not that it has
    none.
    """

    companions: ClassVar[tuple[str, ...]] = ()

    def write(self, resized: Resized, heads: np.ndarray) -> None:  # noqa: ARG002 - there are none
        """Write the photo alone, and leave no labels of an earlier run beside it."""
        for suffix in FidtJob.companions:
            self.output.with_suffix(suffix).unlink(missing_ok=True)
        self.write_photo(resized)


def copy_file(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all."""
    with atomic_path(target) as part:
        shutil.copyfile(source, part)


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(prog="python -m mgot.fidt", description=__doc__.split("\n", 1)[0])
    add_arguments(parser, layout=None, required=False, bare=True)
    add = parser.add_argument
    add("--min-size", type=int, help="lower bound of the short side, pixels")
    add("--max-size", type=int, help="upper bound of the long side, pixels")
    counted = "--min-size of val and test (default: as --min-size; without one: 1024 for qnrf)"
    add("--test-min-size", type=int, help=counted)
    smooth = "smooth predicted maps of this set before counting peaks (default: qnrf alone)"
    add("--smooth", action=YES_NO, default=None, help=smooth)
    add_transfer(parser, domain=True)
    return parser


def read_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """Read the arguments, completed by the transfer and by what the layout's photos get.

    Raises `InputError` as the parser does, and when bounds do not fit together.
    """
    arguments = build_parser().read(argv)
    fill(arguments, FILES)
    if not arguments.layout:
        name = arguments[arguments.domain]
        raise InputError(
            f"{name} is a data set of your own: say how it keeps its files with --layout "
            f"({', '.join((*LAYOUTS, BARE))}; docs/FORMATS.md)"
        )
    values = dict(zip(BOUNDS, SIZES.get(arguments.layout, OTHER_SIZES), strict=True))
    if arguments.min_size is not None:
        values["test_min_size"] = arguments.min_size
    values["smooth"] = arguments.layout == "qnrf"  # as released
    for name, value in values.items():
        if arguments[name] is None:
            arguments[name] = value
    different = arguments.test_min_size != arguments.min_size
    if different and not 1 <= arguments.test_min_size <= min(arguments.max_size, JPEG_LIMIT):
        raise InputError(
            f"--test-min-size {arguments.test_min_size} and --max-size {arguments.max_size} do "
            "not fit together: keep 1 <= min <= max"
        )
    return Namespace(**{key: value for key, value in vars(arguments).items() if key not in KEYS})


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = read_arguments(argv)

    kind = BareJob if arguments.layout == BARE else FidtJob

    def make(split: str, **fields) -> FidtJob:
        min_size = arguments.min_size if split == "train" else arguments.test_min_size
        others = {name: arguments[name] for name in ("max_size", "interpolation", "depth")}
        return kind(how=Preprocessing(min_size=min_size, **others), **fields)

    process(arguments, make)


if __name__ == "__main__":
    main()
