"""What points are: whose pixels, which units, which order; asked where a set leaves it open."""

import csv
import importlib
import json

import numpy as np
import pytest
import scipy.io
import yaml
from PIL import Image

from crowd.annotations import read_box_sizes, read_photo, read_points, upright_points
from crowd.data.layouts.points import PointConvention
from crowd.data.layouts.survey import survey
from crowd.io.errors import InputError
from crowd.validate import main as validate
from mgot.fidt import main as fidt
from tests.crowd.tool_files import SIZE, write_photo

preprocess = importlib.import_module("preprocess_dataset_ucf").main
COMMANDS = {"preprocess": preprocess, "fidt": fidt}

HEADS = [[3.5, 4.25], [20.0, 30.5], [40.0, 8.0], [60.5, 40.5], [55.0, 20.0], [62.0, 2.0]]


def stored(points, orientation, size=SIZE):
    """Points of the upright photo, as those of the photo as it is stored."""
    width, height = size if orientation < 5 else size[::-1]
    inverse = {6: 8, 8: 6}.get(orientation, orientation)
    return upright_points(np.array(points, float), inverse, width, height).tolist()


def write_table(root, layout, sets):
    if layout == "json":
        (root / "annotations.json").write_text(json.dumps(sets))
        return
    with open(root / "annotations.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "x", "y"])
        rows.writerows([name, x, y] for name, points in sets.items() for x, y in points)


def write_set(root, layout, orientation=1, change=list, heads=HEADS):
    """Four photos with a white pixel at each of the heads; their points as `change` makes them."""
    names = [f"{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        write_photo(root / name, SIZE, orientation, heads, seed=number)
    write_table(root, layout, dict.fromkeys(names, change(heads)))
    return root


def arguments(root, layout, *more):
    out = root.parent / "out"
    given = ["--input-dataset-path", root, "--output-dataset-path", out, "--layout", layout]
    given += ["--min-size", 48, "--max-size", 64, "--workers", 0, *more]
    return [str(one) for one in given]


def refused(capsys, command, given):
    with pytest.raises(SystemExit) as stop:
        command([str(one) for one in given])
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2
    assert said.startswith("error: ")
    return said


def assert_heads(out, heads=HEADS):
    photos = sorted(out.glob("*/*.jpg"))
    assert len(photos) == 4
    for photo in photos:
        points = np.load(photo.with_suffix(".npy"))[:, :2]
        np.testing.assert_allclose(points, heads, atol=1e-3)
        with Image.open(photo) as image:
            grey = np.asarray(image.convert("L")).astype(int)
        assert grey.shape == (48, 64)
        assert min(grey[int(y), int(x)] for x, y in points) > 150


def clean_copy(root, layout, *more):
    """Validate a set that only has notes, and write the copy, which must be clean."""
    copy = root.parent / "copy"
    given = [root, "--layout", layout, "--workers", 0, "--fix", copy, *more]
    with pytest.raises(SystemExit) as stop:
        validate([str(one) for one in given])
    assert stop.value.code == 1
    validate([str(copy), "--layout", layout])


def test_the_inverse_of_an_orientation_is_one():
    for orientation in range(1, 9):
        points = stored(HEADS, orientation)
        np.testing.assert_allclose(upright_points(np.array(points), orientation, *SIZE), HEADS)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("layout", ["csv", "json"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_points_of_rotated_photos_are_a_question(tmp_path, command, layout, orientation, capsys):
    root = write_set(tmp_path / "set", layout, orientation)
    said = refused(capsys, COMMANDS[command], arguments(root, layout))
    assert "4 photos with points are rotated by EXIF" in said
    assert "--points upright" in said
    assert "--points stored" in said
    assert "24 of 24 points lie in the upright photos" in said
    assert not (tmp_path / "out").exists()
    COMMANDS[command](arguments(root, layout, "--points", "upright"))
    assert_heads(tmp_path / "out")


@pytest.mark.parametrize("orientation", range(2, 9))
def test_stored_and_upright_points_come_to_the_same(tmp_path, orientation):
    write_set(tmp_path / "stored", "csv", orientation, lambda heads: stored(heads, orientation))
    write_set(tmp_path / "upright", "csv", orientation)
    for picture in ("stored", "upright"):
        convention = PointConvention(points=picture)
        image, points = read_photo(tmp_path / picture / "1.png", "csv", convention=convention)
        np.testing.assert_allclose(points, HEADS)
        assert all(image[int(y), int(x)].min() == 255 for x, y in points)
    with pytest.raises(InputError, match="say --points upright"):
        read_photo(tmp_path / "stored" / "1.png", "csv")


def test_the_validator_finds_the_question_and_the_copy_waits_for_the_answer(tmp_path, capsys):
    root = write_set(tmp_path / "set", "csv", orientation=6)
    report = tmp_path / "report.json"
    given = [root, "--layout", "csv", "--workers", 0, "--output", report]
    said = refused(capsys, validate, [*given, "--fix", tmp_path / "copy"])
    assert "--points upright" in said
    assert not (tmp_path / "copy").exists()
    kinds = json.loads(report.read_text())["kinds"]
    assert {kind for kind, number in kinds.items() if number} == {
        "points in doubt",
        "rotated by EXIF",
    }
    clean_copy(root, "csv", "--points", "upright")
    image, points = read_photo(tmp_path / "copy" / "0.png", "csv")
    np.testing.assert_allclose(points, HEADS)
    assert all(image[int(y), int(x)].min() > 240 for x, y in points)


def write_jhu(root, orientation, heads):
    for number in range(2):
        for seed, split in enumerate(("train", "val")):
            photo = root / split / "images" / f"{number}.png"
            write_photo(photo, SIZE, orientation, HEADS, seed=10 * seed + number)
            rows = "".join(f"{x} {y} 10 20 0 0\n" for x, y in heads)
            (root / split / "gt").mkdir(exist_ok=True)
            (root / split / "gt" / f"{number}.txt").write_text(rows)
    return root


def test_public_sets_keep_points_of_the_photo_as_stored_and_say_so(tmp_path, capsys):
    root = write_jhu(tmp_path / "set", 6, stored(HEADS, 6))
    preprocess(arguments(root, "jhu"))
    printed = capsys.readouterr().out
    assert (
        "4 photos are rotated by EXIF; their points are taken as those of the photo as" in printed
    )
    assert_heads(tmp_path / "out")
    heights = np.load(tmp_path / "out" / "train" / "0.npy")[:, 2]
    assert heights.tolist() == [10.0] * len(HEADS)  # the width of the photo that lies on its side


def test_public_sets_whose_points_are_upright_are_a_question(tmp_path, capsys):
    root = write_jhu(tmp_path / "set", 6, HEADS)
    said = refused(capsys, preprocess, arguments(root, "jhu"))
    assert "do not look like those of the photo as stored" in said
    preprocess(arguments(root, "jhu", "--points", "upright"))
    assert_heads(tmp_path / "out")
    assert np.load(tmp_path / "out" / "train" / "0.npy")[:, 2].tolist() == [20.0] * len(HEADS)
    clean_copy(root, "jhu", "--points", "upright")
    copied = tmp_path / "copy" / "train" / "images" / "0.png"
    np.testing.assert_allclose(read_points(copied, "jhu"), HEADS)
    assert read_box_sizes(copied).tolist() == [[10.0, 20.0]] * len(HEADS)


UNITS = {
    "fraction": lambda heads: (np.array(heads) / SIZE).tolist(),
    "percent": lambda heads: (100 * np.array(heads) / SIZE).tolist(),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("layout", ["csv", "json"])
def test_fractions_are_a_question(tmp_path, command, layout, capsys):
    root = write_set(tmp_path / "set", layout, change=UNITS["fraction"])
    said = refused(capsys, COMMANDS[command], arguments(root, layout))
    assert "look like fractions" in said
    assert "--point-units fraction" in said
    assert not (tmp_path / "out").exists()
    copy = tmp_path / "copy"
    said = refused(capsys, validate, [root, "--layout", layout, "--fix", copy])
    assert "--point-units fraction" in said
    COMMANDS[command](arguments(root, layout, "--point-units", "fraction"))
    assert_heads(tmp_path / "out")
    COMMANDS[command](arguments(root, layout, "--point-units", "pixels"))
    (pixels,) = {np.load(path)[0, 1].item() for path in (tmp_path / "out").glob("*/*.npy")}
    np.testing.assert_allclose(pixels, HEADS[0][1] / SIZE[1], rtol=1e-5)


def test_percents_on_larger_photos_are_a_question(tmp_path, capsys):
    heads = [[20.5, 30.5], [200.5, 140.5], [310.5, 10.5], [150.5, 230.5]]
    size = np.array([320, 240])
    root = tmp_path / "set"
    for number in range(4):
        write_photo(root / f"{number}.png", (320, 240), 1, heads, seed=number)
    percents = (100 * np.array(heads) / size).tolist()
    write_table(root, "csv", {f"{number}.png": percents for number in range(4)})
    big = ["--min-size", 240, "--max-size", 320]
    said = refused(capsys, preprocess, arguments(root, "csv", *big))
    assert "look like percents" in said
    preprocess(arguments(root, "csv", *big, "--point-units", "percent"))
    for path in (tmp_path / "out").glob("*/*.npy"):
        np.testing.assert_allclose(np.load(path)[:, :2], heads, rtol=1e-5)
    clean_copy_of(root, tmp_path / "copy", "--point-units", "percent")
    np.testing.assert_allclose(read_points(tmp_path / "copy" / "0.png", "csv"), heads, rtol=1e-5)


def clean_copy_of(root, copy, *more):
    validate([str(one) for one in (root, "--layout", "csv", "--fix", copy, *more)])
    validate([str(copy), "--layout", "csv"])


@pytest.mark.parametrize("command", COMMANDS)
def test_rows_before_columns_are_a_question(tmp_path, command, capsys):
    root = write_set(tmp_path / "set", "csv", change=lambda heads: [head[::-1] for head in heads])
    said = refused(capsys, COMMANDS[command], arguments(root, "csv"))
    assert "look like (row, column): 12 of 24 lie outside" in said
    assert "--point-order row-col" in said
    assert not (tmp_path / "out").exists()
    COMMANDS[command](arguments(root, "csv", "--point-order", "row-col"))
    assert_heads(tmp_path / "out")
    COMMANDS[command](arguments(root, "csv", "--point-order", "xy"))
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-3:-1]]
    assert sum(int(row[-2]) for row in rows) == 12
    clean_copy_of(root, tmp_path / "copy", "--point-order", "row-col")
    np.testing.assert_allclose(read_points(tmp_path / "copy" / "0.png", "csv"), HEADS)


def test_public_sets_are_asked_the_same(tmp_path, capsys):
    root = tmp_path / "set"
    for number in range(4):
        photo = write_photo(root / "Train" / f"{number}.png", SIZE, 1, HEADS, seed=number)
        points = [[y / SIZE[1], x / SIZE[0]] for x, y in HEADS]
        scipy.io.savemat(photo.with_name(f"{number}_ann.mat"), {"annPoints": points})
    assert "look like fractions" in refused(capsys, preprocess, arguments(root, "qnrf"))
    switches = ("--point-units", "fraction", "--point-order", "row-col")
    preprocess(arguments(root, "qnrf", *switches))
    assert_heads(tmp_path / "out")
    validate(
        [str(one) for one in (root, "--layout", "qnrf", "--fix", tmp_path / "copy", *switches)]
    )
    copied = tmp_path / "copy" / "Train" / "0.png"
    np.testing.assert_allclose(read_points(copied, "qnrf"), HEADS, atol=1e-4)


def test_points_that_lie_nowhere_are_refused_though_switches_are_given(tmp_path, capsys):
    root = write_set(tmp_path / "set", "csv")
    said = refused(capsys, preprocess, arguments(root, "csv", "--point-units", "fraction"))
    assert "24 of 24 points lie outside their photos" in said


def test_settings_of_points_are_recorded_and_make_files_out_of_date(tmp_path, capsys):
    root = write_set(tmp_path / "set", "csv", orientation=6, heads=[[20.5, 30.5], [30.5, 8.5]])
    preprocess(arguments(root, "csv", "--points", "upright"))
    settings = yaml.safe_load((tmp_path / "out" / "preprocess.yml").read_text())
    assert settings["points"] == "upright"
    assert settings["point_units"] is settings["point_order"] is settings["label"] is None
    capsys.readouterr()
    preprocess(arguments(root, "csv", "--points", "upright"))
    assert "4 were up to date" in capsys.readouterr().out
    preprocess(arguments(root, "csv", "--points", "stored"))
    assert "4 photos written" in capsys.readouterr().out
    preprocess(["--config", str(tmp_path / "out" / "preprocess.yml"), *arguments(root, "csv")])
    assert "4 were up to date" in capsys.readouterr().out


@pytest.mark.parametrize(
    "points",
    [
        [[0, 0], [1, 1], [1, 0]],  # pixels of the corner
        [[10.5, 12.5], [63.9, 47.9]],
        [[10, 60], [20, 30], [40, 8], [60, 40]],  # one stray point
        [[2, 1]],
        [],
    ],
)
def test_plain_pixels_are_no_question(tmp_path, points):
    photo = write_photo(tmp_path / "a.png")
    write_table(tmp_path, "json", {"a.png": points})
    assert survey([photo], "json", PointConvention()).questions == []
