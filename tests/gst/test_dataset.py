import numpy as np
import pytest
import torch

from crowd.data.images import read_image, write_image
from crowd.data.network_input import photo_tensor, read_photo
from crowd.data.processed import median_count
from crowd.data.stage import origin, record_path, write_record
from crowd.io.errors import InputError
from crowd.io.h5 import write_h5
from crowd.train.loading import CountedPhotos, photo_loader
from GS2D.store import gaussians_path, read_gaussians, write_gaussians
from gst.dataset import CrowdCrops, crop_batches
from gst.photos import Preprocessing, read_preprocessing
from tests.conftest import turn


def open_crops(root, crop_size=64, seed=1, **options):
    return CrowdCrops([root], crop_size, seed, read_preprocessing(root), **options)


def assert_same(first, second):
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_crop_depends_on_seed_epoch_and_index_only(write_set):
    root = write_set()
    crops, again = open_crops(root), open_crops(root, cache_gib=0)
    again[0, 1], again[1, 0]
    assert_same(crops[3, 0][:2], again[3, 0][:2])
    for other in (crops[4, 0], open_crops(root, seed=2)[3, 0]):
        assert not torch.equal(crops[3, 0][0], other[0])


def test_workers_and_batches_do_not_change_the_crops(write_set):
    crops = open_crops(write_set())
    loaders = [crop_batches(crops, 2, workers, pin_memory=False) for workers in (0, 2)]
    for epoch in (0, 1):
        for loader in loaders:
            loader.batch_sampler.epoch = epoch
        alone, helped = (list(loader) for loader in loaders)
        assert [batch.names for batch in alone] == [batch.names for batch in helped]
        for first, second in zip(alone, helped, strict=True):
            assert_same(first.images, second.images)
            assert_same(first.heads, second.heads)


def test_every_photo_comes_once_an_epoch_in_a_new_order(write_set):
    crops = open_crops(write_set(train=(1,) * 9))
    with pytest.raises(InputError, match="multiple of 16"):
        open_crops(crops.paths[0].parent.parent, crop_size=72)
    loader = crop_batches(crops, 2, 0, pin_memory=False)
    orders = []
    for epoch in (0, 1):
        loader.batch_sampler.epoch = epoch
        orders.append([name for batch in loader for name in batch.names])
    assert sorted(orders[0]) == sorted(orders[1]) == [f"photo{index}.png" for index in range(9)]
    assert orders[0] != orders[1]


def test_photos_are_kept_while_they_fit(write_set):
    photo_gib = 96 * 96 * 3 / 2**30
    crops = open_crops(write_set(), cache_gib=2.5 * photo_gib)
    images = [crops[0, index][0] for index in range(4)]
    assert len(crops._cache) == 2
    for path in crops.paths[:2]:
        path.unlink()
    for index in (0, 1):
        assert torch.equal(crops[0, index][0], images[index])


def test_photos_of_a_set_named_twice_are_kept_once(write_set):
    root = write_set()
    crops = CrowdCrops([root, root], 64, 1, read_preprocessing(root))
    images = [crops[0, index][0] for index in range(8)]
    assert len(crops._cache) == 4
    assert not torch.equal(images[0], images[4])


def test_whole_photo_as_crop_has_all_heads_and_counts(write_set):
    crops = open_crops(write_set(), crop_size=96)
    assert crops.described().train_median == 2
    for index, count in enumerate((5, 1, 0, 3)):
        image, heads, *_ = crops[0, index]
        assert image.shape == (3, 96, 96)
        assert len(heads.points) == len(heads.targets) == count


def test_unfitted_gaussians_become_round_with_a_sixth_of_the_distance(write_set):
    root = write_set()
    path = gaussians_path(root / "train/photo0.png")
    params = read_gaussians(path)
    params[1, 2] = np.nan
    write_h5(path, params=params)
    _, scales, _, sides = open_crops(root).heads[0]
    np.testing.assert_array_equal(scales[1], sides[1] / 6)
    np.testing.assert_array_equal(scales[[0, 2, 3, 4]], params[[0, 2, 3, 4], 2:4])


def test_gaussians_that_deformity_elimination_has_not_seen_are_noted(write_set, capsys):
    root = write_set()
    paths = sorted(root.glob("train/gs_params/*.h5"))
    for path in paths:
        params = read_gaussians(path)
        params[:, 2:4] = (4, 6)
        write_gaussians(path, params)
    open_crops(root)
    assert "axis ratio" not in capsys.readouterr().err
    params = read_gaussians(paths[0])
    params[:2, 3] = (6.001, np.nan)  # one was not fitted: it becomes round
    write_gaussians(paths[0], params)
    open_crops(root)
    said = "1 of 9 Gaussians have an axis ratio above 1.5: run GS2D/process_gaussians.py first"
    assert said in capsys.readouterr().err


