"""A trained counter as an ONNX file, which other programs run without torch."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import re
import warnings
from typing import TYPE_CHECKING

import numpy as np
import torch

from crowd.count.counter import Counter
from crowd.io.errors import InputError, extra
from crowd.io.files import write_bytes

if TYPE_CHECKING:
    from crowd.io.config import Namespace

with extra("export", "ONNX files"):
    import onnx
    import onnxruntime

INPUT = "photo"
TOLERANCE = 1e-4


def export(counter: Counter, arguments: Namespace, output: str, any_size: bool = True) -> None:
    """Write a counter as ONNX as the arguments of `add_export` say, and print what was written."""
    size = parse_size(arguments.size)
    difference = export_counter(counter, arguments.output, size, output, any_size)
    takes = "any size" if any_size else f"{size[0]} x {size[1]} pixels alone"
    print(f"{arguments.output}: {counter.name}, photos of {takes}; onnxruntime agrees with torch")
    print(f"largest difference {difference:.1e} of the largest value")


def parse_size(text: str) -> tuple[int, int]:
    """Return (width, height) of "512x384"; raise `InputError` for anything else, or below 16."""
    match = re.fullmatch(r"(\d+)x(\d+)", text.lower())
    if not match or min(map(int, match.groups())) < 16:
        raise InputError(f"--size {text} is not WIDTHxHEIGHT of 16 or more: write 512x512")
    return int(match[1]), int(match[2])


def export_counter(
    counter: Counter, path: str | os.PathLike, size: tuple[int, int], output: str, any_size: bool
) -> float:
    """Write a counter as ONNX, and run it to see that it says what torch says.

    Input is a normalised photo `photo`, float32 [1, 3, H, W]; how a photo becomes that stands in
    the file's metadata (`preprocessing`, JSON), beside the `model`'s name.

    Args:
        counter: on the CPU.
        path: file to write.
        size: width and height of the photo that the network is traced with, pixels.
        output: name of the output, [1, 1, h, w].
        any_size: whether the file shall take photos of other sizes too, of which one is tried.

    Returns:
        Largest difference between onnxruntime and torch, relative to the largest output.

    Raises:
        InputError: the difference exceeds 1e-4, or the file cannot be written.
    """
    width, height = size
    content = _trace(counter, (height, width), output, any_size)
    sizes = [(height, width)] + ([(height + 21, width + 40)] if any_size else [])
    # Of numpy: Python's loses a NaN that is not the first.
    difference = float(np.max([_difference(counter, content, one) for one in sizes]))
    if not difference <= TOLERANCE:
        raise InputError(
            f"onnxruntime and torch differ by {difference:.1e} of the largest value: {path} was "
            "not written; export a model that has trained longer"
        )
    write_bytes(path, content)
    return difference


def _trace(counter: Counter, size: tuple[int, int], output: str, any_size: bool) -> bytes:
    axes = {INPUT: {2: "height", 3: "width"}, output: {2: "rows", 3: "columns"}}
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # Of sizes that are fixed, as they are meant to be, and of an exporter to come.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            counter.model,
            (_noise(size),),
            buffer,
            input_names=[INPUT],
            output_names=[output],
            dynamic_axes=axes if any_size else None,
            # The exporter to come took 2 to 33 times as long, and fails at graph attention.
            dynamo=False,
        )
    model = onnx.load_model_from_string(buffer.getvalue())
    preprocessing = json.dumps(dataclasses.asdict(counter.preprocessing))
    onnx.helper.set_model_props(model, {"model": counter.name, "preprocessing": preprocessing})
    return model.SerializeToString()


def _difference(counter: Counter, content: bytes, size: tuple[int, int]) -> float:
    photo = _noise(size)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {INPUT: photo.numpy()})
    with torch.inference_mode():
        expected = counter.model(photo).numpy()
    if found.shape != expected.shape:
        return np.inf
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-12))


def _noise(size: tuple[int, int]) -> torch.Tensor:
    return torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
