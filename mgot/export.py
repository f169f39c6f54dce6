"""Write a counter of MGOT as an ONNX file.

    python -m mgot.export --save_path runs/mgot_A2B/finetuned/best.pth --output shb.onnx

The file takes normalised photos of any size and puts out `fidt_map`, whose peaks are the heads.
"""

from collections.abc import Sequence

from crowd.count.command import add_export
from crowd.io.config import ArgumentParser
from crowd.io.errors import command
from mgot.models import MODELS


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(prog="python -m mgot.export", description=__doc__.split("\n", 1)[0])
    add_export(parser, MODELS)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    import torch

    from crowd.count.export import export
    from mgot.evaluation import load_counter

    counter = load_counter(arguments.save_path, torch.device("cpu"), arguments.model_name)
    export(counter, arguments, "fidt_map")


if __name__ == "__main__":
    main()
