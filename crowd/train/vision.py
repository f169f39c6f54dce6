"""torchvision, importable wherever torch is.

The package registry's torchvision is built for CUDA. Beside a CPU build of torch its compiled part
does not load, and importing it fails because two operators are undeclared. Declaring them is enough
for models and transforms. Everything that needs torchvision (or timm) imports it from here.
"""

import torch

from crowd.io.errors import extra

with extra("commands", "the networks of torchvision and timm"):
    try:
        import torchvision
    except RuntimeError:
        # What it declares lasts as long as the object does.
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

__all__ = ["torchvision"]
