"""Heads from a density map, and where density, heads and the kernel's cells lie."""

import numpy as np
import pytest
import torch

from crowd.train.loading import CountedPhotos
from gst import localize
from gst.kernel import transport_kernel
from gst.layers import kernel_owners, processed_layers
from gst.localize import Placement, density_heads, density_near
from gst.photos import Preprocessing


def draw(points, shape=(24, 32), sigma=6.0, mass=1.0, stride=8):
    """Density of Gaussians of `mass` at points (x, y) in pixels, summed over each cell's pixels."""
    y, x = np.mgrid[: shape[0] * stride, : shape[1] * stride] + 0.5
    pixels = np.zeros_like(x)
    for px, py in points:
        one = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2))
        pixels += mass * one / one.sum()
    return pixels.reshape(shape[0], stride, shape[1], stride).sum(axis=(1, 3))


@pytest.mark.parametrize("place", [(100.0, 80.0), (101.3, 83.9), (4.0, 4.0), (255.0, 0.5)])
def test_a_head_is_found_finer_than_its_cell(place):
    heads, confidence = density_heads(draw([place]))
    assert len(heads) == 1
    # At the border the half of its mass that is seen has its centre inside the photo.
    border = min(place[0], place[1], 256 - place[0], 192 - place[1]) < 10
    assert np.abs(heads[0] - place).max() < (6 if border else 2)
    assert 0.3 < confidence[0] <= 1


def test_heads_apart_are_all_found():
    grid = np.stack(np.meshgrid(np.arange(20, 240, 40), np.arange(20, 180, 40)), -1).reshape(-1, 2)
    points = grid + np.random.default_rng(0).uniform(-6, 6, grid.shape)
    heads, _ = density_heads(draw(points))
    assert len(heads) == len(points)
    distance = np.linalg.norm(heads[:, None] - points[None], axis=2)
    assert sorted(distance.argmin(axis=1)) == list(range(len(points)))
    assert distance.min(axis=1).max() < 2.5


def test_several_people_in_one_cell_are_several_heads_and_thin_mass_is_none():
    density = np.zeros((10, 10))
    density[4, 6] = 3.0
    heads, confidence = density_heads(density)
    np.testing.assert_array_equal(heads, [[52, 36]] * 3)
    assert confidence.tolist() == [1, 1, 1]
    # 600 cells hold six people, none of them anywhere.
    for thin in (np.zeros((5, 5)), np.full((20, 30), 0.01), draw([(100, 80)], mass=0.1)):
        assert len(density_heads(thin)[0]) == 0


def test_neighbours_weigh_three_tenths_a_head_begins_at_a_fifth_and_reaches_three_cells():
    density = np.zeros((9, 9))
    density[4, 4], density[4, 5], density[3, 5] = 0.5, 0.2, 0.1
    np.testing.assert_allclose(density_heads(density)[1], [0.5 + 0.3 * 0.2 + 0.09 * 0.1])
    numbers = [len(density_heads(factor * density / 0.569)[0]) for factor in (0.199, 0.201)]
    assert numbers == [0, 1]
    # One person is in cells up to three apart, two in those farther.
    for column, people in ((7, 1), (8, 2)):
        density = np.zeros((9, 9))
        density[4, 4], density[4, column] = 0.8, 0.25
        assert len(density_heads(density)[0]) == people


def test_no_more_heads_than_their_mass_and_the_surest_first():
    density = np.random.default_rng(1).random((30, 40)) ** 6
    heads, confidence = density_heads(density)
    # A head takes a person away, or all that lies around it, which is at least its confidence.
    assert confidence.sum() <= density.sum()
    assert 0.7 * density.sum() < len(heads) < 1.2 * density.sum()
    assert (np.diff(confidence) <= 1e-12).all()
    assert (confidence >= 0.2).all()


def test_a_cell_that_holds_everybody_has_no_more_heads_than_pixels():
    assert len(density_heads(np.full((2, 2), 1e17), stride=4)[0]) == 4 * 16


