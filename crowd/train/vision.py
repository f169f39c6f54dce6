"""torchvision, importable wherever torch is.

The package registry's torchvision is built for CUDA. Beside a CPU build of torch its compiled part
does not load, and importing it fails because two operators are undeclared. Declaring them is enough
for models and transforms. Everything that needs torchvision (or timm) imports it from here.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from crowd.io.errors import extra


def _declare_missing_operators() -> None:
    if torch.version.cuda or torch.version.hip:
        return
    spec = importlib.util.find_spec("torchvision")
    if spec is None:
        return
    compiled = Path(spec.origin).parent / "_C.so"
    try:
        torch.ops.load_library(str(compiled))
    except OSError:
        library = torch.library.Library("torchvision", "FRAGMENT")
        boxes = "Tensor dets, Tensor scores, float iou_threshold"
        for name in ("nms", "qnms"):
            library.define(f"{name}({boxes}) -> Tensor")
        # The declarations live as long as the library object does.
        _declare_missing_operators.library = library


_declare_missing_operators()

with extra("commands", "the networks of torchvision and timm"):
    import torchvision

__all__ = ["torchvision"]
