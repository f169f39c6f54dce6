"""The validator: each fault is found, the copy is clean, the original untouched."""

import hashlib
import json
import shutil

import cv2
import numpy as np
import pytest
from PIL import Image

from crowd.annotations import find_photos, read_points
from crowd.data.layouts.points import PointConvention
from crowd.validate import main
from crowd.validation import ERRORS
from tests.crowd.sets import (
    PLAIN,
    POINTS,
    read_photo,
    run,
    scene,
    write_mat,
    write_photo,
    write_split,
    write_text,
)

POINTS = np.array(POINTS)


def write_set(root, layout, points=None):
    """Three different photos in each split that the layout has; other points of some, by number."""
    for first in (0,) if layout == "ucf_cc_50" else (0, 3):
        sets = {f"IMG_{first + i}": POINTS + i for i in range(3)}
        sets |= {name: points[name] for name in sets if points and name in points}
        write_split(root, layout, "test" if first else "train", sets, seed=first)
    return root


def tree(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def validate(root, layout, capsys, *options, code):
    report = root.parent / "report.json"
    run(main, root, "--layout", layout, "--output", report, "--workers", 0, *options, code=code)
    return json.loads(report.read_text()), capsys.readouterr().out


def found(report):
    return {(finding["kind"], finding["file"]) for finding in report["findings"]}


@pytest.mark.parametrize("layout", PLAIN)
def test_a_clean_set_is_clean(tmp_path, layout, capsys):
    report, out = validate(write_set(tmp_path / "set", layout), layout, capsys, code=0)
    assert report["findings"] == []
    assert "clean" in out
    photos = {split: one["photos"] for split, one in report["splits"].items()}
    assert set(photos.values()) == {3}
    assert sum(one["heads"] for one in report["splits"].values()) == 9 * len(photos)


def save_points(root, points):
    write_mat(root / "Train/IMG_0_ann.mat", annPoints=np.asarray(points, float).reshape(-1, 2))


def replace(root, name, pixels):
    """Put a picture of other values in the place of the first photo."""
    (root / "Train/IMG_0.jpg").unlink()
    cv2.imwrite(str(root / "Train" / name), pixels)


def save_stack(root):
    (root / "Train/IMG_0.jpg").unlink()
    pages = [Image.fromarray(scene(number)) for number in (30, 31)]
    pages[0].save(root / "Train/IMG_0.tif", save_all=True, append_images=pages[1:])


def save_as(root, mode):
    Image.fromarray(scene(0)).convert(mode).save(root / "Train/IMG_0.jpg")


def photo(root, pixels, name="Train/IMG_0.jpg", **options):
    Image.fromarray(pixels).save(root / name, **options)


FAULTS = {
    "unreadable photo": lambda root: (root / "Train/IMG_0.jpg").write_bytes(b"\xff\xd8\xff"),
    "missing annotation": lambda root: (root / "Train/IMG_0_ann.mat").unlink(),
    "unreadable annotation": lambda root: (root / "Train/IMG_0_ann.mat").write_bytes(b"MATLAB"),
    "annotation without photo": lambda root: shutil.copy(
        root / "Train/IMG_0_ann.mat", root / "Train/IMG_77_ann.mat"
    ),
    "points outside": lambda root: save_points(root, [[1, 1], [64.5, 2], [-1, 2]]),
    "duplicate points": lambda root: save_points(root, [[1, 1], [2, 2], [1, 1]]),
    "same photo in two splits": lambda root: write_photo(root / "Train/IMG_0.jpg", seed=3),
    "similar photos in two splits": lambda root: photo(root, scene(3, (128, 96)), quality=60),
    "same photo twice": lambda root: write_photo(root / "Train/IMG_0.jpg", seed=1),
    "similar photos in one split": lambda root: photo(root, scene(1) // 2 + 9, quality=95),
    "rotated by EXIF": lambda root: write_photo(root / "Train/IMG_0.jpg", orientation=3),
    # Of all 16 bits, and ten of them as a thermal camera writes them.
    "more than 8 bits": lambda root: replace(root, "IMG_0.png", np.uint16(scene(30)) * 512),
    "unclear depth": lambda root: replace(root, "IMG_0.png", np.uint16(scene(0)[..., 0]) * 4),
    "grey": lambda root: save_as(root, "L"),
    "other colours than RGB": lambda root: save_as(root, "CMYK"),
    "several pictures in a file": save_stack,
    "not read as a photo": lambda root: (root / "Train/IMG_8.cr3").write_bytes(b"raw"),
    "points in doubt": lambda root: [
        write_mat(path, annPoints=POINTS / 64) for path in root.rglob("*.mat")
    ],
    "no heads": lambda root: save_points(root, []),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_found_and_nothing_else(tmp_path, kind, capsys):
    root = write_set(tmp_path / "set", "qnrf")
    FAULTS[kind](root)
    report, out = validate(root, "qnrf", capsys, code=1)
    assert {name for name, _ in found(report)} == {kind}, out
    (finding,) = report["findings"]
    assert finding["severity"] == ("error" if kind in ERRORS else "note")
    assert "IMG_" in finding["file"]
    assert kind in out
    validate(root, "qnrf", capsys, "--errors-only", code=int(kind in ERRORS))


def test_a_leak_is_found_beside_a_photo_that_is_more_alike(tmp_path, capsys):
    root = write_set(tmp_path / "set", "qnrf")
    photo(root, scene(3, (128, 96)), quality=60)
    shutil.copy(root / "Test/IMG_3.jpg", root / "Test/IMG_4.jpg")
    photo(root, scene(3), name="Test/IMG_5.jpg", quality=95)
    report, _ = validate(root, "qnrf", capsys, code=1)
    similar = [(one["kind"], one["file"]) for one in report["findings"] if "like" in one["detail"]]
    names = [f"Test/IMG_{number}.jpg" for number in (3, 4, 5)]
    expected = [("similar photos in two splits", name) for name in names]
    assert similar == [*expected, ("similar photos in one split", names[2])]


@pytest.mark.parametrize("layout", ["nwpu", "csv", "json"])
def test_names_without_photo_are_found_and_left_out_of_the_copy(tmp_path, layout, capsys):
    root = write_set(tmp_path / "set", layout)
    (photo,) = root.rglob("IMG_1.jpg")
    photo.unlink()
    report, _ = validate(root, layout, capsys, "--fix", tmp_path / "copy", code=1)
    kinds = {kind for kind, _ in found(report)}
    assert "name without photo" in kinds
    assert ("annotation without photo" in kinds) == (layout == "nwpu")
    again, _ = validate(tmp_path / "copy", layout, capsys, code=0)
    assert again["splits"]["train"]["photos"] == 2


CROWDED = {"IMG_1": [[70.0, 4.0], [5.0, 6.0], [5.0, 6.0], [7.0, 8.0]]}


def spoil(root, layout):
    """Turn one photo on its side, cut another short, leak a photo; return what is turned."""
    photos = find_photos(root, layout)
    turned, *others = [photo for split in photos.values() for photo in split]
    write_photo(turned, (48, 64), orientation=6)
    if len(photos) > 1:
        shutil.copy(photos["test"][0], photos["train"][2])
    others[-1].write_bytes(others[-1].read_bytes()[:100])
    return turned, others[0]


@pytest.mark.parametrize("layout", PLAIN)
def test_the_copy_is_clean_and_the_original_untouched(tmp_path, layout, capsys):
    root = write_set(tmp_path / "set", layout, CROWDED)
    turned, crowded = spoil(root, layout)
    before = tree(root)
    # As read from the original: heads of the upright photo.
    image, upright = read_photo(turned, layout, convention=PointConvention(points="stored"))
    copy = tmp_path / "copy"
    report, out = validate(root, layout, capsys, "--fix", copy, "--points", "stored", code=1)
    assert tree(root) == before
    kinds = {kind for kind, _ in found(report)}
    assert {"unreadable photo", "points outside", "duplicate points", "rotated by EXIF"} <= kinds
    leaks = 0 if layout == "ucf_cc_50" else 1
    assert ("same photo in two splits" in kinds) == bool(leaks)
    assert f"{len(list(root.rglob('*.jpg'))) - 1 - leaks} photos written" in out
    again, _ = validate(copy, layout, capsys, code=0)
    assert again["findings"] == []
    where = copy / crowded.relative_to(root)
    np.testing.assert_allclose(read_points(where, layout), [[5.0, 6.0], [7.0, 8.0]])
    where = copy / turned.relative_to(root)
    with Image.open(where) as stored:
        assert stored.size == image.shape[1::-1] == (48, 64)
    inside = ((upright >= 0) & (upright <= (48, 64))).all(1)
    np.testing.assert_allclose(read_points(where, layout), upright[inside], atol=1e-4)
    assert not list(tmp_path.glob(".part-*"))


def test_a_photo_in_several_lists_stays_in_the_last_split(tmp_path, capsys):
    root = write_set(tmp_path / "set", "nwpu")
    lists = {"train": "IMG_0\nIMG_1\nIMG_2\n", "val": "IMG_1\nIMG_2\n", "test": "IMG_2\nIMG_3\n"}
    for split, names in lists.items():
        write_text(root / f"{split}.txt", names)
    report, _ = validate(root, "nwpu", capsys, "--fix", tmp_path / "copy", code=1)
    assert report["kinds"]["same photo in two splits"] == 3
    found = find_photos(tmp_path / "copy", "nwpu")
    stems = {split: [photo.stem for photo in photos] for split, photos in found.items()}
    assert stems == {"train": ["IMG_0"], "val": ["IMG_1"], "test": ["IMG_2", "IMG_3"]}


def test_lists_of_the_copy_name_its_photos_once(tmp_path, capsys):
    root = tmp_path / "set"
    names = ("scene.1", "scene", "scene.2", "IMG_0")
    write_split(root, "nwpu", "train", dict.fromkeys(names, POINTS))
    lines = "scene.1 1 2\nscene 1 2\nscene.1.jpg 3 4\nscene.2 1 2\nimages/IMG_0.jpg\nIMG_0 1 2\n"
    write_text(root / "train.txt", lines)
    report, _ = validate(root, "nwpu", capsys, "--fix", tmp_path / "copy", code=1)
    assert report["kinds"]["name without photo"] == 2
    copied = (tmp_path / "copy" / "train.txt").read_text()
    assert copied == "scene.1 1 2\nscene 1 2\nscene.2 1 2\nimages/IMG_0.jpg\n"
    validate(tmp_path / "copy", "nwpu", capsys, code=0)


def test_the_copy_goes_to_a_new_folder_outside_the_set(tmp_path, capsys):
    root = write_set(tmp_path / "set", "qnrf")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for folder in (root / "copy", root, tmp_path / "full", tmp_path / "full" / "mine.txt"):
        validate(root, "qnrf", capsys, "--fix", folder, code=2)
    assert sorted(path.name for path in (tmp_path / "full").iterdir()) == ["mine.txt"]
    assert not (root / "copy").exists()
    assert not list(tmp_path.rglob(".part-*"))


def test_workers_find_the_same(tmp_path, capsys):
    root = tmp_path / "set"
    write_split(root, "qnrf", "train", {f"{i}": POINTS + 99 * (i == 7) for i in range(34)})
    one, _ = validate(root, "qnrf", capsys, code=1)
    two, _ = validate(root, "qnrf", capsys, "--workers", 2, code=1)
    assert one == two
    assert found(one) == {("points outside", "Train/7.jpg")}
