"""Synthetic scenes: points are the heads that can be seen, and a set can be made again."""

import numpy as np
import pytest

from crowd.annotations import find_photos, read_points
from crowd.data.images import read_image
from crowd.io.errors import InputError
from crowd.synthetic import LAYOUTS, make_dataset
from crowd.synthetic.__main__ import main
from crowd.synthetic.domains import DOMAINS
from crowd.synthetic.scene import (
    HEAD,
    OVERSAMPLING,
    VISIBLE_SHARE,
    View,
    compose_scene,
    draw_person,
    render_scene,
)

SMALL = (200, 160)


def photos_and_points(root, layout):
    return {
        split: [(read_image(photo), read_points(photo, layout)) for photo in photos]
        for split, photos in find_photos(root, layout).items()
    }


VIEW = View(240, 200, horizon=-40.0, nearest=30.0)


def compose(people):
    """Scene of people on always the same ground, in the same light and noise."""
    return compose_scene(np.random.default_rng(0), DOMAINS["a"], VIEW, people)


def someone(column, row, seed=0):
    """Person whose head is at a place of the photo."""
    person = draw_person(np.random.default_rng(seed), DOMAINS["a"], *VIEW.to_ground(column, row))
    return person._replace(size=1.0)


def test_points_are_the_heads_of_which_enough_is_left_in_the_composite():
    rng = np.random.default_rng(4)
    crowd = [someone(*rng.uniform((90, 60), (150, 160)), i) for i in range(24)]
    crowd.sort(key=lambda person: -person.z)
    together = compose(crowd)
    alone = [compose([person]) for person in crowd]
    seen = [(together.head_map == number).sum() for number in range(1, len(crowd) + 1)]
    share = np.array(seen) / [one.head_map.sum() for one in alone]
    found = np.array([(one.points == together.points).all(axis=1).any() for one in alone])
    # A drawn ellipse has up to a row of pixels around it more than its formula.
    assert found[share > VISIBLE_SHARE + 0.05].all()
    assert not found[share < VISIBLE_SHARE - 0.05].any()
    assert 2 < found.sum() == len(together.points) < len(crowd) - 2


def test_a_point_is_the_centre_of_its_head():
    for column, row in ((120.3, 30.9), (80.0, 77.5), (200.1, 150.2)):
        alone = compose([someone(column, row)])
        np.testing.assert_allclose(alone.points, [[column, row]], rtol=1e-6)
        rows, columns = np.nonzero(alone.head_map)
        centroid = (np.array([columns.mean(), rows.mean()]) + 0.5) / OVERSAMPLING
        np.testing.assert_allclose(centroid, (column, row), atol=0.5 / OVERSAMPLING)
        size = VIEW.diameter(row) * OVERSAMPLING
        area, around = np.pi * HEAD[0] * HEAD[1] * size**2, 2 * np.pi * HEAD[1] * size
        assert abs(len(rows) - area) < around


def test_a_head_whose_centre_is_outside_gets_no_point():
    assert len(compose([someone(0.5, 100)]).points) == 1
    outside = compose([someone(-0.5, 100)])
    assert len(outside.points) == 0
    assert outside.head_map.any()


@pytest.mark.parametrize("domain", DOMAINS)
@pytest.mark.parametrize(("size", "scenes"), [((131, 97), 8), ((64, 64), 40)])
def test_any_scene_is_a_photo_with_points_on_its_heads(domain, size, scenes):
    hits = []
    for index in range(scenes):
        made = render_scene(index, domain, index, size=size)
        assert made.image.shape == (*size[::-1], 3)
        assert made.image.dtype == np.uint8
        assert made.image.std() > 2
        assert ((made.points > 0) & (made.points < size)).all()
        columns, rows = (OVERSAMPLING * made.points).astype(int).T
        hits += (made.head_map[rows, columns] > 0).tolist()
    assert np.mean(hits) > 0.8


def test_a_scene_depends_on_its_key_alone():
    first, again = (render_scene(9, "a", 4, size=SMALL) for _ in range(2))
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.points, again.points)
    for other in ((10, "a", 4), (9, "b", 4), (9, "a", 5), (9, "a", 4, "test")):
        assert not np.array_equal(first.image, render_scene(*other, size=SMALL).image)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_points_are_read_back_exactly_whatever_the_size_of_the_set(tmp_path, layout):
    options = "--images 2 --test-images 2 --seed 1 --domain b --width 200 --height 160"
    main(["--root", str(tmp_path), "--layout", layout, *options.split()])
    found = photos_and_points(tmp_path, layout)
    assert {split: len(photos) for split, photos in found.items()} == {"train": 2, "test": 2}
    for split, photos in found.items():
        for index, (image, points) in enumerate(photos):
            made = render_scene(1, "b", index, split, SMALL)
            assert points.dtype == np.float32
            np.testing.assert_array_equal(points, made.points)
            # JPEG changes pixels a little, never the picture.
            assert np.abs(image.astype(int) - made.image).mean() < 12


def test_a_second_call_writes_nothing_and_an_interrupted_one_is_completed(tmp_path):
    make_dataset(tmp_path, "qnrf", 2, 0, "a", size=SMALL)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    before = {path: path.stat().st_mtime_ns for path in files}
    gone = tmp_path / "Train" / "img_0002_ann.mat"
    points = photos_and_points(tmp_path, "qnrf")["train"][1][1]
    make_dataset(tmp_path, "qnrf", 2, 0, "a", size=SMALL)
    assert {path: path.stat().st_mtime_ns for path in files} == before
    gone.unlink()
    make_dataset(tmp_path, "qnrf", 2, 0, "a", size=SMALL)
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == files
    np.testing.assert_array_equal(photos_and_points(tmp_path, "qnrf")["train"][1][1], points)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "another synthetic set"),
        ({"domain": "b"}, "another synthetic set"),
        ({"layout": "sht"}, "another synthetic set"),
        ({"size": (160, 200)}, "another synthetic set"),
        ({"images": 1}, "more photos than were asked for"),
    ],
)
def test_a_folder_holds_one_set(tmp_path, change, message):
    arguments = {"layout": "qnrf", "images": 2, "seed": 0, "domain": "a", "size": SMALL}
    make_dataset(tmp_path, **arguments)
    with pytest.raises(InputError, match=message):
        make_dataset(tmp_path, **(arguments | change))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"layout": "voc"}, "qnrf, sht"),
        ({"domain": "c"}, "a, b"),
        ({"images": -1}, "negative"),
        ({"seed": -1}, "negative"),
        ({"size": (10, 10)}, "too small"),
    ],
)
def test_bad_arguments_are_named_before_anything_is_written(tmp_path, change, word):
    arguments = {"layout": "qnrf", "images": 1, "seed": 0, "domain": "a", **change}
    with pytest.raises(InputError, match=word):
        make_dataset(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
