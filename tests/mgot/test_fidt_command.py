"""mgot.fidt: sizes per data set, maps beside photos, few heads, resuming, bad input."""

import os

import h5py
import numpy as np
import pytest
import yaml
from PIL import Image

from crowd.validate import main as validate
from mgot.fidt import main, read_arguments, read_preprocessing
from mgot.maps import fidt_map
from mgot.train_baseline import main as train_baseline
from mgot.train_baseline import read_arguments as read_training
from preprocess_dataset_ucf import main as preprocess
from tests.crowd.sets import write_photo, write_split

HEADS = {"a": [], "b": [[7.3, 9.9]], "c": [[3, 3], [30, 20]], "d": [[1, 1], [39, 29], [20.5, 15.5]]}


def write_raw(root):
    """A set in the csv layout with 0, 1, 2 and 3 heads in train and test."""
    for split in ("train", "test"):
        write_split(root, "csv", split, HEADS, size=(40, 30))


@pytest.fixture
def run(tmp_path, runner):
    """Run the command on `tmp_path/raw` into `tmp_path/out`."""
    return runner(main, *options(tmp_path))


def options(tmp_path, sizes=("--min-size", "1", "--max-size", "999")):
    paths = ["--input-dataset-path", str(tmp_path / "raw")]
    paths += ["--output-dataset-path", str(tmp_path / "out"), "--val-list", str(tmp_path / "val")]
    (tmp_path / "val").write_text("c\n")
    return [*paths, "--layout", "csv", "--workers", "0", *sizes]


def read_maps(path):
    with h5py.File(path) as file:
        assert file["fidt_map"].compression == file["kpoint"].compression == "gzip"
        return file["fidt_map"][()], file["kpoint"][()]


def test_every_photo_gets_its_heads_and_maps(tmp_path, run):
    write_raw(tmp_path / "raw")
    assert "8 photos written" in run()
    photos = sorted((tmp_path / "out").rglob("*.jpg"))
    assert [f"{path.parent.name}/{path.stem}" for path in photos] == [
        *(f"test/{name}" for name in "abcd"),
        *(f"train/{name}" for name in "abd"),
        "val/c",
    ]
    for photo in photos:
        points = np.load(photo.with_suffix(".npy"))
        np.testing.assert_allclose(points, np.reshape(HEADS[photo.stem], (-1, 2)), rtol=1e-6)
        assert points.dtype == np.float32
        values, kpoint = read_maps(photo.with_suffix(".h5"))
        assert (values.dtype, kpoint.dtype) == (np.float32, np.uint8)
        assert kpoint.sum() == len(points)
        assert (values[kpoint == 1] == 1).all()
        np.testing.assert_allclose(values, fidt_map(points, 30, 40), rtol=1e-5)
    assert not read_maps(tmp_path / "out/train/a.h5")[0].any()
    assert not list((tmp_path / "out").rglob(".part-*"))


def test_a_photo_that_keeps_its_size_keeps_its_bytes(tmp_path, run):
    write_raw(tmp_path / "raw")
    # On its side, and upside down, which keeps the size of the picture.
    upright = ("test", (30, 40), 6), ("train", (40, 30), 3)
    for split, size, orientation in upright:
        write_photo(tmp_path / "raw" / split / "a.jpg", size, orientation)
    run()
    for name in "bcd":
        written = tmp_path / f"out/test/{name}.jpg"
        assert written.read_bytes() == (tmp_path / f"raw/test/{name}.jpg").read_bytes()
    for split, size, _ in upright:
        with Image.open(tmp_path / "out" / split / "a.jpg") as photo:
            assert photo.size == size
            assert 0x0112 not in photo.getexif()
    assert read_maps(tmp_path / "out/test/a.h5")[0].shape == (40, 30)


def test_photos_that_are_counted_whole_have_a_bound_of_their_own(tmp_path, run):
    write_raw(tmp_path / "raw")
    main(options(tmp_path, ("--min-size", "20", "--max-size", "32", "--test-min-size", "28")))
    photos = (tmp_path / "out").rglob("*.jpg")
    sizes = {(path.parent.name, Image.open(path).size) for path in photos}
    assert sizes == {("train", (32, 24)), ("val", (37, 28)), ("test", (37, 28))}
    points = np.load(tmp_path / "out/train/d.npy")
    np.testing.assert_allclose(points, np.array(HEADS["d"]) * 0.8, rtol=1e-6)
    values, kpoint = read_maps(tmp_path / "out/test/d.h5")
    assert values.shape == (28, 37)
    assert kpoint.sum() == 3
    counted = read_preprocessing(tmp_path / "out")
    assert (counted.min_size, counted.max_size) == (28, 32)


