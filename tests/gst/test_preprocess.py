"""The processed set: sizes and distances of the release, few heads, and the command's behaviour."""

import os
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import yaml
from PIL import Image

from crowd.data.network_input import Preprocessing
from crowd.data.resize import target_size
from crowd.io.errors import InputError
from gst.heads import neighbour_distance
from gst.photos import read_preprocessing
from preprocess_dataset_ucf import main as command
from tests.crowd.sets import write_mat, write_photo, write_split, write_text

SIZE = (20, 16)


def test_sizes_of_the_release(golden):
    sizes = np.load(golden / "gst_preprocess.npz")["new_size"]
    for height, width, new_height, new_width, _ in sizes:
        assert target_size(int(width), int(height)) == (new_width, new_height)


@pytest.mark.parametrize("size", [(1, 3000), (511, 513), (9000, 4096), (640, 360), (2048, 512)])
@pytest.mark.parametrize("bounds", [(512, 2048), (100, 100), (1, 7)])
def test_size_rule(size, bounds):
    width, height = target_size(*size, *bounds)
    assert min(width, height) == np.clip(min(size), *bounds)
    assert abs(width / height / (size[0] / size[1]) - 1) <= 1 / min(width, height)
    assert target_size(width, height, *bounds) == (width, height)
    assert target_size(*size[::-1], *bounds) == (height, width)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resizing_keeps_places(interpolation):
    rows, columns = np.mgrid[0:40, 0:60]
    image = np.stack([columns * 4, rows * 4, 0 * rows], axis=2).astype(np.uint8)
    how = Preprocessing(80, 100, interpolation)
    resized = how.resize(image)
    assert resized.shape == (80, 120, 3)
    centres = (np.arange(120) + 0.5) / 2
    np.testing.assert_allclose(resized[40, 4:-4, 0], 4 * (centres[4:-4] - 0.5), atol=0.51)
    assert how.resize(resized) is resized
    # At an edge bilinear values lie between those of its sides, and bicubic ones beyond them.
    edge = np.where(columns[..., None] < 30, 50, np.full(3, 200)).astype(np.uint8)
    beyond = how.resize(edge).max() > 200
    assert beyond == (interpolation == "bicubic")


def test_distances_of_the_release(golden):
    stored = np.load(golden / "gst_preprocess.npz")
    distance = neighbour_distance(stored["points"])
    np.testing.assert_allclose(distance, stored["knn_distance"][:, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], []),
        ([[5, 5]], [8]),
        ([[0, 0], [3, 4]], [5, 5]),
        ([[0, 0], [3, 4], [0, 8]], [6.5, 5, 6.5]),
        ([[0, 0], [0, 0]], [0, 0]),
        ([[0, 0], [1, 0], [2, 0], [3, 0], [99, 0]], [2, 4 / 3, 4 / 3, 2, 97]),
    ],
)
def test_few_heads(points, expected):
    distance = neighbour_distance(np.array(points, np.float32).reshape(-1, 2))
    assert distance.dtype == np.float32
    np.testing.assert_allclose(distance, expected)


def qnrf(root, train=6, test=2):
    """Photos with 0, 1, 2, 3, 4 … heads."""
    for split, number in (("train", train), ("test", test)):
        places = [np.random.default_rng(i).uniform(1, 15, (i, 2)) for i in range(number)]
        heads = {f"img_{i:04}": points for i, points in enumerate(places)}
        write_split(root, "qnrf", split, heads, size=SIZE)
    return root


@pytest.fixture
def run(tmp_path, runner):
    """Run the command on `tmp_path/set` into `tmp_path/out`; return what it printed."""
    paths = "--origin-dir", tmp_path / "set", "--data-dir", tmp_path / "out"
    return runner(command, *paths, "--min-size", 32, "--max-size", 64, "--workers", 0)


def files(folder):
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path.name for path in files if path.parent.name != ".made")


def assert_no_remains(folder):
    """Every photo has its heads, and no temporary file is left."""
    assert not [name for name in files(folder) if name.startswith(".")]
    arrays = {path.with_suffix("") for path in folder.rglob("*.npy")}
    assert {path.with_suffix("") for path in folder.rglob("*.jpg")} == arrays


