"""What points are: whose pixels, which units, which order; asked where a set leaves it open."""

import json

import numpy as np
import pytest
import yaml

from crowd.annotations import read_points
from crowd.data.layouts.points import PointConvention, look, stored_points
from crowd.data.layouts.survey import survey
from crowd.io.errors import InputError
from crowd.validate import main as validate
from mgot.fidt import main as fidt
from preprocess_dataset_ucf import main as preprocess
from tests.crowd.sets import (
    SIZE,
    assert_heads_are_white,
    options,
    read_photo,
    refused,
    run,
    write_photo,
    write_table,
    write_text,
    written_heads,
)

COMMANDS = {"preprocess": preprocess, "fidt": fidt}

HEADS = [[3.5, 4.25], [20.0, 30.5], [40.0, 8.0], [60.5, 40.5], [55.0, 20.0], [62.0, 2.0]]


def stored(orientation):
    """The heads in pixels of the photo as it is stored."""
    return stored_points(np.array(HEADS), orientation, *SIZE)


def write_set(root, layout, orientation=1, points=HEADS):
    """Four photos with a white pixel at each of the heads, and what the table says of each."""
    names = [f"{number}.png" for number in range(4)]
    for number, name in enumerate(names):
        write_photo(root / name, SIZE, orientation, HEADS, seed=number)
    write_table(root, layout, dict.fromkeys(names, points))
    return root


def assert_heads(out):
    heads = written_heads(out)
    assert len(heads) == 4
    for points in heads.values():
        np.testing.assert_allclose(points, HEADS, atol=1e-3)
    assert_heads_are_white(out)


def clean_copy(root, layout, *more, code=0):
    """Validate a set, and write the copy, which must be clean."""
    copy = root.parent / "copy"
    run(validate, root, "--layout", layout, "--workers", 0, "--fix", copy, *more, code=code)
    run(validate, copy, "--layout", layout)
    return copy


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("layout", ["csv", "json"])
@pytest.mark.parametrize("orientation", [3, 6])
def test_points_of_rotated_photos_are_a_question(tmp_path, command, layout, orientation, capsys):
    root = write_set(tmp_path / "set", layout, orientation)
    said = refused(capsys, COMMANDS[command], *options(root, layout))
    assert "4 photos with points are rotated by EXIF" in said
    assert "--points upright" in said
    assert "--points stored" in said
    assert "24 of 24 points lie in the upright photos" in said
    assert not (tmp_path / "out").exists()
    COMMANDS[command](options(root, layout, "--points", "upright"))
    assert_heads(tmp_path / "out")


