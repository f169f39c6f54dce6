"""Write a counter of MGOT as an ONNX file.

    python -m mgot.export --save_path runs/mgot_A2B/finetuned/best.pth --output shb.onnx

The file takes normalised photos of any size and puts out `fidt_map`, whose peaks are the heads.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from crowd.count.export import export_counter, parse_size
from crowd.io.config import ArgumentParser
from crowd.io.errors import command
from mgot.counter import load_counter
from mgot.models import MODELS


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--save_path", type=str, required=True, help="checkpoint: best.pth, last.pth or weights")
    add("--output", type=str, required=True, help="ONNX file to write")
    add("--size", type=str, default="512x512", help="WIDTHxHEIGHT to trace with, px")
    add("--model_name", choices=tuple(MODELS), help="for weights that do not say which model")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    size = parse_size(arguments.size)
    counter = load_counter(arguments.save_path, torch.device("cpu"), arguments.model_name)
    difference = export_counter(counter, arguments.output, size, "fidt_map", any_size=True)
    print(f"{arguments.output}: {counter.name}, photos of any size; onnxruntime agrees with torch")
    print(f"largest difference {difference:.1e} of the largest value")


if __name__ == "__main__":
    main()
