"""Annotation readers: every public layout read back from files written here, and bad files."""

import h5py
import numpy as np
import pytest

from crowd.annotations import LAYOUTS, find_photos, read_points
from crowd.io.errors import InputError
from tests.crowd.sets import PLAIN, write_mat, write_photo, write_split, write_text

POINTS = {0: np.zeros((0, 2)), 1: np.array([[3.5, 4.25]])}
POINTS[3] = np.array([[0.5, 1.0], [7.25, 3.5], [-2.0, 99.0]])


@pytest.mark.parametrize("layout", PLAIN)
def test_round_trip(tmp_path, layout):
    splits = ("all",) if layout == "ucf_cc_50" else ("train", "val", "test")
    splits = ("train", "test") if layout in ("qnrf", "sht", "brt") else splits
    expected = {}
    for i, split in enumerate(splits):
        sets = {f"IMG_{i}{n}": points + i for n, points in POINTS.items()}
        photos = write_split(tmp_path, layout, split, sets)
        expected[split] = dict(zip(photos, sets.values(), strict=True))
    found = {split: set(photos) for split, photos in find_photos(tmp_path, layout).items()}
    assert found == {split: set(photos) for split, photos in expected.items()}
    for photos in expected.values():
        for photo, points in photos.items():
            read = read_points(photo, layout)
            assert read.dtype == np.float32
            assert read.shape == points.shape
            np.testing.assert_allclose(read, points)


@pytest.mark.parametrize("layout", ["sht", "jhu", "nwpu", "brt"])
def test_a_photo_is_named_from_within_its_folder(tmp_path, monkeypatch, layout):
    (photo,) = write_split(tmp_path, layout, "train", {"a": POINTS[1]})
    monkeypatch.chdir(photo.parent)
    np.testing.assert_allclose(read_points("a.jpg", layout), POINTS[1])


@pytest.mark.parametrize("shape", [(0, 0), (1, 0)])
@pytest.mark.parametrize(("layout", "key"), [("qnrf", "annPoints"), ("sht", "image_info")])
def test_empty_of_any_shape_is_no_heads(tmp_path, shape, layout, key):
    photo = write_split(tmp_path, layout, "train", {"a": np.zeros(shape)})[0]
    assert read_points(photo, layout).shape == (0, 2)


def test_matlab_7_3(tmp_path):
    photo = write_split(tmp_path, "sht", "train", {"a": POINTS[1]})[0]
    path = tmp_path / "train_data" / "ground-truth" / "GT_a.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file["#refs#/b/location"] = POINTS[3].T
        file["#refs#/b/number"] = [[3.0]]
        file["image_info"] = np.array([[file["#refs#/b"].ref]], h5py.ref_dtype)
    np.testing.assert_allclose(read_points(photo, "sht"), POINTS[3])
    photo = write_split(tmp_path, "qnrf", "train", {"b": POINTS[1]})[0]
    with h5py.File(photo.with_name("b_ann.mat"), "w") as file:
        file["annPoints"] = np.array([0, 2], np.uint64)
        file["annPoints"].attrs["MATLAB_empty"] = 1
    assert read_points(photo, "qnrf").shape == (0, 2)
    with h5py.File(photo.with_name("b_ann.mat"), "w") as file:
        file["other"] = POINTS[3]
    with pytest.raises(InputError, match=r"b_ann\.mat has no 'annPoints' \(it holds: other\)"):
        read_points(photo, "qnrf")


@pytest.mark.parametrize(
    ("points", "says"),
    [
        ([[1.0, np.nan]], "not finite"),
        ([[1.0, 2.0], [np.inf, 2.0]], "point 2 is not finite"),
        ([[1e39, 2.0]], "not finite"),
        ([[1.0, 2.0, 3.0]], "not rows 'x, y'"),
        ([[1.0], [2.0]], "not rows 'x, y'"),
        ("text", "of numbers"),
        ([[1 + 2j, 3]], "of numbers"),
    ],
)
def test_bad_points_name_the_file(tmp_path, points, says):
    photo = write_photo(tmp_path / "Train" / "a.jpg")
    write_mat(photo.with_name("a_ann.mat"), annPoints=points)
    with pytest.raises(InputError, match=says) as raised:
        read_points(photo, "qnrf")
    assert "a_ann.mat" in str(raised.value)