def test_command_on_qnrf(tmp_path, run):
    qnrf(tmp_path / "set", train=6, test=2)
    printed = run()
    out = tmp_path / "out"
    assert "drawn at random (seed 4073): 5 train, 1 val" in printed
    names = (out / "train.txt").read_text().split() + (out / "val.txt").read_text().split()
    assert sorted(names) == [f"img_{i:04}.jpg" for i in range(6)]
    for split, columns in (("train", 3), ("val", 2), ("test", 2)):
        photos = sorted((out / split).glob("*.jpg"))
        for photo in photos:
            assert Image.open(photo).size == (40, 32)
            # A tenth of libjpeg's 16, 11 and 12, as at a quality of 95.
            assert Image.open(photo).quantization[0][:3] == [2, 1, 1]
            heads = np.load(photo.with_suffix(".npy"))
            number = int(photo.stem[-4:])
            assert heads.dtype == np.float32
            assert heads.shape == (number, columns)
            expected = np.random.default_rng(number).uniform(1, 15, (number, 2)) * 2
            np.testing.assert_allclose(heads[:, :2], expected, rtol=1e-6)
            if split == "train" and number:
                distance = neighbour_distance(heads[:, :2], 16.0)
                np.testing.assert_allclose(heads[:, 2], distance, rtol=1e-6)
    rows = [line.split() for line in printed.splitlines()]
    assert next(row for row in rows if row[0] == "test")[1:6] == ["2", "1", "0", "0.5", "1"]
    assert "8 photos written, 0 were up to date, 0 skipped" in printed
    assert_no_remains(out)


def test_points_outside_are_dropped_and_duplicates_told(tmp_path, run):
    points = [[0, 0], [20, 16], [20.1, 3], [-0.1, 3], [3, 17], [5, 6], [5, 6], [5, 6]]
    write_split(tmp_path / "set", "qnrf", "test", {"a": points}, size=SIZE)
    told = run().splitlines(), run().splitlines()
    first, again = (next(line for line in one if line.startswith("test")) for one in told)
    assert first == again
    assert first.split()[-2:] == ["3", "2"]
    heads = np.load(tmp_path / "out" / "test" / "a.npy")
    assert heads.tolist() == [[0, 0], [40, 32], [10, 12], [10, 12], [10, 12]]


def test_jhu_keeps_its_boxes_and_its_splits(tmp_path, run):
    for split in ("train", "val", "test"):
        write_photo(tmp_path / "set" / split / "images" / "0001.jpg", SIZE)
        heads = "30 1 5 6 0 0\n4 3 5 7 0 0\n8 8 5 9.5 0 0\n"
        write_text(tmp_path / "set" / split / "gt" / "0001.txt", heads)
    printed = run("--layout", "jhu")
    out = tmp_path / "out"
    assert np.load(out / "train" / "0001.npy").tolist() == [[8, 6, 14], [16, 16, 19]]
    assert np.load(out / "val" / "0001.npy").tolist() == [[8, 6], [16, 16]]
    assert not (out / "val.txt").exists()
    assert "random" not in printed


def test_ucf_cc_50_is_tested_in_folds(tmp_path, run):
    heads = {str(number): [[1, 2]] for number in range(1, 51)}
    write_split(tmp_path / "set", "ucf_cc_50", "all", heads, size=SIZE)
    assert "--fold" in run("--layout", "ucf_cc_50", code=2)
    run("--layout", "ucf_cc_50", "--fold", 2)
    tested = {path.stem for path in (tmp_path / "out" / "test").glob("*.jpg")}
    assert tested == {str(i) for i in range(11, 21)}
    assert "is not a photo of this" in run("--layout", "ucf_cc_50", "--fold", 3, code=2)


def test_brt_is_split_by_time(tmp_path, run):
    for split in ("train", "test"):
        heads = {f"1-201705060900{second}": [[1, 2]] for second in range(10, 60, 10)}
        write_split(tmp_path / "set", "brt", split, heads, size=SIZE)
    assert "holds out blocks of time of each camera" in run("--layout", "brt")


def test_names_that_are_no_text(tmp_path, run):
    heads = {os.fsdecode(b"caf\xe9"): [[1, 2]], "b": []}
    write_split(tmp_path / "set", "qnrf", "train", heads, size=SIZE)
    assert "2 photos written" in run()
    assert "2 were up to date" in run()


def test_a_copy_of_the_folders_computes_nothing_anew(tmp_path, run, copied):
    qnrf(tmp_path / "set", train=4, test=1)
    run("--val-list", lists(tmp_path), "--seed", 1)
    out, data = copied(tmp_path / "copy", tmp_path / "out", tmp_path / "set")
    before = files(out / "train")
    places = "--input-dataset-path", data, "--output-dataset-path", out
    assert "0 photos written, 5 were up to date" in run(*places, "--val-list", lists(data))
    assert files(out / "train") == before


