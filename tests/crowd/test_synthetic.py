"""Synthetic scenes: points are the heads that can be seen, and a set can be made again."""

from dataclasses import replace

import numpy as np
import pytest

from crowd.annotations import find_photos, read_points
from crowd.data.images import read_image
from crowd.io.errors import InputError
from crowd.synthetic import LAYOUTS, make_dataset
from crowd.synthetic.__main__ import main
from crowd.synthetic.ground import DOMAINS, HEAD_DIAMETER, Background, Camera
from crowd.synthetic.scene import VISIBLE_SHARE, compose_scene, draw_appearance, render_scene

SMALL = (200, 160)


def photos_and_points(root, layout):
    return {
        split: [(read_image(photo), read_points(photo, layout)) for photo in photos]
        for split, photos in find_photos(root, layout).items()
    }


def compose(crowd, camera):
    """Scene of people on an empty plane, always with the same light and noise."""
    planes = np.full((3, camera.height, camera.width), 0.5, np.float32)
    depth = np.full(camera.height, 10.0, np.float32)
    rng = np.random.default_rng(0)
    return compose_scene(rng, DOMAINS["a"], camera, Background(planes, depth), crowd)


def level_camera(width=240, height=200):
    """Camera at the height of everyone's head, so that people in line hide each other."""
    return Camera(width, height, focal=400.0, pitch=0.0, elevation=1.6)


def someone(seed=0, size=1.0):
    person = draw_appearance(np.random.default_rng(seed), DOMAINS["a"])
    return replace(person, size=size, facing=0.0, stride=0.0)


def test_points_are_the_heads_of_which_enough_is_left_in_the_composite():
    rng = np.random.default_rng(4)
    camera = level_camera()
    crowd = [(someone(i), rng.uniform(-0.8, 0.8), rng.uniform(4.0, 9.0)) for i in range(14)]
    crowd.sort(key=lambda entry: -entry[2])
    together = compose(crowd, camera)
    alone = np.array([(compose([one], camera).head_map == 1).sum() for one in crowd])
    seen = np.array([(together.head_map == i + 1).sum() for i in range(len(crowd))])
    expected = np.flatnonzero(seen >= VISIBLE_SHARE * alone)
    assert 2 < len(expected) < len(crowd)
    points = np.concatenate([compose([crowd[i]], camera).points for i in expected])
    np.testing.assert_array_equal(together.points, points)


def test_a_point_is_the_centre_of_its_head():
    camera = level_camera()
    for x, z in ((0.013, 4.0), (-0.31, 5.3), (0.4, 8.7), (0.11, 14.0)):
        alone = compose([(someone(), x, z)], camera)
        rows, columns = np.nonzero(alone.head_map)
        centroid = columns.mean() + 0.5, rows.mean() + 0.5
        np.testing.assert_allclose(alone.points[0], centroid, atol=0.3)
        area = np.pi / 4 * (HEAD_DIAMETER * camera.project(x, z, 1.6)[2]) ** 2
        assert len(rows) == pytest.approx(area, rel=0.2)


def test_a_head_whose_centre_is_outside_gets_no_point():
    camera = level_camera()
    edge = camera.width / 2 / 400 * 4.0
    assert len(compose([(someone(), edge - 0.01, 4.0)], camera).points) == 1
    outside = compose([(someone(), edge + 0.01, 4.0)], camera)
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
        columns, rows = made.points.astype(int).T
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