@pytest.mark.parametrize("layout", [name for name in PLAIN if name not in ("csv", "json")])
def test_missing_annotation(tmp_path, layout):
    split = {"sht": "train_data/images", "brt": "train/frame"}.get(layout, "images")
    with pytest.raises(InputError, match=r"a.*does not exist: .*copy it again"):
        read_points(write_photo(tmp_path / split / "a.jpg"), layout)


def test_csv_is_found_above_the_photos_and_by_relative_path(tmp_path):
    first = write_photo(tmp_path / "train" / "images" / "1.jpg")
    second = write_photo(tmp_path / "test" / "images" / "1.jpg")
    text = "\ufeffX, y ,image,Confidence\n5,6,train\\images\\1.jpg,1\n7,8,./test/images/1.jpg,1\n"
    write_text(tmp_path / "heads.csv", text)
    assert find_photos(tmp_path, "csv") == {"train": [first], "test": [second]}
    assert read_points(first, "csv").tolist() == [[5, 6]]
    assert read_points(second, "csv").tolist() == [[7, 8]]


def test_csv_without_a_row_is_said_aloud(tmp_path, capsys):
    photos = [write_photo(tmp_path / f"{name}.jpg") for name in "abc"]
    write_text(tmp_path / "annotations.csv", "image,x,y\na.jpg,1,2\nb.jpg,,\n")
    assert find_photos(tmp_path, "csv") == {"all": photos}
    assert "1 of 3 photos have no row" in capsys.readouterr().err
    assert [len(read_points(photo, "csv")) for photo in photos] == [1, 0, 0]


def test_tables_that_compete_are_missing_or_change(tmp_path):
    photo = write_photo(tmp_path / "deep" / "set" / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg has no annotation file: put annotations\.csv"):
        read_points(photo, "csv")
    write_text(photo.with_name("one.csv"), "image,x,y\na.jpg,1,2\n")
    write_text(photo.with_name("two.csv"), "image,x,y\na.jpg,3,4\n")
    with pytest.raises(InputError, match=r"2 \.csv files"):
        read_points(photo, "csv")
    write_text(photo.with_name("annotations.csv"), "image,x,y\na.jpg,5,6\n")
    read_points(photo, "csv")[:] = 0
    assert read_points(photo, "csv").tolist() == [[5, 6]]
    write_text(photo.with_name("annotations.csv"), "image,x,y\na.jpg,1,2\na.jpg,3,4\n")
    assert len(read_points(photo, "csv")) == 2


def test_nwpu_test_photos_without_annotation_are_left_out(tmp_path, capsys):
    train = write_split(tmp_path, "nwpu", "train", {"0002": POINTS[1], "0001": POINTS[0]})
    write_photo(tmp_path / "images" / "0003.jpg")
    write_text(tmp_path / "test.txt", "0003.jpg 0 0\n")
    assert find_photos(tmp_path, "nwpu") == {"train": train}
    assert "none of the 1 photos" in capsys.readouterr().err


def test_nwpu_photos_that_no_list_names_are_counted(tmp_path, capsys):
    train = write_split(tmp_path, "nwpu", "train", {"0001": POINTS[1]})
    write_split(tmp_path, "nwpu", "val", {"0002": POINTS[1]})
    write_photo(tmp_path / "images" / "0003.jpg")
    assert find_photos(tmp_path, "nwpu")["train"] == train
    said = "1 of 3 photos in {}/images are named in none of train.txt, val.txt: left out (the first"
    assert said.format(tmp_path) in capsys.readouterr().err


def test_folders_are_found_without_case_and_photos_counted_in_order(tmp_path):
    for folder in ("TRAIN", "test"):
        write_photo(tmp_path / folder / "a.JPG")
    assert set(find_photos(tmp_path, "qnrf")) == {"train", "test"}
    for number in (10, 2, 1):
        write_photo(tmp_path / f"{number}.jpg")
    assert [path.stem for path in find_photos(tmp_path, "ucf_cc_50")["all"]] == ["1", "2", "10"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_empty_folder_says_what_is_expected(tmp_path, layout):
    with pytest.raises(InputError, match=str(tmp_path)):
        find_photos(tmp_path, layout)
    with pytest.raises(InputError, match="is not a folder"):
        find_photos(tmp_path / "missing", layout)
