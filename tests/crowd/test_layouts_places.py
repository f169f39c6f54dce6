"""Where photos are: scene folders, splits by folder, what is left out, names in lists."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from crowd.annotations import find_photos, read_points
from crowd.data.layouts.beside import annotations_without_photo
from crowd.data.splits import read_list
from crowd.io.errors import InputError
from crowd.validate import main as validate
from mgot.fidt import main as fidt
from preprocess_dataset_ucf import main as preprocess
from tests.crowd.sets import (
    POINTS,
    TOOLS,
    options,
    run,
    write_mat,
    write_photo,
    write_table,
    write_text,
    write_tool,
    written_heads,
)

SCENES = ("train/scene01/img01", "train/scene01/img02", "train/scene02/img01", "test/scene03/img01")


def write_scenes(root, layout):
    """P2PNet's folders: scenes in train and test, photos numbered anew in each scene."""
    sets = {}
    for number, name in enumerate(SCENES):
        write_photo(root / f"{name}.png", seed=number)
        sets[f"{name}.png"] = [[x + number, y] for x, y in POINTS]
    if layout in ("csv", "json"):
        write_table(root, layout, sets)
    elif layout == "labelstudio":  # whose uploads have no folders
        for name in sets:
            scene = Path(name).parent
            beside = {other: sets[other] for other in sets if Path(other).parent == scene}
            write_tool(root / scene, layout, beside)
    else:
        write_tool(root, layout, sets)
    return sets


@pytest.mark.parametrize("layout", ["csv", "json", *TOOLS])
def test_photos_in_scene_folders_are_found_and_copied_in_every_layout(tmp_path, layout):
    sets = write_scenes(tmp_path / "set", layout)
    found = find_photos(tmp_path / "set", layout)
    assert {split: len(photos) for split, photos in found.items()} == {"train": 3, "test": 1}
    for photo in (photo for photos in found.values() for photo in photos):
        name = photo.relative_to(tmp_path / "set").as_posix()
        np.testing.assert_allclose(read_points(photo, layout), sets[name], atol=1e-5)
    run(validate, tmp_path / "set", "--layout", layout, "--fix", tmp_path / "copy")
    kept = "csv" if layout in TOOLS else layout
    run(validate, tmp_path / "copy", "--layout", kept)
    for name, points in sets.items():
        np.testing.assert_allclose(read_points(tmp_path / "copy" / name, kept), points, atol=1e-4)


@pytest.mark.parametrize("command", [preprocess, fidt])
def test_scenes_that_number_their_photos_anew_keep_them_apart(tmp_path, command):
    expected = write_scenes(tmp_path / "set", "csv")["train/scene02/img01.png"]
    lists, out = tmp_path / "val.txt", tmp_path / "out"
    lists.write_text("scene02/img01.png\n")
    command(options(tmp_path / "set", "csv", "--val-list", lists))
    written = {path.relative_to(out).with_suffix("").as_posix() for path in out.glob("*/*.jpg")}
    assert written == {"train/img01", "train/img02", "val/img01", "test/img01"}
    np.testing.assert_allclose(np.load(out / "val" / "img01.npy")[:, :2], expected, atol=1e-4)
    lists.write_text("scene01/img02\n")
    out = tmp_path / "other"
    command(options(tmp_path / "set", "csv", "--val-list", lists, "--output-dataset-path", out))
    assert {path.stem for path in out.glob("train/*.jpg")} == {"scene01_img01", "scene02_img01"}
    np.testing.assert_allclose(written_heads(out)["scene02_img01"], expected, atol=1e-4)
    # The lists that were written say which is which.
    photos = find_photos(tmp_path / "set", "csv")["train"]
    assert read_list(out / "val.txt", photos) == [tmp_path / "set/train/scene01/img02.png"]
    assert len(read_list(out / "train.txt", photos)) == 2


LEAVES = {
    "csv": lambda root: write_table(root, "csv", {"a.png": [[3, 4]], "b.png": [[5, 6]]}),
    "json": lambda root: write_table(root, "json", {"a.png": [], "b.png": [[3, 4]]}),
    "labelme": lambda root: write_tool(root, "labelme", {"a.png": POINTS, "b.png": POINTS}),
    "ucf_cc_50": lambda root: [write_mat(root / f"{n}_ann.mat", annPoints=POINTS) for n in "ab"],
}


@pytest.mark.parametrize("layout", LEAVES)
def test_folders_that_are_not_looked_into_are_named(tmp_path, layout, capsys):
    root = tmp_path / "set"
    for number, name in enumerate(("a", "b", "scene02/c", "scene02/d", "more/deep/e")):
        write_photo(root / f"{name}.png", seed=number)
    LEAVES[layout](root)
    (photos,) = find_photos(root, layout).values()
    assert [photo.name for photo in photos] == ["a.png", "b.png"]
    assert f"2 left out of {root}: 2 folder with photos (more, …)" in capsys.readouterr().err
    run(validate, root, "--layout", layout, code=1)
    out = capsys.readouterr().out
    assert "not read as a photo: 2" in out
    assert "scene02: a folder with photos" in out


