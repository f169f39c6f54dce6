import itertools
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from crowd.data.network_input import Preprocessing
from gst.dataset import (
    PADDING_COLOR,
    Sample,
    augment,
    box_shares,
    box_sides,
    flip,
    recolour,
    scale_and_crop,
    scaled_size,
)
from gst.kernel import transport_kernel
from gst.options import SMALLEST_SHARE


def make_sample(heads, width=96, height=80, seed=0):
    rng = np.random.default_rng(seed)
    return Sample(
        image=rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        points=rng.uniform((0, 0), (width, height), (heads, 2)).astype(np.float32),
        scales=rng.uniform(2, 12, (heads, 2)).astype(np.float32),
        rotations=rng.uniform(0, np.pi, heads).astype(np.float32),
        sides=rng.uniform(4, 40, heads).astype(np.float32),
    )


def kernel_of(sample):
    return transport_kernel(sample.points, sample.scales, sample.rotations, sample.image.shape[:2])


def test_shares_over_a_partition_sum_to_one_inside_the_photo():
    rng = np.random.default_rng(1)
    sides = rng.uniform(4, 60, 200).astype(np.float32)
    points = rng.uniform(sides[:, None] / 2, 192 - sides[:, None] / 2, (200, 2)).astype(np.float32)
    corners = [(left, top) for left in (0, 64, 128) for top in (0, 64, 128)]
    shares = sum(box_shares(points - corner, sides, 64, 64) for corner in corners)
    np.testing.assert_allclose(shares, 1, atol=1e-5)


def test_share_of_a_box_across_the_corner_and_its_clamped_side():
    shares = box_shares(np.array([[0.0, 0.0], [5, 5], [-9, 5]]), np.array([8.0, 8, 8]), 64, 64)
    np.testing.assert_allclose(shares, [0.25, 1, 0])
    np.testing.assert_array_equal(box_sides([0, 3, 4, 50, 128, 1000]), [4, 4, 4, 50, 128, 128])


def test_colours_change_by_their_factors_about_luma_mean_and_black():
    sample = make_sample(0)
    luma = sample.image @ np.array([0.299, 0.587, 0.114])
    for number, kept in enumerate((luma[..., None], luma.mean(), 0)):
        factors = np.where(np.arange(3) == number, 0.5, 1.0)
        expected = kept + 0.5 * (sample.image - kept)
        # Pillow rounds luma, mean and result.
        assert np.abs(recolour(sample, *factors).image - expected).max() < 2
    np.testing.assert_array_equal(recolour(sample, 1, 1, 1).image, sample.image)


def test_jittered_colours_leave_crop_and_heads_as_they_were():
    sample = make_sample(5)
    bright = []
    for seed in range(60):
        plain, shares, _ = augment(sample, 64, np.random.default_rng(seed), colour_jitter=0.0)
        crop, same, _ = augment(sample, 64, np.random.default_rng(seed), colour_jitter=0.4)
        for one, other in zip((*plain[1:], shares), (*crop[1:], same), strict=True):
            np.testing.assert_array_equal(one, other)
        bright.append(crop.image.mean() / plain.image.mean())
    # Brightness goes from 0.6 to 1.4; what would be brighter than white is white.
    assert min(bright) < 0.7 < 1.15 < max(bright)


def test_flip_keeps_each_point_on_its_pixel():
    sample = make_sample(20)
    sample.points[:] = np.floor(sample.points) + 0.5
    for before, after in zip(sample.points, flip(sample).points, strict=True):
        (x0, y0), (x1, y1) = before.astype(int), after.astype(int)
        np.testing.assert_array_equal(flip(sample).image[y1, x1], sample.image[y0, x0])


