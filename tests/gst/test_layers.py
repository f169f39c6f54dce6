"""Whose each cell of the transport kernel is, computed a few rows at a time."""

import numpy as np
import torch

from gst.kernel import transport_kernel
from gst.layers import kernel_owners


def test_owners_are_those_of_the_whole_kernel():
    random = np.random.default_rng(0)
    points = random.uniform(0, 200, (30, 2)).astype(np.float32)
    scales = random.uniform(2, 15, (30, 2)).astype(np.float32)
    rotations = random.uniform(0, np.pi, 30).astype(np.float32)
    owners, shares = kernel_owners(points, scales, rotations, (205, 189))
    kernel = transport_kernel(points, scales, rotations, (189, 205))[:-1]
    assert owners.shape == shares.shape == (23, 25)
    whole = torch.from_numpy(shares.astype(np.float32)).reshape(-1)
    torch.testing.assert_close(whole, kernel.max(dim=0).values, rtol=1e-5, atol=1e-6)
    chosen = kernel[torch.from_numpy(owners.reshape(-1)), torch.arange(23 * 25)]
    torch.testing.assert_close(chosen, kernel.max(dim=0).values, rtol=1e-4, atol=1e-6)


def test_without_heads_all_cells_are_the_background_s():
    owners, shares = kernel_owners(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), (64, 48))
    assert owners.shape == (6, 8)
    assert not shares.any()
