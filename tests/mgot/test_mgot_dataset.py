"""Training crops: what they depend on, that photo and labels stay together, few heads, bad sets."""

import numpy as np
import pytest
import torch
from PIL import Image

from crowd.data.processed import list_split
from crowd.io.errors import InputError
from crowd.io.h5 import write_h5
from mgot.dataset import (
    FidtCrops,
    augment,
    augment_scaled,
    collate,
    crop_batches,
    read_annotated,
    read_sample,
)
from mgot.fidt import Preprocessing
from mgot.maps import fidt_map, head_pixels
from tests.conftest import turn

PLAIN = Preprocessing(mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))


def open_crops(root, crop_size=24, seed=1, **options):
    return FidtCrops(list_split(root, "train"), crop_size, seed, PLAIN, **options)


def test_a_crop_depends_on_seed_epoch_and_index_only(write_fidt_set):
    root = write_fidt_set()
    crops, again = open_crops(root), open_crops(root, cache_gib=0)
    again[0, 1], again[1, 0]
    torch.testing.assert_close(crops[3, 2][:4], again[3, 2][:4], rtol=0, atol=0)
    assert len(crops._cache) == 1
    assert len(again._cache) == 0
    for other in (crops[4, 2], open_crops(root, seed=2)[3, 2]):
        assert not torch.equal(crops[3, 2][0], other[0])
    twice = FidtCrops([crops.paths[2]] * 2, 24, 1, PLAIN)
    assert not torch.equal(twice[3, 0][0], twice[3, 1][0])


def test_photo_map_and_heads_are_cut_and_flipped_together(write_fidt_set):
    """Red and green of the photo say which pixel of it each pixel of the crop is."""
    crops = open_crops(write_fidt_set(train=(30,)))
    _, values, kpoint = read_sample(crops.paths[0])
    flipped, corners = set(), set()
    for epoch in range(60):
        image, target, heads, _, name = crops[epoch, 0]
        column, row = image[:2].round().long().numpy()
        np.testing.assert_array_equal(target[0], values[row, column])
        marks = np.zeros((24, 24), np.uint8)
        x, y = heads.numpy().astype(int).T
        marks[y, x] = 1
        np.testing.assert_array_equal(marks, kpoint[row, column])
        assert len(heads) == marks.sum()
        assert name == "photo0.png"
        flipped.add(bool(column[0, 0] > column[0, -1]))
        corners.add((int(column.min()), int(row.min())))
    assert flipped == {False, True}
    assert len(corners) > 40


def test_windows_reach_every_border():
    whole = [np.zeros((5, 6, 3), np.uint8), np.arange(30).reshape(5, 6)]
    corners = {augment(whole, 4, np.random.default_rng(seed))[1].min() for seed in range(200)}
    assert corners == {0, 1, 2, 6, 7, 8}


