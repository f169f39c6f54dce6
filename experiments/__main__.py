"""Run what uses all packages.

python -m experiments demo                                   GST on scenes it draws itself
python -m experiments picture --photo data/…/train/11.jpg    the Gaussians fitted to a photo
"""

from pathlib import Path

from crowd.configuration import ArgumentParser
from crowd.errors import InputError, command
from experiments import demo, figures


def build_parser() -> ArgumentParser:
    """Arguments of `python -m experiments`."""
    parser = ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("what", choices=["demo", "picture"], help="what to run")
    parser.add_argument("--folder", type=str, default="demo", help="demo: where all is written")
    parser.add_argument("--photo", type=str, help="picture: a fitted photo of a processed set")
    parser.add_argument("--output", type=str, default=".", help="picture: folder to draw in")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    """Run one experiment by name."""
    arguments = build_parser().read(argv)
    if arguments.what == "demo":
        demo.run(arguments.folder)
        return
    if arguments.photo is None:
        raise InputError("name the photo to draw with --photo")
    photo, output = Path(arguments.photo), Path(arguments.output)
    for name, draw in (("gaussians", figures.draw_fit), ("kernel", figures.draw_kernel)):
        path = output / f"{photo.stem}_{name}.jpg"
        draw(path, photo)
        print(path)


if __name__ == "__main__":
    main()
