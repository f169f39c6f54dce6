"""Steps of a training, in one process or in several: their gradients, and the epoch's figures."""

import functools
import sys
from pathlib import Path

import numpy as np
import torch

from crowd.train.distributed import is_main_process, join, leave, parallel
from crowd.train.loop import Steps, train_one_epoch
from gst.dataset import CrowdCrops
from gst.dataset import crop_batches as gst_batches
from gst.losses import batch_losses as gst_losses
from gst.photos import read_preprocessing
from mgot.dataset import FidtCrops
from mgot.dataset import crop_batches as mgot_batches
from mgot.fidt import Preprocessing
from mgot.models import build_model
from mgot.training import batch_losses as mgot_losses
from tests.gst.test_engine import Local


class Keeping(torch.optim.SGD):
    """Keeps the gradient of every step and moves nothing."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.0)
        self.kept = []

    def step(self):
        parameters = self.param_groups[0]["params"]
        self.kept.append(torch.cat([one.grad.flatten().clone() for one in parameters]))


def run(method: str, data: Path, batch_size: int) -> tuple[torch.Tensor, dict]:
    """Gradients [steps, weights] of an epoch, and its figures."""
    torch.manual_seed(0)
    cpu = torch.device("cpu")
    if method == "gst":
        crops = CrowdCrops([data], 64, 1, read_preprocessing(data))
        batches, model = gst_batches(crops, batch_size, 0, False), Local()
        losses, steps = functools.partial(gst_losses, device=cpu), Steps()
    else:
        paths = sorted(data.glob("train/*.png"))
        weights = np.linspace(0.5, 2, len(paths))
        crops = FidtCrops(paths, 32, 1, Preprocessing(), weights)
        model = build_model("hrnet_small", widths=[16, 8], hidden=4)
        batches = mgot_batches(crops, batch_size, 0, False)
        losses = functools.partial(mgot_losses, device=cpu, ssim_weight=10.0)
        steps = Steps({"issim": 10.0}, summed=True)
    keeping = Keeping(model.parameters())
    figures = train_one_epoch(parallel(model), batches, losses, keeping, 0, steps=steps)
    return torch.stack(keeping.kept), figures


if __name__ == "__main__":
    join("cpu")
    result = run(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    if is_main_process():
        torch.save(result, sys.argv[4])
    leave()
