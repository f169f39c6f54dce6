"""GST, step 1: photos with annotated heads -> processed set.

    python preprocess_dataset_ucf.py --input-dataset-path data/qnrf \
        --output-dataset-path data/qnrf_processed --layout qnrf

Brings every photo to the training's size, scales its heads along, and adds to each training head
the mean distance to its three nearest. Run again, it goes on where it stopped.
"""

from collections.abc import Sequence

from crowd.data.prepare import add_arguments, process
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError, command
from gst.photos import FIELDS, SMALLEST, GaussianJob, Preprocessing


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    add_arguments(parser, layout="qnrf", required=True)
    add = parser.add_argument
    add("--min-size", type=int, default=512, help="lower bound of the short side, pixels")
    add("--max-size", type=int, default=2048, help="upper bound of the short side, pixels")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    if arguments.min_size < SMALLEST:
        raise InputError(
            f"--min-size {arguments.min_size} is less than the networks can see: choose "
            f"{SMALLEST} or more"
        )

    def make(split: str, **fields) -> GaussianJob:
        how = Preprocessing(**{name: arguments[name] for name in FIELDS})
        return GaussianJob(how=how, extents=split == "train", **fields)

    process(arguments, make)


if __name__ == "__main__":
    main()