@pytest.mark.parametrize(
    ("layout", "expected", "crop"),
    [
        ("sht", (1, 65500, 1, False), 256),
        ("qnrf", (512, 2048, 1024, True), 512),
        ("jhu", (512, 2048, 512, False), 512),
        ("nwpu", (512, 2048, 512, False), 512),
    ],
)
def test_sizes_of_each_data_set(tmp_path, layout, expected, crop):
    paths = ["--input-dataset-path", "raw", "--output-dataset-path", "out", "--layout", layout]
    arguments = read_arguments(paths)
    found = (arguments.min_size, arguments.max_size, arguments.test_min_size, arguments.smooth)
    assert found == expected
    changed = read_arguments([*paths, "--min-size", "64", "--smooth"])
    assert (changed.min_size, changed.test_min_size, changed.smooth) == (64, 64, True)
    assert not read_arguments([*paths, "--no-smooth"]).smooth
    (tmp_path / "preprocess.yml").write_text(yaml.safe_dump({**vars(arguments)}))
    assert read_training(["--data_dir", str(tmp_path), "--save_dir", "run"]).crop_size == crop
    assert read_preprocessing(tmp_path).smooth == expected[3]


def test_it_goes_on_where_it_stopped_and_in_a_copy_of_the_folders(tmp_path, run, copied):
    write_raw(tmp_path / "raw")
    run()
    out, raw = copied(tmp_path / "copy", tmp_path / "out", tmp_path / "raw")
    for places in ((), ("--input-dataset-path", raw, "--output-dataset-path", out)):
        assert "0 photos written, 8 were up to date" in run(*places)
    (tmp_path / "out/test/b.h5").unlink()
    assert "1 photos written, 7 were up to date" in run()
    table = tmp_path / "raw/train/annotations.csv"
    table.write_text(table.read_text().replace("7.3", "7.9"))
    os.utime(table, (0, 0))
    assert "1 photos written, 7 were up to date" in run()
    assert "8 photos written" in run("--smooth")


def test_bare_photos_all_become_train_without_labels(tmp_path, runner, failure, capsys):
    paths = ["--input-dataset-path", tmp_path / "raw", "--output-dataset-path", tmp_path / "out"]
    run = runner(main, *paths, "--workers", 0, "--min-size", 1)
    for name, turned in (("a", 6), ("cam1/b", 1), ("test/c", 1)):
        write_photo(tmp_path / f"raw/{name}.jpg", (40, 30), turned)
    main([*map(str, paths), "--min-size", "1", "--layout", "photos", "--workers", "0"])
    written = capsys.readouterr()
    assert "2 photos written" in written.out
    assert "(test)" in written.err
    assert "0 photos written, 2 were up to date" in run("--layout", "photos")
    for folder in ("val", "test"):
        assert not (tmp_path / "out" / folder).exists()
    train = tmp_path / "out/train"
    (train / "a.h5").write_bytes(b"of an earlier, labelled run")
    assert "2 photos written" in run("--layout", "photos", "--overwrite")
    assert sorted(path.name for path in train.glob("[!.]*")) == ["a.jpg", "b.jpg"]
    assert Image.open(train / "a.jpg").size == (40, 30)
    assert "leave it out" in run("--layout", "photos", "--fold", 1, code=2)
    assert "have no FIDT map" in failure(
        train_baseline, "--data_dir", tmp_path / "out", "--save_dir", "run"
    )
    for other, words in ((validate, [tmp_path / "raw"]), (preprocess, paths)):
        assert "invalid choice: 'photos'" in failure(other, *words, "--layout", "photos")


def test_bounds_that_do_not_fit_write_nothing(tmp_path, run):
    write_raw(tmp_path / "raw")
    for flag, value in (("--min-size", 0), ("--test-min-size", 9999)):
        assert f"{flag} {value}" in run(flag, value, code=2)
    assert not (tmp_path / "out").exists()