@pytest.mark.parametrize("orientation", range(2, 9))
def test_stored_and_upright_points_come_to_the_same(tmp_path, orientation):
    write_set(tmp_path / "stored", "csv", orientation, stored(orientation))
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
    assert "--points upright" in refused(capsys, validate, *given, "--fix", tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    kinds = json.loads(report.read_text())["kinds"]
    found = {kind for kind, number in kinds.items() if number}
    assert found == {"points in doubt", "rotated by EXIF"}
    copy = clean_copy(root, "csv", "--points", "upright", code=1)
    image, points = read_photo(copy / "0.png", "csv")
    np.testing.assert_allclose(points, HEADS)
    assert all(image[int(y), int(x)].min() > 240 for x, y in points)


def write_jhu(root, heads):
    for number, name in enumerate(("train/0", "train/1", "val/2", "val/3")):
        photo = root / name.replace("/", "/images/")
        write_photo(photo.with_suffix(".png"), SIZE, 6, HEADS, seed=number)
        rows = "".join(f"{x} {y} 10 20 0 0\n" for x, y in heads)
        write_text(root / f"{name.replace('/', '/gt/')}.txt", rows)
    return root


def test_public_sets_keep_points_of_the_photo_as_stored_and_say_so(tmp_path, capsys):
    preprocess(options(write_jhu(tmp_path / "set", stored(6)), "jhu"))
    said = "4 photos are rotated by EXIF; their points are taken as those of the photo as stored"
    assert said in capsys.readouterr().out
    assert_heads(tmp_path / "out")
    heights = np.load(tmp_path / "out" / "train" / "0.npy")[:, 2]
    assert heights.tolist() == [10.0] * len(HEADS)  # the width of the photo that lies on its side


def test_public_sets_whose_points_are_upright_are_a_question(tmp_path, capsys):
    root = write_jhu(tmp_path / "set", HEADS)
    said = refused(capsys, preprocess, *options(root, "jhu"))
    assert "do not look like those of the photo as stored" in said
    preprocess(options(root, "jhu", "--points", "upright"))
    assert_heads(tmp_path / "out")
    assert np.load(tmp_path / "out" / "train" / "0.npy")[:, 2].tolist() == [20.0] * len(HEADS)
    copied = clean_copy(root, "jhu", "--points", "upright", code=1) / "train" / "images" / "0.png"
    np.testing.assert_allclose(read_points(copied, "jhu"), HEADS)
    assert look(copied, "jhu").boxes().tolist() == [[10.0, 20.0]] * len(HEADS)


ROWS = np.array(HEADS)[:, ::-1]
QUESTIONS = {
    "look like fractions": (np.array(HEADS) / SIZE, "--point-units", "fraction", "pixels"),
    "look like (row, column): 12 of 24": (ROWS, "--point-order", "row-col", "xy"),
}


@pytest.mark.parametrize("make", COMMANDS)
@pytest.mark.parametrize("layout", ["csv", "json"])
@pytest.mark.parametrize("question", QUESTIONS)
def test_fractions_and_rows_before_columns_are_questions(tmp_path, make, layout, question, capsys):
    points, switch, right, wrong = QUESTIONS[question]
    root, make = write_set(tmp_path / "set", layout, points=points), COMMANDS[make]
    checked = [root, "--layout", layout, "--fix", tmp_path / "copy"]
    for command, given in ((make, options(root, layout)), (validate, checked)):
        said = refused(capsys, command, *given)
        assert question in said
        assert f"{switch} {right}" in said
    assert not (tmp_path / "out").exists()
    make(options(root, layout, switch, right))
    assert_heads(tmp_path / "out")
    make(options(root, layout, switch, wrong))
    inside = points[((points >= 0) & (points <= SIZE)).all(1)]
    for written in written_heads(tmp_path / "out").values():
        np.testing.assert_allclose(written, inside, rtol=1e-5)
    copied = clean_copy(root, layout, switch, right) / "0.png"
    np.testing.assert_allclose(read_points(copied, layout), HEADS, rtol=1e-5)


def test_percents_on_larger_photos_are_a_question(tmp_path, capsys):
    heads = np.array([[20.5, 30.5], [200.5, 140.5], [310.5, 10.5], [150.5, 230.5]])
    size, root = (320, 240), tmp_path / "set"
    for number in range(4):
        write_photo(root / f"{number}.png", size, 1, heads, seed=number)
    write_table(root, "csv", {f"{number}.png": 100 * heads / size for number in range(4)})
    big = ["--min-size", 240, "--max-size", 320]
    assert "look like percents" in refused(capsys, preprocess, *options(root, "csv", *big))
    preprocess(options(root, "csv", *big, "--point-units", "percent"))
    for points in written_heads(tmp_path / "out").values():
        np.testing.assert_allclose(points, heads, rtol=1e-5)


def test_points_that_lie_nowhere_are_refused_though_switches_are_given(tmp_path, capsys):
    root = write_set(tmp_path / "set", "csv")
    said = refused(capsys, preprocess, *options(root, "csv", "--point-units", "fraction"))
    assert "24 of 24 points lie outside their photos" in said


def test_settings_of_points_are_recorded_and_make_files_out_of_date(tmp_path, capsys):
    root = write_set(tmp_path / "set", "csv", 6, [[20.5, 30.5], [30.5, 8.5]])
    preprocess(options(root, "csv", "--points", "upright"))
    config = tmp_path / "out" / "preprocess.yml"
    settings = yaml.safe_load(config.read_text())
    assert settings["points"] == "upright"
    assert settings["point_units"] is settings["point_order"] is settings["label"] is None
    capsys.readouterr()
    for how, said in (
        (["--points", "upright"], "4 were up to date"),
        (["--points", "stored"], "4 photos written"),
        (["--config", config], "4 were up to date"),
    ):
        preprocess(options(root, "csv", *how))
        assert said in capsys.readouterr().out


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