def test_heads_move_with_the_map_and_scale_with_the_stride():
    density = draw(np.random.default_rng(2).uniform(70, 130, (9, 2)))
    heads, _ = density_heads(density)
    moved, _ = density_heads(np.pad(density, ((3, 0), (5, 0))))
    np.testing.assert_allclose(moved, heads + np.array([40, 24]), atol=1e-4)
    np.testing.assert_allclose(density_heads(density, stride=4)[0], heads / 2, atol=1e-4)


def test_density_is_summed_within_each_radius_of_the_nearest_head():
    """Cells lie at 4, 12, 20 … pixels."""
    density = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], np.float32)
    one = density_near(density, np.array([[4.0, 4.0]]), [0, 8, 12, 17, 100])
    assert one.tolist() == [1, 11, 27, 31, 63]
    assert density_near(density, np.array([[4.0, 4.0], [20.0, 12.0]]), [0, 8]).tolist() == [33, 63]
    assert density_near(density, np.zeros((0, 2)), [8, 1e9]).tolist() == [0, 0]


@pytest.mark.parametrize("min_size", [16, 192])
def test_shares_are_those_of_the_photos_as_the_network_sees_them(write_set, min_size, monkeypatch):
    """A person in the cell of each of 9 heads, and 9 more in the photo without heads."""
    monkeypatch.setattr(localize, "RADII", (6.0, 1e6))
    photos = CountedPhotos(write_set(test=(3, 0, 6), size=96), "test", Preprocessing(min_size))
    placement = Placement(photos)
    assert all(np.isnan(share) for share in placement.shares().values())
    for (image, heads, name), points in zip(photos, photos.points, strict=True):
        density = torch.zeros(image.shape[1] // 8, image.shape[2] // 8)
        density[0, 0] = 0 if heads else 9
        for x, y in points[:, :2] * image.shape[1] / 96:
            density[int(y // 8), int(x // 8)] += 1
        placement.add(name, density)
    assert placement.shares() == {"6 px": pytest.approx(0.5), "1e+06 px": pytest.approx(0.5)}


@pytest.mark.parametrize("min_size", [16, 192])
def test_heads_match_in_pixels_of_the_photo_as_stored(write_set, min_size):
    """Everybody is found 16 to 19 pixels away; the sigmas are 22.6, 15.6 and 16.6 pixels."""
    photos = CountedPhotos(write_set(test=(3,), size=96), "test", Preprocessing(min_size))
    photos.points = [np.array([[12, 12], [84, 12], [84, 44]], np.float32)]
    placement, (image, _, name) = Placement(photos), photos[0]
    enlarged = image.shape[1] / 96
    density = torch.zeros(image.shape[1] // 8, image.shape[2] // 8)
    for x, y in (photos.points[0] + [0, 16]) * enlarged:
        density[int(y // 8), int(x // 8)] += 1
    placement.add(name, density)
    scores = placement.localization()
    assert {name: one["tp"] for name, one in scores.items()} == {"8 px": 0, "own sigma": 2}
    places = sorted((float(x), float(y)) for _, x, y, _ in placement.points)
    assert np.allclose(places, [[12, 28], [84, 28], [84, 60]], atol=2)


def test_a_head_on_its_own_has_8_pixels(write_set):
    photos = CountedPhotos(write_set(test=(1,), size=96), "test", Preprocessing(16))
    photos.points = [np.array([[12, 12]], np.float32)]
    placement, density = Placement(photos), torch.zeros(12, 12)
    density[2, 1] = 1  # 8 pixels below
    placement.add(photos.paths[0].name, density)
    assert placement.localization()["own sigma"]["tp"] == 1


def test_owners_of_cells_are_those_of_the_whole_kernel(write_set):
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
    nobody = kernel_owners(np.zeros((0, 2)), np.zeros((0, 2)), np.zeros(0), (64, 48))
    assert nobody[0].shape == (6, 8)
    assert not nobody[1].any()
    layers = processed_layers(write_set(train=(0,)) / "train/photo0.png")
    assert layers["gaussians"].shape == (0, 5)
    assert not layers["kernel"][..., 3].any()