def test_scenes_that_were_not_annotated_are_named(tmp_path, capsys):
    write_scenes(tmp_path, "csv")
    write_photo(tmp_path / "train" / "scene09" / "img01.png")
    write_photo(tmp_path / "c.png")
    assert len(find_photos(tmp_path, "csv")["train"]) == 3
    said = "2 photos in folders that were not looked into: . (1), train/scene09 (1)"
    assert f"left out {said}" in capsys.readouterr().err
    run(validate, tmp_path, "--layout", "csv", code=1)
    assert "scene09: a folder that is not looked into, with 1 photos" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (
            ("test_images", "train_images"),
            "(test_images, train_images): call them train/ and test/",
        ),
        (("Testing", "data/Train-set"), "(Testing, Train-set): call them train/ and test/"),
        (("validation 2", "train"), "(validation 2): call them val/"),
    ],
)
def test_folders_that_are_called_nearly_as_splits_are_a_question(tmp_path, folders, says):
    for folder in folders:
        write_photo(tmp_path / folder / "a.png")
        write_tool(tmp_path / folder, "labelme", {"a.png": POINTS})
    with pytest.raises(InputError) as raised:
        find_photos(tmp_path, "labelme")
    assert f"look like splits {says}" in str(raised.value)


def test_folders_that_only_sound_like_splits_are_none(tmp_path):
    scenes = ("tested_by_anna", "trainer", "latest", "train_station", "test-site 2")
    splits = ("Train_data", "train/test 3")
    for folders, found in ((scenes, {"all": 5}), (splits, {"train": 2})):
        for folder in folders:
            write_photo(tmp_path / folder / "a.png")
            write_tool(tmp_path / folder, "labelme", {"a.png": POINTS})
        named = find_photos(tmp_path, "labelme")
        assert {split: len(photos) for split, photos in named.items()} == found


NAMES = {
    "percent-encoded": ("images/Straße 02.png", "labels/Stra%C3%9Fe%2002.txt"),
    "ending": ("IMG_1.png", "IMG_1.TXT"),
    "folders": ("Images/deep/a.png", "LABELS/deep/a.txt"),
    "folder beside": ("a.png", "Labels/a.Txt"),
    "accents": (unicodedata.normalize("NFD", "é.png"), unicodedata.normalize("NFC", "é.txt")),
}


@pytest.mark.parametrize("how", NAMES)
def test_a_file_that_is_called_a_little_differently_is_the_photo_s(tmp_path, how):
    name, file = NAMES[how]
    photo = write_photo(tmp_path / name)
    write_text(tmp_path / file, "0 0.5 0.25\n")
    assert read_points(photo, "yolo").tolist() == [[32, 12]]
    assert find_photos(tmp_path, "yolo") == {"all": [photo]}
    assert annotations_without_photo(tmp_path, "yolo", [photo]) == []
    photo.unlink()
    assert annotations_without_photo(tmp_path, "yolo", [tmp_path / "b.png"])


@pytest.mark.parametrize("layout", ["labelme", "json"])
def test_endings_in_capitals_are_read_in_every_layout(tmp_path, layout):
    photo = write_photo(tmp_path / "IMG_1.png")
    if layout == "labelme":
        write_tool(tmp_path, layout, {photo.name: POINTS})
    else:
        write_table(tmp_path, layout, {photo.name: POINTS})
    (file,) = tmp_path.glob("*.json")
    file.rename(file.with_suffix(".JSON"))
    assert read_points(photo, layout).tolist() == POINTS


def test_photos_and_files_that_miss_each_other_are_a_question(tmp_path):
    for name in ("a", "b"):
        write_photo(tmp_path / f"{name}.png")
    write_tool(tmp_path, "yolo", {"a.png": POINTS, "c.png": POINTS})
    says = r"1 photos .* no file of yolo \(the first: b\.png\), and 1 such files .*first: c\.txt\)"
    with pytest.raises(InputError, match=says):
        find_photos(tmp_path, "yolo")


@pytest.mark.parametrize("layout", ["yolo", "csv", "makesense"])
def test_a_split_that_nobody_annotated_is_a_question(tmp_path, layout):
    for name in ("train/a.png", "train/b.png", "test/c.png", "test/d.png"):
        write_photo(tmp_path / name)
    write = write_table if layout == "csv" else write_tool
    write(tmp_path, layout, {"train/a.png": POINTS})
    with pytest.raises(InputError, match="none of the 2 photos of the split test in"):
        find_photos(tmp_path, layout)
    write(tmp_path, layout, {"train/a.png": POINTS, "test/c.png": POINTS})
    assert set(find_photos(tmp_path, layout)) == {"train", "test"}