def lists(folder):
    path = folder / "val.txt"
    path.write_text("img_0001.jpg\n")
    return path


def test_what_is_read_of_a_photo_decides_and_not_the_files(tmp_path, run):
    write_split(tmp_path / "set", "csv", "test", {"a": [[1, 2]], "b": []}, size=SIZE)
    (table,) = tmp_path.rglob("annotations.csv")
    run("--layout", "csv")
    write_text(table, "image,x,y\na.jpg,1,2\nb.jpg,3,4\n")
    assert "1 photos written, 1 were up to date" in run("--layout", "csv")
    write_split(tmp_path / "set2", "yolo", "test", {"a": []}, size=SIZE)
    (photo,) = (tmp_path / "set2").rglob("a.jpg")
    write_text(photo.with_suffix(".txt"), "0 0.5 0.5\n1 0.25 0.25\n1 0.25 0.5\n")
    chosen = "--layout", "yolo", "--label", "head", "--origin-dir", tmp_path / "set2"
    for names, number in (("head\nbag\n", 1), ("bag\nhead\n", 2)):
        write_text(tmp_path / "set2" / "classes.txt", names)
        assert "1 photos written" in run(*chosen, "--data-dir", tmp_path / "out2")
        assert len(np.load(tmp_path / "out2" / "test" / "a.npy")) == number


def test_other_settings_or_overwrite_write_anew(tmp_path, run):
    qnrf(tmp_path / "set", train=4, test=1)
    run()
    assert "5 photos written" in run("--interpolation", "bicubic")
    assert "5 photos written" in run("--interpolation", "bicubic", "--overwrite")
    assert "5 were up to date" in run("--interpolation", "bicubic")
    settings = yaml.safe_load((tmp_path / "out" / "preprocess.yml").read_text())
    assert settings["interpolation"] == "bicubic"
    run("--config", tmp_path / "out" / "preprocess.yml")


def truncate(path):
    path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("img_0002.jpg", truncate),
        ("img_0002_ann.mat", truncate),
        ("img_0002_ann.mat", Path.unlink),
        ("img_0002_ann.mat", lambda path: write_mat(path, annPoints=[[1, np.nan]])),
    ],
)
def test_a_bad_photo_stops_the_command_and_leaves_nothing_of_before(tmp_path, run, name, spoil):
    folder = qnrf(tmp_path / "set", train=4, test=1) / "Train"
    run("--val-list", lists(tmp_path))
    spoil(folder / name)
    assert str(folder / name) in run("--val-list", lists(tmp_path), "--overwrite", code=2)
    assert_no_remains(tmp_path / "out")
    assert "1 skipped" in run("--val-list", lists(tmp_path), "--skip-bad")
    (skipped,) = (tmp_path / "out" / "skipped.txt").read_text().splitlines()
    assert "img_0002" in skipped
    assert not list((tmp_path / "out").rglob("img_0002.*"))
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == 4
    qnrf(tmp_path / "set", train=4, test=1)
    assert "1 photos written, 4 were up to date" in run("--val-list", lists(tmp_path))
    assert not (tmp_path / "out" / "skipped.txt").exists()


def test_a_damaged_output_is_no_fault_of_its_photo(tmp_path, run):
    qnrf(tmp_path / "set", train=4, test=1)
    run()
    truncate(tmp_path / "out" / "test" / "img_0000.npy")
    assert "run again with --overwrite" in run("--skip-bad", code=2)
    assert (tmp_path / "out" / "test" / "img_0000.jpg").is_file()
    assert "5 photos written" in run("--overwrite")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--layout", "qnfr"], "invalid choice: 'qnfr'"),
        (["--min-size", "99"], "--min-size 99 and --max-size 64"),
        (["--min-size", "70000", "--max-size", "80000"], "do not fit together"),
        (["--min-size", "15"], "--min-size 15 is less than the networks can see: choose 16"),
        (["--val-ratio", "1.5"], "validation share of 1.5"),
        (["--fold", "1"], "--fold 1"),
        (["--seed", "-1"], "seed"),
        (["--min-sise", "3"], "did you mean '--min-size'"),
        (["--train-list", "none.txt"], "none.txt does not exist"),
        (["--split", "time"], "img_0000.jpg is not named CAMERA"),
    ],
)
def test_bad_arguments(tmp_path, run, flags, says):
    qnrf(tmp_path / "set", train=3, test=1)
    assert says in run(*flags, code=2)
    assert not (tmp_path / "out").exists()


