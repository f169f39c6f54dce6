"""A training step never waits for the device: on a GPU every answer it asks for stops the queue."""

import functools

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils._python_dispatch import TorchDispatchMode

import gst.losses
import mgot.training
from crowd.train.loop import Steps, train_one_epoch
from gst.dataset import Batch as GstBatch
from gst.heads import Heads
from gst.loss import padded_transport_loss
from gst.models import build_model as build_gst
from mgot.dataset import Batch as MgotBatch
from mgot.maps import fidt_map
from mgot.models import build_model as build_mgot

SIDE = 64
# What cannot be answered, or given a shape, before the device has come so far.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "bincount", "_unique2", "equal")


class Answers(TorchDispatchMode):
    """Counts the operations whose answer a GPU would have to be waited for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in WAITING or (
            name == "index" and any(getattr(one, "dtype", None) == torch.bool for one in args[1])
        ):
            self.asked.append(name)
        return function(*args, **(kwargs or {}))


def gst_batch(seed, counts=(5, 0, 2)):
    random = torch.Generator().manual_seed(seed)

    def heads(count):
        points = SIDE * torch.rand(count, 2, generator=random)
        return Heads(points, torch.full((count, 2), 4.0), torch.zeros(count), torch.ones(count))

    images = torch.randn(len(counts), 3, SIDE, SIDE, generator=random)
    names, sides = [f"photo{seed}"] * len(counts), [2.0 * SIDE] * len(counts)
    return GstBatch(images, [heads(count) for count in counts], names, sides)


def mgot_batch(seed, counts=(5, 0, 2)):
    random = np.random.default_rng(seed)
    points = [random.uniform(0, SIDE, (count, 2)).astype(np.float32) for count in counts]
    maps = [torch.from_numpy(fidt_map(one, SIDE, SIDE)[None]) for one in points]
    images = torch.from_numpy(random.normal(size=(len(counts), 3, SIDE, SIDE)).astype(np.float32))
    heads = [torch.from_numpy(one) for one in points]
    names = [f"photo{seed}"] * len(counts)
    return MgotBatch(images, torch.stack(maps), heads, torch.ones(len(counts)), names)


small_gst = functools.partial(build_gst, "vgg_small", width=0.25)
small_mgot = functools.partial(build_mgot, "hrnet_small", widths=[16, 8])
# DM-Count is not among them: its solver decides step by step how to go on.
CASES = {
    "vgg_small": (gst.losses, gst_batch, small_gst, {}),
    "vgg_trans": (gst.losses, gst_batch, lambda: build_gst("vgg_trans"), {}),
    "gaussian": (gst.losses, gst_batch, small_gst, {"loss": "gaussian"}),
    "block counts": (gst.losses, gst_batch, small_gst, {"block_counts": True}),
    "bayesian": (gst.losses, gst_batch, small_gst, {"loss": "bayesian"}),
    "fidt": (mgot.training, mgot_batch, small_mgot, {}),
    "issim": (mgot.training, mgot_batch, small_mgot, {"ssim_weight": 10.0}),
}


@pytest.mark.parametrize("case", CASES)
def test_a_step_asks_the_device_for_nothing(case, monkeypatch):
    """As on a GPU: by whole kernels, which a CPU has faster code for."""
    monkeypatch.setattr(gst.losses, "gaussian_transport_loss", padded_transport_loss)
    engine, batch, build, options = CASES[case]
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    batches = [batch(seed) for seed in range(2)]
    with Answers() as answers:
        losses = functools.partial(engine.batch_losses, device=torch.device("cpu"), **options)
        train_one_epoch(model, batches, losses, optimizer, 0, steps=Steps(clip=1.0))
    assert answers.asked == []


@pytest.mark.cuda
@pytest.mark.parametrize("amp", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_a_step_on_a_gpu_waits_for_nothing(case, amp):
    engine, batch, build, options = CASES[case]
    device = torch.device("cuda")
    model = build().to(device)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.9))

    def strict():
        for seed in range(4):
            # The first step may load kernels and choose algorithms.
            torch.cuda.set_sync_debug_mode("error" if seed else "default")
            yield batch(seed)
        torch.cuda.set_sync_debug_mode("default")

    try:
        losses = functools.partial(engine.batch_losses, device=device, amp=amp, **options)
        figures = train_one_epoch(model, strict(), losses, optimizer, 0, average, Steps(clip=1.0))
        assert np.isfinite(list(figures.values())).all()
    finally:
        torch.cuda.set_sync_debug_mode("default")