def test_kernel_of_the_flipped_crop_is_the_flipped_kernel():
    sample = make_sample(9)
    kernel = kernel_of(sample).reshape(10, 10, 12)
    flipped = kernel_of(flip(sample)).reshape(10, 10, 12)
    torch.testing.assert_close(flipped, kernel.flip(2), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(flipped, kernel, atol=0.05)


def test_scaling_moves_photo_and_gaussians_together():
    """Twice the photo on cells of twice the side has the same kernel."""
    sample = make_sample(6)
    twice = scale_and_crop(sample, 2.0, 0, 0, 160)
    np.testing.assert_allclose(twice.points, 2 * sample.points, rtol=1e-6)
    np.testing.assert_array_equal(twice.sides, 2 * sample.sides)
    # The background's weight depends on areas in pixels; the Gaussians' shares do not.
    options = {"post_min": 1e3, "post_max": 1e3, "use_background": False}
    before, after = (
        transport_kernel(one.points, one.scales, one.rotations, side, stride=side // 10, **options)
        for one, side in ((sample, 80), (twice, 160))
    )
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [0.75, 0.83, 1.0, 1.13, 1.25])
def test_window_equals_cutting_it_from_the_whole_scaled_photo(factor):
    sample = make_sample(5, 211, 173)
    width, height = scaled_size(211, 173, factor)
    whole = np.asarray(Image.fromarray(sample.image).resize((width, height), Image.BILINEAR))
    for left, top in ((0, 0), (width - 64, height - 64), (37, 21), (36, 20)):
        window = scale_and_crop(sample, factor, left, top, 64)
        expected = whole[top : top + 64, left : left + 64].astype(int)
        # Pillow's fixed-point weights may round a half to either side.
        assert np.abs(window.image - expected).max() <= 2
        assert np.abs(window.image - expected).mean() < 0.2
        expected = sample.points * (width / 211, height / 173) - (left, top)
        np.testing.assert_allclose(window.points, expected, atol=1e-3)


def test_a_photo_smaller_than_the_crop_is_padded_and_keeps_its_heads():
    sample = make_sample(4, 40, 100)
    window = scale_and_crop(sample, 1.0, 0, 12, 64)
    np.testing.assert_array_equal(window.image[:, :40], sample.image[12:76])
    assert (window.image[:, 40:] == PADDING_COLOR).all()
    # What is 0 once normalised, but for the rounding.
    assert np.abs(PADDING_COLOR - 255 * np.array(Preprocessing.mean)).max() <= 0.5
    for seed in range(20):
        crop, *_ = augment(sample, 64, np.random.default_rng(seed))
        assert crop.image.shape == (64, 64, 3)
        assert set(crop.sides) <= set(sample.sides)


@pytest.mark.parametrize("heads", [0, 1, 60])
def test_targets_are_the_shares_of_the_kept_heads(heads):
    dropped = 0
    for seed in range(20):
        crop, targets, _ = augment(make_sample(heads), 64, np.random.default_rng(seed))
        assert crop.points.shape == (len(targets), 2) == crop.scales.shape
        np.testing.assert_allclose(targets, box_shares(crop.points, crop.sides, 64, 64), atol=1e-5)
        assert (targets >= SMALLEST_SHARE).all()
        dropped += heads - len(targets)
    assert dropped > 0 or heads < 60


def test_with_a_smallest_share_of_0_no_part_of_a_box_inside_the_photo_is_lost():
    """Summed over all places of a crop, shares are the crop's area a head."""
    heads = make_sample(6, 300, 300)._replace(sides=np.full(6, 40, np.float32))
    heads = heads._replace(points=heads.points / 6 + 125)
    sums = {0.0: 0.0, SMALLEST_SHARE: 0.0}
    for share in sums:
        for place in np.ndindex(60, 60):
            # The scale is 1, and a crop begins at every fourth pixel.
            draws = [1.0, (place[0] + 0.5) / 60, (place[1] + 0.5) / 60, 1.0]
            rng = Mock(random=lambda _, draws=draws: draws, uniform=lambda *_: 1.0)
            shares = augment(heads, 64, rng, smallest_share=share)[1]
            assert (shares > 0).all()
            sums[share] += shares.sum()
    expected = 6 * 64**2 / (237 / 60) ** 2
    assert sums[0.0] == pytest.approx(expected, rel=2e-3)
    # Along each border all shares below 0.3 of the box's width.
    assert 0.75 * expected < sums[SMALLEST_SHARE] < 0.97 * expected


def test_with_clipped_boxes_the_crops_that_tile_a_photo_hold_every_head_once():
    """Also those whose box reaches beyond the photo's border, or its corner."""
    points = np.array([[0, 0], [3, 60], [64, 64], [128, 100], [90, 1], [120, 127.5]], np.float32)
    photo = make_sample(6, 128, 128)._replace(points=points, sides=np.full(6, 20, np.float32))
    sums = {False: 0.0, True: 0.0}
    for clipped, (x, y) in itertools.product(sums, itertools.product([0, 0.99], repeat=2)):
        # Scale 1, and of the 65 places on either axis the first or the last.
        rng = Mock(random=lambda _, x=x, y=y: [1.0, x, y, 1.0], uniform=lambda *_: 1.0)
        sums[clipped] += augment(photo, 64, rng, smallest_share=0, clip_boxes=clipped)[1].sum()
    assert sums[True] == pytest.approx(6, rel=1e-5)
    # Of 20 x 20 pixels lie inside: a quarter, 13/20, all, half, 11/20, and 18/20 by 10.5/20.
    released = 0.25 + 0.65 + 1 + 0.5 + 0.55 + 0.9 * 0.525
    assert sums[False] == pytest.approx(released, rel=1e-5)


def test_a_clipped_box_counts_1_at_most_in_a_padded_crop():
    photo = make_sample(30, 40, 100)
    for seed in range(20):
        _, targets, _ = augment(photo, 64, np.random.default_rng(seed), clip_boxes=True)
        assert targets.max() <= 1


def test_the_short_side_never_falls_below_the_crop():
    """A photo barely larger than the crop may only grow; nothing of a crop is padding then."""
    sample = make_sample(0, 66, 70)
    sample.image[:] = 7
    for seed in range(40):
        crop, *_ = augment(sample, 64, np.random.default_rng(seed))
        assert (crop.image == 7).all()


@pytest.mark.parametrize("scales", [(0.75, 1.25), (0.6, 2.0)])
def test_frequencies_are_those_of_the_paper_and_scales_those_of_the_range(scales):
    sample = make_sample(1, 64, 64)
    sample.image[:] = 0
    sample.image[..., 0] = np.arange(100, 228, 2)
    drawn = [augment(sample, 32, np.random.default_rng(seed), scales) for seed in range(600)]
    crops = [crop for crop, *_ in drawn]
    # The sample has no green and blue: its luma is 0.299 of its red, here and in all channels.
    grey = [(crop.image[..., 0] == crop.image[..., 1]).all() for crop in crops]
    assert all(crop.image.max() < 0.3 * 228 for crop, one in zip(crops, grey, strict=True) if one)
    flipped = [crop.image[0, 0, 0] > crop.image[0, -1, 0] for crop in crops]
    factors = [crop.sides[0] / sample.sides[0] for crop in crops if crop.sides.size]
    assert 0.08 < np.mean(grey) < 0.16
    assert 0.43 < np.mean(flipped) < 0.57
    assert [min(factors), max(factors)] == pytest.approx(scales, rel=0.04)
    assert scales[0] <= min(factors) < max(factors) <= scales[1]
    short_sides = [side for crop, _, side in drawn if crop.sides.size]
    np.testing.assert_allclose(short_sides, 64 * np.array(factors), rtol=1e-6)
