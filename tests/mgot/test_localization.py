"""mgot.localization: files of points, their scores, bad input."""

import json
import re

import numpy as np
import pytest

from mgot.localization import (
    PREDICTED,
    main,
    read_points_file,
    read_predictions,
    write_points_file,
)

ANNOTATION = "1 2 10 10 4 8 1 50 50 4 8 1\n2 0\n7 1 5.5 -3 2 4 0\n"
PREDICTION = "7 1 5.5 -3\n1 3 13 10 50 57 90 90\n\n2 0\n"


def write(tmp_path, annotation=ANNOTATION, prediction=PREDICTION):
    paths = tmp_path / "gt.txt", tmp_path / "pred.txt"
    for path, text in zip(paths, (annotation, prediction), strict=True):
        path.write_text(text)
    return paths


def options(paths):
    return ["--ground_truth", str(paths[0]), "--predictions", str(paths[1])]


def test_written_points_come_back_as_the_pixels_that_they_lie_in(tmp_path):
    points = [np.array([[0.5, 1.5], [1234567.5, 7.5]]), np.zeros((0, 2)), np.array([[3.25, 4]])]
    write_points_file(tmp_path / "points.txt", points)
    read = read_points_file(tmp_path / "points.txt", PREDICTED)
    assert list(read) == [1, 2, 3]
    for one, expected in zip(read.values(), points, strict=True):
        np.testing.assert_array_equal(one, np.floor(expected))


def test_both_forms_of_one_prediction_lie_at_the_same_places(tmp_path):
    heads = np.array([[14.5, 10.5], [0.5, 3.5]])
    write_points_file(tmp_path / "points.txt", [heads])
    rows = "".join(f"a.jpg,{x},{y},1\n" for x, y in heads)
    (tmp_path / "points.csv").write_text(f"image,x,y,confidence\n{rows}")
    (tmp_path / "counts.csv").write_text("name,count\na.jpg,2\n")
    for name in ("points.txt", "points.csv"):
        np.testing.assert_array_equal(read_predictions(tmp_path / name)[1], [[14, 10], [0, 3]])


def test_scores_of_a_small_set(tmp_path, capsys):
    main([*options(write(tmp_path)), "--output", str(tmp_path)])
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["mae"] == pytest.approx(1 / 3)
    assert metrics["rmse"] == pytest.approx(3**-0.5)
    small, large = metrics["localization"].values()
    assert (small["tp"], small["fp"], small["fn"]) == (2, 2, 1)
    assert (large["tp"], large["fp"], large["fn"]) == (3, 1, 0)
    printed = capsys.readouterr().out
    for figure in ("0.33", "0.58", "57.14%", "85.71%", "50.00%", "75.00%"):
        assert figure in printed


def test_points_of_counted_photos_are_numbered_by_name(tmp_path, failure):
    annotated = tmp_path / "gt.txt"
    annotated.write_text("1 1 10 10 4 8 1\n2 0\n3 1 50 50 4 8 1\n")
    table = "image,x,y,confidence\nIMG_1.jpg,13,10,0.9\nIMG_2.jpg,50,57,0.9\n"
    paths = annotated, tmp_path / "points.csv"
    paths[1].write_text(table)
    (tmp_path / "counts.csv").write_text("name,count\nIMG_1.jpg,1.4\nIMG_10.jpg,0\nIMG_2.jpg,1\n")
    main([*options(paths), "--output", str(tmp_path / "out")])
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics["localization"]["small radius"]["tp"] == 1
    assert metrics["localization"]["large radius"]["tp"] == 2
    assert metrics["mae"] == 0
    for row, words in (
        ("IMG_1.jpg,x,2,1", "line 4"),
        ("IMG_1.jpg,nan,2,1", r"points\.csv holds numbers that are not finite"),
        ("IMG_1.jpg", "line 4"),
        ("IMG_9.jpg,1,2,1", "line 4"),
    ):
        paths[1].write_text(f"{table}{row}\n")
        assert re.search(words, failure(main, *options(paths)))


def test_figures_that_do_not_exist_are_null(tmp_path):
    paths = write(tmp_path, "1 0\n2 0\n", "1 0\n2 1 3 4\n")
    main([*options(paths), "--output", str(tmp_path / "out")])

    def refuse(token):
        raise AssertionError(f"{token} is no JSON")

    metrics = json.loads((tmp_path / "out/metrics.json").read_text(), parse_constant=refuse)
    assert metrics["nae"] is None
    assert metrics["mae"] == 0.5


@pytest.mark.parametrize(
    ("which", "text", "says"),
    [
        (0, "1 2 10 10 4 8 1\n", "gt.txt, line 1"),
        (0, ANNOTATION + "3 x\n", "gt.txt, line 4"),
        (0, ANNOTATION + "7 0\n", "repeats photo 7"),
        (0, "1 1 3 nan 4 8 1\n", "not finite"),
        (0, "1 1 3 3 -4 8 1\n", "negative radii"),
        (0, "\n", "holds no photos"),
        (1, "1 0\n2 0\n", "photo 7 is in one of"),
        (1, PREDICTION + "8 0\n", "photo 8 is in one of"),
        (1, "1 -1 3 4\n", "pred.txt, line 1"),
    ],
)
def test_bad_files_are_named(tmp_path, failure, which, text, says):
    paths = write(tmp_path, **{("annotation", "prediction")[which]: text})
    assert says in failure(main, *options(paths))


def test_missing_and_binary_files(tmp_path, failure):
    paths = write(tmp_path)
    paths[1].write_bytes(b"\xff\xfe\x00")
    assert "pred.txt is not readable as UTF-8 text" in failure(main, *options(paths))
    paths[0].unlink()
    assert "gt.txt does not exist" in failure(main, *options(paths))
