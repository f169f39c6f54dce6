"""Annotation readers: every layout read back from files written here, and what bad files say."""

import json

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from crowd.annotations import (
    LAYOUTS,
    find_photos,
    read_box_sizes,
    read_photo,
    read_points,
    upright_points,
)
from crowd.io.errors import InputError

# Public sets, and your own points; tests/crowd/test_layouts_tools.py has the labelling tools.
PLAIN = [name for name, layout in LAYOUTS.items() if not layout.tool]
POINTS = {0: np.zeros((0, 2)), 1: np.array([[3.5, 4.25]])}
POINTS[3] = np.array([[0.5, 1.0], [7.25, 3.5], [-2.0, 99.0]])


def write_photo(path, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 150)).save(path)
    return path


def save_mat(path, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, values)


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def shanghai(points):
    cell = np.empty((1, 1), object)
    cell[0, 0] = {"location": points, "number": len(points)}
    return cell


def jhu_text(points):
    return "".join(f"{x} {y} {10 + i} {20 + i} 1 0\n" for i, (x, y) in enumerate(points))


def csv_text(sets):
    rows = [f"{name},{x},{y}\n" for name, points in sets.items() for x, y in points]
    return "image,x,y\n" + "".join(rows)


def write_split(root, layout, split, sets):
    """Write photos and annotations (name -> points) as `layout` keeps them; return the photos."""
    photos = []
    for name, points in sets.items():
        if layout == "qnrf":
            photo = root / split.capitalize() / f"{name}.jpg"
            save_mat(photo.with_name(f"{name}_ann.mat"), annPoints=points)
        elif layout == "ucf_cc_50":
            photo = root / f"{name}.jpg"
            save_mat(photo.with_name(f"{name}_ann.mat"), annPoints=points)
        elif layout == "sht":
            photo = root / f"{split}_data" / "images" / f"{name}.jpg"
            folder = photo.parent.parent / ("ground_truth" if split == "test" else "ground-truth")
            save_mat(folder / f"GT_{name}.mat", image_info=shanghai(points))
        elif layout == "jhu":
            photo = root / split / "images" / f"{name}.jpg"
            write_text(root / split / "gt" / f"{name}.txt", jhu_text(points))
        elif layout == "nwpu":
            photo = root / "images" / f"{name}.jpg"
            if split == "val":
                save_mat(root / "mats" / f"{name}.mat", annPoints=points)
            else:
                content = {"img_id": photo.name, "points": points.tolist()}
                write_text(root / "jsons" / f"{name}.json", json.dumps(content))
        elif layout == "brt":
            photo = root / split / "frame" / f"{name}.jpg"
            save_mat(root / split / "ground_truth" / f"{name}.mat", loc=points)
        else:
            photo = root / split / f"{name}.jpg"
        photos.append(write_photo(photo))
    if layout == "nwpu":
        write_text(root / f"{split}.txt", "".join(f"{name} 1 2\n" for name in sets))
    elif layout == "csv":
        named = {f"{name}.jpg": points for name, points in sets.items()}
        write_text(root / split / "annotations.csv", csv_text(named))
    elif layout == "json":
        named = {f"{name}.jpg": points.tolist() for name, points in sets.items()}
        write_text(root / split / "annotations.json", json.dumps(named))
    return photos


@pytest.mark.parametrize("layout", PLAIN)
def test_round_trip(tmp_path, layout):
    splits = ("all",) if layout == "ucf_cc_50" else ("train", "val", "test")
    splits = ("train", "test") if layout in ("qnrf", "sht", "brt") else splits
    expected = {}
    for i, split in enumerate(splits):
        sets = {f"IMG_{i}{n}": points + i for n, points in POINTS.items()}
        photos = write_split(tmp_path, layout, split, sets)
        expected[split] = dict(zip(photos, sets.values(), strict=True))
    found = find_photos(tmp_path, layout)
    assert {split: set(photos) for split, photos in found.items()} == {
        split: set(photos) for split, photos in expected.items()
    }
    for photos in expected.values():
        for photo, points in photos.items():
            read = read_points(photo, layout)
            assert read.dtype == np.float32
            assert read.shape == points.shape
            np.testing.assert_allclose(read, points)


