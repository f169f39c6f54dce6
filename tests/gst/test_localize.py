import numpy as np
import pytest

from gst.localize import density_heads


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


def test_several_people_in_one_cell_are_several_heads():
    density = np.zeros((10, 10))
    density[4, 6] = 3.0
    heads, confidence = density_heads(density)
    np.testing.assert_array_equal(heads, [[52, 36]] * 3)
    assert confidence.tolist() == [1, 1, 1]


def test_mass_that_points_at_nobody_makes_no_head():
    assert len(density_heads(np.zeros((5, 5)))[0]) == 0
    # 600 cells hold six people, none of them anywhere.
    assert len(density_heads(np.full((20, 30), 0.01))[0]) == 0
    assert len(density_heads(draw([(100, 80)], mass=0.1))[0]) == 0


def test_no_more_heads_than_their_mass_and_the_surest_first():
    density = np.random.default_rng(1).random((30, 40)) ** 6
    heads, confidence = density_heads(density)
    # A head takes a person away, or all that lies around it, which is at least its confidence.
    assert confidence.sum() <= density.sum()
    assert 0.7 * density.sum() < len(heads) < 1.2 * density.sum()
    assert (np.diff(confidence) <= 1e-12).all()
    assert (confidence >= 0.2).all()


def test_heads_move_with_the_map_and_scale_with_the_stride():
    points = np.random.default_rng(2).uniform(70, 130, (9, 2))
    density = draw(points)
    heads, _ = density_heads(density)
    moved, _ = density_heads(np.pad(density, ((3, 0), (5, 0))))
    np.testing.assert_allclose(moved, heads + np.array([40, 24]), atol=1e-4)
    np.testing.assert_allclose(density_heads(density, stride=4)[0], heads / 2, atol=1e-4)
    turned, _ = density_heads(density.T)
    distance = np.linalg.norm(turned[:, None, ::-1] - heads[None], axis=2)
    assert distance.min(axis=1).max() < 1e-3
