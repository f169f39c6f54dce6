"""`python -m experiments demo`: the whole of GST on scenes it draws itself."""

from crowd.configuration import ArgumentParser
from crowd.errors import command
from experiments import demo


def build_parser() -> ArgumentParser:
    """Arguments of `python -m experiments`."""
    parser = ArgumentParser(prog="python -m experiments", description=__doc__)
    parser.add_argument("what", choices=["demo"], help="what to run")
    parser.add_argument("--folder", type=str, default="demo", help="where everything is written")
    return parser


@command
def main(argv: list[str] | None = None) -> None:
    """Run one experiment by name."""
    arguments = build_parser().read(argv)
    demo.run(arguments.folder)


if __name__ == "__main__":
    main()