@pytest.mark.parametrize("shape", [(0, 0), (0, 2), (1, 0)])
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
        ([[1.0, 2.0, 3.0]], "1 x 3"),
        ([[1.0], [2.0]], "2 x 1"),
        ("text", "not numbers"),
        ([[1 + 2j, 3]], "not numbers"),
    ],
)
def test_bad_points_name_the_file(tmp_path, points, says):
    photo = write_photo(tmp_path / "Train" / "a.jpg")
    save_mat(photo.with_name("a_ann.mat"), annPoints=points)
    with pytest.raises(InputError, match=says) as raised:
        read_points(photo, "qnrf")
    assert "a_ann.mat" in str(raised.value)


@pytest.mark.parametrize("layout", [name for name in PLAIN if name not in ("csv", "json")])
def test_missing_annotation(tmp_path, layout):
    split = {"sht": "train_data/images", "brt": "train/frame"}.get(layout, "images")
    with pytest.raises(InputError, match=r"a.*does not exist: .*copy it again"):
        read_points(write_photo(tmp_path / split / "a.jpg"), layout)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.9])
def test_cut_short_mat(tmp_path, keep):
    photo = write_split(tmp_path, "brt", "train", {"a": POINTS[3]})[0]
    path = tmp_path / "train" / "ground_truth" / "a.mat"
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=r"a\.mat is damaged"):
        read_points(photo, "brt")


BAD = {
    "jhu": ("train/images/a.jpg", "train/gt/a.txt"),
    "nwpu": ("images/a.jpg", "jsons/a.json"),
    "csv": ("a.jpg", "annotations.csv"),
    "json": ("a.jpg", "points.json"),
}


@pytest.mark.parametrize(
    ("layout", "text", "says"),
    [
        ("jhu", "1 2 3 4 5 6\n1 2 3\n", "line 2 has 3 columns"),
        ("jhu", "1 2 3 four 5 6\n", "line 1 is not numbers"),
        ("jhu", "nan 2 3 4 5 6\n", "not finite"),
        ("jhu", "1 2 3 inf 5 6\n", "not finite"),
        ("nwpu", '{"points": [[1, 2]', "damaged or not JSON"),
        ("nwpu", "[1]", "no 'points'"),
        ("nwpu", '{"points": [[1, 2], [3]]}', "not pairs"),
        ("nwpu", "{}", "no 'points'"),
        ("csv", "name,x,y\na.jpg,1,2\n", "no columns"),
        ("csv", "", "no columns"),
        ("csv", "image,x,y\na.jpg,1,2\na.jpg,1\n", "line 3"),
        ("csv", "image,x,y\na.jpg,1,two\n", "line 2"),
        ("csv", "image,x,y\na.jpg,nan,2\n", "'a.jpg': point 1 is not finite"),
        ("json", '{"a.jpg": [[1, 2', "damaged or not JSON"),
        ("json", '{"a.jpg": [["1", "2"]]}', "not numbers"),
        ("json", '{"b.jpg": []}', "does not name the photo"),
    ],
)
def test_bad_files_name_themselves(tmp_path, layout, text, says):
    photo, file = (tmp_path / name for name in BAD[layout])
    write_photo(photo)
    write_text(file, text)
    with pytest.raises(InputError, match=says) as raised:
        read_points(photo, layout)
    assert str(file) in str(raised.value)


def test_csv_is_found_above_the_photos_and_by_relative_path(tmp_path):
    first = write_photo(tmp_path / "train" / "images" / "1.jpg")
    second = write_photo(tmp_path / "test" / "images" / "1.jpg")
    text = "\ufeffX, y ,image,score\n5,6,train\\images\\1.jpg,1\n7,8,./test/images/1.jpg,1\n"
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