def test_val_and_test_have_photos_counts_and_names(write_set):
    root = write_set()
    photos = CountedPhotos(root, "test", read_preprocessing(root))
    images, counts, names = zip(*photo_loader(photos, 0), strict=True)
    assert counts == (3, 0, 6)
    assert names == ("photo0.png", "photo1.png", "photo2.png")
    assert {tuple(image.shape) for image in images} == {(3, 96, 96)}
    assert median_count(root, "train") == 2
    assert median_count(root, "holidays") is None


def test_photo_tensor_is_normalised_and_a_processed_photo_keeps_its_size(write_set):
    root = write_set()
    path = root / "test/photo0.png"
    preprocessing = Preprocessing(mean=(0.5, 0.25, 0.1), std=(0.5, 2, 1))
    tensor = photo_tensor(read_photo(path, read_preprocessing(root)), preprocessing)
    image = torch.from_numpy(read_image(path).copy()).permute(2, 0, 1) / 255
    for channel, (mean, std) in enumerate(zip((0.5, 0.25, 0.1), (0.5, 2, 1), strict=True)):
        torch.testing.assert_close(tensor[channel], (image[channel] - mean) / std)
    assert read_photo(path, Preprocessing(min_size=128)).shape == (128, 128, 3)


def refit(path):
    """Gaussians whose record is of the photo before its pixels changed."""
    write_record(record_path(gaussians_path(path)), origin({}, [path]))
    write_image(path, 255 - read_image(path))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda root: refit(root / "train/photo2.png"), ("photo2", "fitted to", "gsplat")),
        (lambda root: turn(root / "train/photo2.png"), ("photo2", "turned", "preprocess the set")),
        (lambda root: turn(root / "val/photo1.png"), ("photo1", "turned", "preprocess the set")),
        (
            lambda root: [
                gaussians_path(root / f"train/photo{index}.png").unlink() for index in (0, 2)
            ],
            ("2 of 4", "photo0.png, photo2.png", "gsplat"),
        ),
        (lambda root: (root / "train/photo1.npy").unlink(), ("photo1", "preprocess")),
        (lambda root: (root / "train/photo1.png").unlink(), ("photo1.npy", "has no photo")),
        (lambda root: [path.unlink() for path in root.glob("val/*.png")], ("val", "no photos")),
        (
            lambda root: write_gaussians(
                gaussians_path(root / "train/photo0.png"), np.zeros((2, 8), np.float32)
            ),
            ("photo0", "2 Gaussians that are not at the 5 heads", "gsplat"),
        ),
        (lambda root: np.save(root / "train/photo1.npy", np.zeros((1, 2))), ("photo1", "[N, 3]")),
        (lambda root: (root / "train/photo2.png").write_bytes(b"?"), ("photo2", "not a picture")),
        (lambda root: (root / "preprocess.yml").unlink(), ("photo0", "96", "512")),
        (lambda root: (root / "preprocess.yml").write_text("min_size: x"), ("preprocess.yml",)),
        (
            lambda root: (root / "preprocess.yml").write_text(
                "min_size: 15\nmax_size: 2048\ninterpolation: bilinear\n"
            ),
            ("preprocess.yml", "preprocess_dataset_ucf.py again"),
        ),
    ],
)
def test_a_set_that_does_not_fit_together_is_named_before_training(write_set, damage, words):
    root = write_set()
    damage(root)
    with pytest.raises(InputError) as error:
        open_crops(root), CountedPhotos(root, "val", read_preprocessing(root))
    assert all(word in str(error.value) for word in words), str(error.value)


def test_damaged_photo_read_by_a_worker_is_one_sentence(write_set):
    root = write_set(train=(3,))
    photo = root / "train" / "photo0.png"
    crops = open_crops(root)
    photo.write_bytes(photo.read_bytes()[:200])
    with pytest.raises(InputError, match=r"truncated or not a picture") as raised:
        list(crop_batches(crops, 1, workers=1, pin_memory=False))
    assert "\n" not in str(raised.value)
    assert photo.name in str(raised.value)


def test_loading_leaves_the_global_generator_alone(write_set):
    crops = open_crops(write_set())
    before = torch.get_rng_state()
    list(crop_batches(crops, 2, 0, pin_memory=False))
    assert torch.equal(torch.get_rng_state(), before)
