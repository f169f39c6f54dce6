"""MGOT at the edge: 20,000 heads in one photo, photos smaller than the crop, diverging training."""

import numpy as np
import pytest
import torch

from crowd.train.checkpoints import load_checkpoint
from crowd.train.runs import read_log
from mgot.losses import fidt_loss
from mgot.maps import fidt_map, head_pixels, local_maxima


def grid():
    """20,000 heads at the centres of every second pixel, across and down."""
    across, down = np.meshgrid(np.arange(200), np.arange(100))
    return np.stack([across.ravel(), down.ravel()], axis=1) * 2 + 1.5


def test_20000_heads_are_20000_peaks_of_their_map():
    heads = grid()
    peaks = local_maxima(fidt_map(heads, 201, 401))
    assert len(peaks) == 20_000
    np.testing.assert_array_equal(peaks, np.floor(heads).astype(int))
    assert head_pixels(heads, 201, 401).sum() == 20_000


def test_the_loss_of_20000_heads_is_finite_and_0_for_the_right_map():
    heads = torch.from_numpy(grid())
    target = torch.from_numpy(fidt_map(heads, 201, 401))[None, None]
    with torch.no_grad():
        losses = fidt_loss(target.clone(), target, [heads], ssim_weight=1.0)
    assert losses["mse"].item() == 0
    assert losses["issim"].item() == pytest.approx(0, abs=1e-5)
    other = (target + 0.1).requires_grad_()
    sum(fidt_loss(other, target, [heads], ssim_weight=1.0).values()).backward()
    assert other.grad.isfinite().all()


def test_photos_smaller_than_the_crop_and_without_heads_train(write_fidt_set, baseline):
    data = write_fidt_set(train=(0, 3, 0), val=(1, 0), size=(48, 40))
    folder = baseline(data, options="--crop_size 64 --epochs 2 --ssim_weight 1")
    log = read_log(folder / "log.jsonl")
    assert [line["epoch"] for line in log] == [0, 1]
    assert np.isfinite([[line["mse"], line["issim"]] for line in log]).all()


def test_a_diverging_training_stops_with_its_photos_kept(write_fidt_set, baseline, failure):
    data = write_fidt_set()
    message = failure(lambda _: baseline(data, options="--epochs 9 --lr 1e30"))
    kept = load_checkpoint(data.parent / "run" / "not_finite.pth")
    assert all(name in message for name in kept["batch"]["names"])
    assert kept["batch"]["maps"].shape == (2, 1, 32, 32)
