"""Where predicted density lies."""

import numpy as np
import pytest
import torch

from crowd.train.loading import CountedPhotos
from gst.photos import Preprocessing
from gst.placement import Placement, density_near


def test_density_is_summed_within_each_radius_of_the_nearest_head():
    """Cells lie at 4, 12, 20 … pixels."""
    density = np.array([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]], np.float32)
    one = density_near(density, np.array([[4.0, 4.0]]), [0, 8, 12, 17, 100])
    assert one.tolist() == [1, 11, 27, 31, 63]
    two = density_near(density, np.array([[4.0, 4.0], [20.0, 12.0]]), [0, 8])
    assert two.tolist() == [33, 63]
    assert density_near(density, np.zeros((0, 2)), [8, 1e9]).tolist() == [0, 0]


@pytest.mark.parametrize("min_size", [16, 192])
def test_shares_are_those_of_the_photos_as_the_network_sees_them(write_set, min_size):
    """A person in the cell of each of 9 heads, and 9 more in the photo without heads."""
    photos = CountedPhotos(write_set(test=(3, 0, 6), size=96), "test", Preprocessing(min_size))
    placement = Placement(photos, radii=(6.0, 1e6))
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


def test_shares_without_density_are_no_number(write_set):
    photos = CountedPhotos(write_set(), "test", Preprocessing(min_size=16))
    assert all(np.isnan(share) for share in Placement(photos).shares().values())
