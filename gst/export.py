"""Write a counter of GST as an ONNX file, or as a small checkpoint.

    python -m gst.export --save-path runs/gst_qnrf_vgg/best.pth --output vgg.onnx
    python -m gst.export --save-path runs/gst_sha_light/best.pth --output light.pth

A `.pth` holds what is counted with, in half precision, and no state of the training. The ONNX file
takes normalised photos of any size, but those of `vgg_trans`, whose graph depends on the
number of cells, of `--size` alone. It puts out `density`, whose sum is the count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from crowd.count.counter import weights_of
from crowd.count.export import export_counter, parse_size
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError, command
from crowd.train.checkpoints import load_checkpoint, save_release
from gst.counter import load_counter
from gst.models import MODELS


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--save-path", type=str, required=True, help="checkpoint: best.pth, last.pth or weights")
    add("--output", type=str, required=True, help="file to write, .onnx or .pth")
    add("--size", type=str, default="512x512", help="WIDTHxHEIGHT to trace with, px")
    add("--model-name", choices=tuple(MODELS), help="for weights that do not say which model")
    return parser


def release(save_path: str, output: str) -> None:
    """Write the checkpoint that others are given, once it loads."""
    load_counter(save_path, torch.device("cpu"))
    state = load_checkpoint(save_path)
    if state.get("recipe") is None:
        raise InputError(f"{save_path} holds weights alone: name the best.pth of a training")
    save_release(output, state, weights_of(state, save_path))
    content = Path(output).read_bytes()
    print(f"{output}: {len(content):,} bytes, md5 {hashlib.md5(content).hexdigest()}")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    size = parse_size(arguments.size)
    if Path(arguments.output).suffix == ".pth":
        release(arguments.save_path, arguments.output)
        return
    counter = load_counter(arguments.save_path, torch.device("cpu"), arguments.model_name)
    any_size = not counter.model.has_attention
    difference = export_counter(counter, arguments.output, size, "density", any_size)
    takes = "any size" if any_size else f"{size[0]} x {size[1]} pixels alone"
    print(f"{arguments.output}: {counter.name}, photos of {takes}; onnxruntime agrees with torch")
    print(f"largest difference {difference:.1e} of the largest value")


if __name__ == "__main__":
    main()