def test_names_of_photos_outside_the_splits_are_told_from_unknown_ones(tmp_path):
    for name in ("images/a.png", "test/c.png"):
        write_photo(tmp_path / name)
    write_table(tmp_path, "csv", {"images/a.png": POINTS, "test/c.png": POINTS})
    says = r"names 'images/a\.png', which lies outside the folders of the splits \(1 such"
    with pytest.raises(InputError, match=says):
        find_photos(tmp_path, "csv")
    write_table(tmp_path, "csv", {"images/b.png": POINTS, "test/c.png": POINTS})
    with pytest.raises(InputError, match="is not among the 1 photos"):
        find_photos(tmp_path, "csv")


@pytest.mark.parametrize("forms", [("NFD", "NFC"), ("NFC", "NFD")])
def test_accents_are_the_same_however_unicode_writes_them(tmp_path, forms):
    on_disk, in_file = (unicodedata.normalize(form, "Fête.png") for form in forms)
    photo = write_photo(tmp_path / on_disk)
    write_table(tmp_path, "csv", {in_file: POINTS})
    write_text(tmp_path / "list.txt", in_file)
    assert find_photos(tmp_path, "csv") == {"all": [photo]}
    assert read_points(photo, "csv").tolist() == POINTS
    assert read_list(tmp_path / "list.txt", [photo]) == [photo]


def test_links_that_go_round_end(tmp_path):
    write_photo(tmp_path / "a.png")
    (tmp_path / "round").symlink_to(tmp_path)
    write_table(tmp_path, "csv", {"a.png": [[3, 4]]})
    assert find_photos(tmp_path, "csv") == {"all": [tmp_path / "a.png"]}


PHOTOS = [
    Path(f"set/{name}")
    for name in ("my photo 1.jpg", "my photo 2.jpg", "plain.jpg", "scene.jpg", "scene 1.jpg",
                 "s 1/x.jpg", "s 2/x.jpg", "ab.jpg", "ab 1.png")
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("my photo 1.jpg", "my photo 1.jpg"),
        ("my photo 1", "my photo 1.jpg"),
        ("my photo 2.jpg 3 0", "my photo 2.jpg"),
        ("my photo 2 3 0", "my photo 2.jpg"),
        ("plain.jpg 1 2", "plain.jpg"),
        ("plain 1 2", "plain.jpg"),
        ("scene 1.jpg 7", "scene 1.jpg"),
        ("scene.jpg 1", "scene.jpg"),
        ("/data/else/where/my photo 1.jpg  2", "my photo 1.jpg"),
        ("images\\plain.jpg", "plain.jpg"),
        ("s 2/x.jpg s 2/x.txt", "s 2/x.jpg"),
        ("set/s 1/x", "s 1/x.jpg"),
        ("plain.jpg scene.jpg", "plain.jpg"),
    ],
)
def test_names_with_spaces_are_found_in_lists(tmp_path, line, name):
    (tmp_path / "list.txt").write_text(f"\n{line}\n")
    assert read_list(tmp_path / "list.txt", PHOTOS) == [Path("set") / name]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("scene 1", r"may be set/scene\.jpg or set/scene 1\.jpg: write the whole name"),
        ("ab 1 2", "may be"),
        ("x.jpg", "may be set/s 1/x.jpg or set/s 2/x.jpg"),
        ("my photo 3.jpg", "there is no photo 'my photo 3.jpg' among the 9"),
        ("ab.jpg\nab.jpg", "line 2: 'ab.jpg' stands in line 1 already"),
    ],
)
def test_lines_that_may_mean_several_photos_are_refused(tmp_path, line, says):
    write_text(tmp_path / "list.txt", f"{line}\n")
    with pytest.raises(InputError, match=says) as raised:
        read_list(tmp_path / "list.txt", PHOTOS)
    assert "list.txt, line " in str(raised.value)


@pytest.mark.parametrize("first", ["1.png", "train/1.png"])
def test_the_longest_name_that_a_photo_ends_in_is_its_own(tmp_path, first):
    photos = [write_photo(tmp_path / f"{split}/1.png") for split in ("train", "test")]
    heads = {"1.png": [[1, 2]], "train/1.png": [[3, 4]]}
    names = sorted(heads, key=lambda name: name != first)
    (tmp_path / "annotations.json").write_text(json.dumps({name: heads[name] for name in names}))
    assert [read_points(photo, "json").tolist() for photo in photos] == [[[3, 4]], [[1, 2]]]
