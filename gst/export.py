"""Write a counter of GST as an ONNX file, or as a small checkpoint.

    python -m gst.export --output light.onnx        the trained counter in weights/
    python -m gst.export --save-path runs/gst_qnrf_vgg/best.pth --output vgg.onnx
    python -m gst.export --save-path runs/gst_sha_light/best.pth --output light.pth

A `.pth` holds what is counted with, in half precision, and no state of the training; no `--size`
matters to it. The ONNX file takes normalised photos of any size, but those of `vgg_trans`, whose
graph depends on the number of cells, of `--size` alone. It puts out `density`, whose sum is the
count.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from crowd.count.command import add_export
from crowd.io.config import ArgumentParser, Namespace
from crowd.io.errors import InputError, command
from gst.models import BOXED, MODELS


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(prog="python -m gst.export", description=__doc__.split("\n", 1)[0])
    add_export(parser, MODELS, BOXED)
    return parser


def release(arguments: Namespace) -> None:
    """Write the checkpoint that others are given, once it loads."""
    import torch

    from crowd.count.counter import weights_of
    from crowd.train.checkpoints import load_checkpoint, save_release
    from gst.counter import load_counter

    save_path, output = arguments.save_path, arguments.output
    state = load_checkpoint(save_path)
    if state.get("recipe") is None:
        raise InputError(f"{save_path} holds weights alone: name the best.pth of a training")
    if Path(output).is_file() and load_checkpoint(output).keys() & {"optimizer", "best"}:
        raise InputError(f"{output} is of a training, which would be lost: name another file")
    load_counter(save_path, torch.device("cpu"), arguments.model_name)
    save_release(output, state, weights_of(state, save_path))
    content = Path(output).read_bytes()
    print(f"{output}: {len(content):,} bytes, md5 {hashlib.md5(content).hexdigest()}")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    suffix = Path(arguments.output).suffix
    if suffix not in (".pth", ".onnx"):
        raise InputError(f"--output {arguments.output} ends in neither .onnx nor .pth: name one")
    if suffix == ".pth":
        release(arguments)
        return
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    import torch

    from crowd.count.export import export
    from gst.counter import load_counter

    counter = load_counter(arguments.save_path, torch.device("cpu"), arguments.model_name)
    export(counter, arguments, "density", any_size=not counter.model.has_attention)


if __name__ == "__main__":
    main()