def test_folders_and_photos_that_do_not_fit(tmp_path, run):
    assert "is not a folder" in run(code=2)
    (tmp_path / "set").mkdir()
    assert "Train/ and Test/" in run(code=2)
    (tmp_path / "out").symlink_to(tmp_path / "set")
    assert "write elsewhere" in run(code=2)
    (tmp_path / "out").unlink()
    qnrf(tmp_path / "set", train=3, test=1)
    other = write_photo(tmp_path / "set" / "Test" / "img_0000.png", SIZE)
    assert "share a name" in run(code=2)
    other.unlink()
    write_photo(tmp_path / "set" / "Test" / "img_0000.jpg", (9000, 4))
    assert "too narrow a strip" in run(code=2)


def test_a_set_is_whole_only_once_all_photos_are_of_its_settings(tmp_path, run):
    folder = qnrf(tmp_path / "set", train=4, test=1) / "Train"
    run("--val-list", lists(tmp_path))
    truncate(folder / "img_0003.jpg")
    run("--val-list", lists(tmp_path), "--interpolation", "bicubic", code=2)
    with pytest.raises(InputError, match="is unfinished: run preprocess_dataset"):
        read_preprocessing(tmp_path / "out")
    run("--val-list", lists(tmp_path), "--interpolation", "bicubic", "--skip-bad")
    assert read_preprocessing(tmp_path / "out").interpolation == "bicubic"


def test_a_set_whose_annotations_changed_is_whole_only_once_all_are_taken(
    tmp_path, run, monkeypatch
):
    write_split(tmp_path / "set", "qnrf", "test", {"a": [[1, 2]], "b": [[3, 4]]}, size=SIZE)
    run()
    write_split(tmp_path / "set", "qnrf", "test", {"a": [[5, 6]], "b": [[7, 8]]}, size=SIZE)
    with monkeypatch.context() as patched:
        stop = Mock(side_effect=[None, InputError("full")])
        patched.setattr("crowd.data.prepare.write_array", stop)
        run("--workers", "0", code=2)
    with pytest.raises(InputError, match="is unfinished: run preprocess_dataset"):
        read_preprocessing(tmp_path / "out")
    run()
    read_preprocessing(tmp_path / "out")


def test_a_split_of_which_no_photo_can_be_read_is_refused(tmp_path, run):
    truncate(qnrf(tmp_path / "set", train=4, test=1) / "Test" / "img_0000.jpg")
    assert "no photo of test could be read" in run("--skip-bad", code=2)


def test_the_output_may_lie_in_the_set(tmp_path, run):
    root = tmp_path / "set"
    for name in ("a", "b", "c"):
        write_photo(root / f"{name}.png", SIZE, seed=ord(name))
    write_text(root / "annotations.csv", "image,x,y\na.png,4,6\nb.png,3,3\nc.png,5,5\n")
    where = "--layout", "csv", "--output-dataset-path", root / "processed"
    run(*where)
    heads = {path: np.load(path) for path in root.glob("processed/*/*.npy")}
    assert len(heads) == 3
    assert "3 were up to date" in run(*where)
    for path, expected in heads.items():
        np.testing.assert_array_equal(np.load(path), expected)


def test_a_photo_that_was_half_written_is_written_again(tmp_path, run, monkeypatch):
    write_split(tmp_path / "set", "qnrf", "test", {"a": [[1, 2]]}, size=SIZE)
    run()
    with monkeypatch.context() as patched:
        patched.setattr("crowd.data.prepare.write_array", Mock(side_effect=InputError("full")))
        run("--min-size", 48, code=2)
    assert "1 photos written" in run()
    assert Image.open(tmp_path / "out" / "test" / "a.jpg").size == (40, 32)


def test_workers_write_the_same(tmp_path, run):
    qnrf(tmp_path / "set", train=30, test=2)
    alone = run()
    assert "27 train, 3 val" in alone
    written = [path for path in (tmp_path / "out").rglob("*.*") if path.is_file()]
    content = [path.read_bytes() for path in written]
    assert run("--workers", 2, "--overwrite") == alone
    assert [path.read_bytes() for path in written] == content
