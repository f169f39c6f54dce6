"""Command `python -m crowd.synthetic`: write a synthetic data set."""

from crowd.io.config import ArgumentParser
from crowd.io.errors import command
from crowd.synthetic import LAYOUTS, make_dataset


def build_parser() -> ArgumentParser:
    """Arguments of the command."""
    parser = ArgumentParser(
        prog="python -m crowd.synthetic",
        description="Write a data set of synthetic crowds with exact head centres.",
    )
    parser.add_argument("--root", type=str, required=True, help="folder of the data set")
    parser.add_argument("--layout", type=str, default="qnrf", help=f"{' or '.join(LAYOUTS)}")
    parser.add_argument("--images", type=int, default=100, help="number of training photos")
    parser.add_argument("--test-images", type=int | None, help="test photos (half of --images)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all photos")
    parser.add_argument("--domain", type=str, default="a", help="a or b")
    parser.add_argument("--width", type=int, default=680, help="width of the photos in pixels")
    parser.add_argument("--height", type=int, default=512, help="height of the photos in pixels")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    """Read the arguments and write the data set."""
    arguments = build_parser().read(argv)
    which = arguments.layout, arguments.images, arguments.seed, arguments.domain
    size = arguments.width, arguments.height
    make_dataset(arguments.root, *which, test_images=arguments.test_images, size=size)
    print(f"{arguments.root} holds synthetic photos of domain {arguments.domain}")


if __name__ == "__main__":
    main()