@pytest.mark.parametrize("name", ["../a.jpg", "/etc/passwd", "b.jpg"])
def test_table_may_not_name_what_is_not_there(tmp_path, name):
    write_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "set" / "a.png")
    write_text(tmp_path / "set" / "annotations.json", json.dumps({"a.png": [], name: [[1, 2]]}))
    with pytest.raises(InputError, match=r"annotations\.json names '.*', which is not among"):
        find_photos(tmp_path / "set", "json")


def test_one_name_for_two_photos(tmp_path):
    write_photo(tmp_path / "train" / "1.jpg")
    write_photo(tmp_path / "test" / "1.jpg")
    write_text(tmp_path / "annotations.csv", "image,x,y\n1.jpg,1,2\n")
    with pytest.raises(InputError, match="write the path relative"):
        find_photos(tmp_path, "csv")


def test_tables_that_compete_or_are_missing(tmp_path):
    photo = write_photo(tmp_path / "deep" / "set" / "a.jpg")
    with pytest.raises(InputError, match=r"a\.jpg has no annotation file: put annotations\.csv"):
        read_points(photo, "csv")
    write_text(photo.with_name("one.csv"), "image,x,y\na.jpg,1,2\n")
    write_text(photo.with_name("two.csv"), "image,x,y\na.jpg,3,4\n")
    with pytest.raises(InputError, match=r"2 \.csv files"):
        read_points(photo, "csv")
    write_text(photo.with_name("annotations.csv"), "image,x,y\na.jpg,5,6\n")
    assert read_points(photo, "csv").tolist() == [[5, 6]]


def test_changed_table_is_read_again(tmp_path):
    photo = write_photo(tmp_path / "a.jpg")
    write_text(tmp_path / "annotations.csv", "image,x,y\na.jpg,1,2\n")
    read_points(photo, "csv")[:] = 0
    assert read_points(photo, "csv").tolist() == [[1, 2]]
    write_text(tmp_path / "annotations.csv", "image,x,y\na.jpg,1,2\na.jpg,3,4\n")
    assert len(read_points(photo, "csv")) == 2


@pytest.mark.parametrize("name", ["../../secret", "/etc/passwd", "0009"])
def test_nwpu_list_names_a_photo_that_is_not_there(tmp_path, name):
    write_photo(tmp_path.parent / "secret.jpg")
    write_split(tmp_path, "nwpu", "train", {"0001": POINTS[1]})
    write_text(tmp_path / "train.txt", f"0001 0 0\n{name} 0 0\n")
    with pytest.raises(InputError, match=r"train\.txt, line 2: there is no photo"):
        find_photos(tmp_path, "nwpu")


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


def test_unknown_layout_names_the_nearest(tmp_path):
    with pytest.raises(InputError, match="did you mean 'qnrf'"):
        read_points(tmp_path / "a.jpg", "qnfr")


@pytest.mark.parametrize("orientation", range(1, 9))
def test_points_follow_the_photo_upright(tmp_path, orientation):
    pixels = np.zeros((6, 9, 3), np.uint8)
    pixels[1, 2] = 255
    photo = tmp_path / "images" / "a.png"
    photo.parent.mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(photo, exif=exif)
    write_text(tmp_path / "gt" / "a.txt", "2.5 1.5 30 40 1 0\n-3 20 50 60 1 0\n")
    image, points = read_photo(photo, "jhu")
    row, column = np.argwhere(image[..., 0] == 255)[0]
    np.testing.assert_allclose(points[0], [column + 0.5, row + 0.5])
    height, width = image.shape[:2]
    assert (width, height) == ((9, 6) if orientation < 5 else (6, 9))
    assert not ((points[1] >= 0) & (points[1] <= [width, height])).all()
    expected = [40, 60] if orientation < 5 else [30, 50]
    assert read_box_sizes(photo)[:, 1].tolist() == expected


def test_all_orientations_differ():
    points = np.array([[1.0, 2.0]])
    carried = {tuple(upright_points(points, one, 9, 9)[0]) for one in range(1, 9)}
    assert len(carried) == 8