EDGES = [[0, 0], [0.4, 30], [96, 80], [95.9, 40], [50, 0.2], [17, 79.9]]


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.37])
def test_a_scaled_crop_is_a_piece_of_the_scaled_photo_and_its_map(factor):
    """Resampled whole and labelled anew, the slow way; heads on the edges too."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (80, 96, 3), np.uint8)
    heads = np.concatenate([EDGES, rng.uniform(0, (96, 80), (20, 2))]).astype(np.float32)
    width, height = round(96 * factor), round(80 * factor)
    resampled = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    points = heads * [width / 96, height / 80]
    labels = fidt_map(points, height, width), head_pixels(points, height, width)
    seen = set()
    for seed in range(40):
        rng = np.random.default_rng(seed)
        pixels, *found = augment_scaled(image, heads, 40, rng, (factor, factor))
        x, y, mirror = np.random.default_rng(seed).random(3)
        window = np.s_[int(y * (height - 39)) :, int(x * (width - 39)) :]
        whole = [array[window][:40, :40] for array in (np.asarray(resampled), *labels)]
        expected, *maps = [array[:, ::-1] if mirror < 0.5 else array for array in whole]
        # Pillow rounds its weights.
        np.testing.assert_allclose(pixels.astype(int), expected, atol=3)
        for array, values in zip(found, maps, strict=True):
            np.testing.assert_array_equal(array, values)
        seen.add((found[0][:, 0].max() == 1, found[0].max() == 1, mirror < 0.5))
    assert len(seen) > 2


def test_a_small_photo_is_not_scaled_below_the_crop():
    photo = np.zeros((30, 50, 3), np.uint8), np.zeros((0, 2))
    for seed in range(30):
        pixels, *_ = augment_scaled(*photo, 24, np.random.default_rng(seed), (0.5, 1.5))
        assert pixels.shape == (24, 24, 3)


def test_a_predicted_map_is_not_scaled(write_fidt_set):
    root = write_fidt_set()
    assert len(read_annotated(list_split(root, "train")[3])[1]) == 3
    rewrite(root)  # of the photo with one head
    with pytest.raises(InputError, match=r"photo1\.h5.*--scale-range"):
        open_crops(root, scale_range=(0.5, 1.5))[0, 1]


def test_what_a_crop_reaches_beyond_a_small_photo_is_mean_colour_without_heads(write_fidt_set):
    root = write_fidt_set(train=(3,), size=(20, 12))
    crops = FidtCrops(list_split(root, "train"), 32, 1, Preprocessing())
    image, target, heads, *_ = crops[0, 0]
    assert image.shape == (3, 32, 32)
    assert target.shape == (1, 32, 32)
    assert not image[:, 12:].any()
    assert not image[:, :, 20:].any()
    assert not target[:, 12:].any()
    assert len(heads) == 3
    assert (heads < torch.tensor([20, 12])).all()
    whole = FidtCrops(list_split(root, "train"), 20, 1, Preprocessing())[0, 0]
    torch.testing.assert_close(image[:, :20, :20], whole[0])


def test_a_listed_patch_brings_its_weight_each_time_it_is_listed(write_fidt_set):
    photos = list_split(write_fidt_set(), "train")
    listed = [photos[3], photos[1], photos[3]]
    crops = FidtCrops(listed, 64, 1, PLAIN, weights=np.array([2.0, 1.0, 0.25]))
    batch = collate([crops[0, index] for index in range(3)])
    assert batch.weights.tolist() == [2.0, 1.0, 0.25]
    assert batch.names == ["photo3.png", "photo1.png", "photo3.png"]
    assert crops.counts.tolist() == [3, 1, 3]


def test_workers_do_not_change_the_batches(write_fidt_set):
    crops = open_crops(write_fidt_set())
    alone, helped = (crop_batches(crops, 3, workers, pin_memory=False) for workers in (0, 1))
    for epoch in (0, 1):
        alone.batch_sampler.epoch = helped.batch_sampler.epoch = epoch
        for first, second in zip(alone, helped, strict=True):
            assert first.names == second.names
            torch.testing.assert_close(first[:4], second[:4], rtol=0, atol=0)


def rewrite(root, **datasets):
    path = root / "train/photo1.h5"
    whole = {"fidt_map": np.zeros((48, 64), np.float32), "kpoint": np.zeros((48, 64), np.uint8)}
    kept = {name: value for name, value in (whole | datasets).items() if value is not None}
    write_h5(path, **kept)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: (root / "train/photo1.h5").unlink(), ("photo1", "FIDT map", "mgot.fidt")),
        (lambda root: (root / "train/photo1.h5").write_bytes(b"?"), ("photo1.h5", "damaged")),
        (lambda root: rewrite(root, fidt_map=None), ("photo1.h5", "fidt_map", "mgot.fidt")),
        (
            lambda root: rewrite(root, kpoint=np.zeros((64, 48), np.uint8)),
            ("photo1.h5", "[64, 48]", "[48, 64]"),
        ),
        (
            lambda root: rewrite(root, fidt_map=np.full((48, 64), np.nan, np.float32)),
            ("photo1.h5", "not finite"),
        ),
        (lambda root: (root / "train/photo1.png").write_bytes(b"?"), ("photo1.png", "picture")),
        (lambda root: turn(root / "train/photo1.png"), ("photo1.png", "turned by its EXIF")),
        (lambda root: [path.unlink() for path in root.glob("train/*.png")], ("no photos",)),
    ],
)
def test_files_that_do_not_fit_are_named(write_fidt_set, damage, words):
    root = write_fidt_set()
    damage(root)
    with pytest.raises(InputError) as error:
        [open_crops(root)[0, index] for index in range(4)]
    assert all(word in str(error.value) for word in words), str(error.value)
