"""GST at the edge: 20,000 heads in a photo, photos smaller than the crop, diverging training."""

import json

import numpy as np
import pytest
import torch

from crowd.metrics import localization
from crowd.train.checkpoints import load_checkpoint
from crowd.train.runs import read_log
from GS2D import fit_gaussians, rasterize
from gst.dataset import Sample, augment
from gst.heads import Heads, neighbour_distance
from gst.kernel import transport_kernel
from gst.loss import (
    gaussian_transport_loss,
    gaussian_transport_loss_reference,
    transport_loss,
)
from gst.options import KernelOptions

MANY = 20_000


def many_heads(width, height, seed=0):
    return np.random.default_rng(seed).uniform(0, (width, height), (MANY, 2)).astype(np.float32)


def test_kernel_and_loss_of_20000_heads_conserve_mass():
    kernel = transport_kernel(many_heads(64, 64), np.ones((MANY, 2)), np.zeros(MANY), 64)
    assert kernel.shape == (MANY + 1, 64)
    torch.testing.assert_close(kernel.sum(0), torch.ones(64), rtol=0, atol=1e-4)
    density = torch.rand(1, 1, 8, 8, generator=torch.manual_seed(0)).requires_grad_()
    # No head may have received more than it is worth: the loss is linear in what is missing.
    loss = transport_loss([kernel], [torch.ones(MANY)], density)
    background = (kernel[-1] @ density.flatten()).item()
    missing = MANY - (density.sum().item() - background)
    assert loss.item() == pytest.approx(missing + background, rel=1e-4)
    loss.backward()
    assert density.grad.isfinite().all()
    assert (density.grad.abs() <= 1 + 1e-4).all()


def test_20000_far_heads_count_together_where_one_would_not():
    """Of the last cell each has e^-12.75 of what the head in the crop has, all have a twentieth."""
    points, scales = torch.full((MANY, 2), 100.0), torch.full((MANY, 2), 8.0)
    points[0] = 32
    heads, gradients = [Heads(points, scales, torch.zeros(MANY), torch.ones(MANY))], []
    for loss_of in (gaussian_transport_loss, gaussian_transport_loss_reference):
        density = torch.ones(1, 1, 8, 8, requires_grad=True)
        loss_of(heads, density, KernelOptions(use_background=False)).backward()
        gradients.append(density.grad)
    # Each is added to a sum of one and more in single precision.
    torch.testing.assert_close(*gradients, rtol=0, atol=2 * MANY * 2**-24)
    assert gradients[0][0, 0, -1, -1] == pytest.approx(1 - 2 * 0.055, abs=0.005)


def test_20000_gaussians_are_drawn_as_the_reference_draws_them():
    points = many_heads(24, 16)
    rng = np.random.default_rng(1)
    scales, rotations = rng.uniform(1, 3, (MANY, 2)), rng.uniform(0, np.pi, MANY)
    colors = rng.random((MANY, 3))
    gaussians = points, scales, rotations, colors
    drawn, expected = (rasterize(*gaussians, 24, 16, backend=b) for b in ("cpu", "reference"))
    for values, reference in zip(drawn, expected, strict=True):
        np.testing.assert_allclose(np.asarray(values), np.asarray(reference), atol=1e-3)


def test_20000_heads_are_fitted():
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    points = many_heads(64, 48)
    params = np.asarray(fit_gaussians(image, points, iterations=2, backend="cpu").as_params())
    assert params.shape == (MANY, 8)
    assert np.isfinite(params).all()
    np.testing.assert_allclose(params[:, :2], points, atol=1e-4)


def test_20000_heads_pass_preprocessing_and_augmentation():
    points = many_heads(96, 80)
    distances = neighbour_distance(points)
    assert distances.shape == (MANY,)
    assert (distances >= 0).all()
    image = np.zeros((80, 96, 3), np.uint8)
    sample = Sample(image, points, np.ones((MANY, 2)), np.zeros(MANY), distances.clip(4, 128))
    crop, shares, _ = augment(sample, 64, np.random.default_rng(0))
    assert len(crop.points) == len(shares) > 1000
    assert ((shares >= 0.3) & (shares <= 1 + 1e-6)).all()


def test_20000_heads_are_matched():
    across, down = np.meshgrid(np.arange(200) * 4.0, np.arange(100) * 4.0)
    heads = np.stack([across.ravel(), down.ravel()], axis=1)
    scores = localization(heads + 1, heads, radius=2)
    assert (scores["tp"], scores["fp"], scores["fn"]) == (MANY, 0, 0)


def test_photos_smaller_than_the_crop_and_without_heads_train(write_set, train):
    data = write_set(train=(0, 3, 0), val=(2, 0), size=48)
    folder = train(data, "run", "--epochs", "2", "--batch-size", "2", "--lr", "1e-3")
    log = read_log(folder / "log.jsonl")
    assert [line["epoch"] for line in log] == [0, 1]
    assert np.isfinite([line["transport"] for line in log]).all()


def test_a_diverging_training_stops_with_its_photos_kept(write_set, train, capsys):
    with pytest.raises(SystemExit) as stop:
        train(write_set(size=64), "run", "--epochs", "9", "--lr", "1e30")
    message = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2
    assert message.startswith("error: ")
    (path,) = (word.strip("(),") for word in message.split() if "not_finite.pth" in word)
    kept = load_checkpoint(path)
    assert kept["batch"]["names"][0] in message
    assert kept["batch"]["images"].shape == (1, 3, 64, 64)
    json.dumps(kept["losses"])
