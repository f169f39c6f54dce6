"""Counting within a region: polygons and masks, rotated photos, people per square metre."""

import json
import re

import numpy as np
import pytest
from PIL import Image

import test as gst_test
from crowd.count.photos import Seen, count_folder, count_photo
from crowd.count.region import cell_shares, polygon_mask, read_region
from crowd.count.video import count_video
from crowd.data.network_input import Preprocessing
from crowd.io.errors import InputError
from mgot import test as mgot_test
from tests.conftest import oriented, rows
from tests.crowd.test_counting import STORED, write_photos, write_video

HALF = [[0, 0], [32, 0], [32, 48], [0, 48]]  # the left half of a photo of 64 × 48


def write_region(path, content):
    path.write_text(json.dumps(content))
    return path


def write_mask(path, inside, mode="L"):
    Image.fromarray(np.uint8(inside) * 255).convert(mode).save(path)
    return path


def one_a_cell(image, name):
    """A head in the middle of each cell of 8 pixels, and the density of one person in each."""
    height, width = (side // 8 for side in image.shape[:2])
    heads = 8 * (np.indices((width, height)).reshape(2, -1).T + 0.5)
    sure = np.full(len(heads), 0.5)
    return Seen(float(width * height), image.copy(), heads, sure, np.ones((height, width)))


def in_region(sentence):
    return float(re.match(r"([\d.]+) people in the region", sentence)[1])


@pytest.mark.parametrize("angle", [0.0, 0.3, 1.1])
def test_a_polygon_marks_the_pixels_whose_centre_it_encloses(angle):
    ways = np.arange(5) * 4 * np.pi / 5 + angle  # a star that crosses itself: its middle is outside
    for points in (ways, np.sort(ways % (2 * np.pi))):
        star = np.stack([32 + 25 * np.cos(points), 24 + 20 * np.sin(points)], axis=1)
        y, x = np.indices((48, 64)) + 0.5
        expected = np.zeros((48, 64), bool)
        for (x0, y0), (x1, y1) in zip(star, np.roll(star, -1, axis=0), strict=True):
            crossed = (y0 <= y) != (y1 <= y)
            expected ^= crossed & (x > x0 + (y - y0) * (x1 - x0) / (y1 - y0))
        assert 100 < expected.sum() < 48 * 64 / 2
        assert np.array_equal(polygon_mask(star, 64, 48), expected)


@pytest.mark.parametrize("seen", [(64, 48), (128, 96), (50, 37)])
def test_shares_of_cells_are_areas(seen):
    """Against a mask that is enlarged until every border falls on a border of pixels."""
    mask = np.random.default_rng(0).random((48, 64)) < 0.4
    cells = -(-seen[1] // 8), -(-seen[0] // 8)
    fine = np.kron(mask, np.ones((seen[1], seen[0])))  # 48 · h rows, 64 · w columns
    expected = [
        [part.mean() for part in np.split(row, range(8 * 64, fine.shape[1], 8 * 64), axis=1)]
        for row in np.split(fine, range(8 * 48, fine.shape[0], 8 * 48))
    ]
    assert np.allclose(cell_shares(mask, cells, seen), expected)


def test_the_count_is_the_density_s_sum_and_points_are_those_inside(tmp_path):
    photo = write_photos(tmp_path / "photos", (90,)) / "p0.png"
    corners = [[0, 0], [28, 0], [28, 48], [0, 48]]  # three and a half of eight columns of cells
    region = read_region(write_region(tmp_path / "r.json", corners))
    assert in_region(count_photo(photo, tmp_path, one_a_cell, STORED, region)) == 21
    assert {float(row["x"]) for row in rows(tmp_path / "p0_points.csv")} == {4, 12, 20}
    # Twice as large for the network: four times the cells.
    larger = Preprocessing(min_size=96)
    assert in_region(count_photo(photo, tmp_path, one_a_cell, larger, region)) == 84
    heads_alone = lambda *seen: one_a_cell(*seen)._replace(density=None)  # noqa: E731
    assert in_region(count_photo(photo, tmp_path, heads_alone, STORED, region)) == 18
    drawn = np.asarray(Image.open(tmp_path / "p0_counted.jpg")).mean(axis=2)
    assert drawn[20:, :24].mean() > 2 * drawn[20:, 32:].mean()


def test_several_polygons_are_counted_once_where_they_overlap(tmp_path):
    photo = write_photos(tmp_path / "photos", (90,)) / "p0.png"
    polygons = [HALF, [[16, 0], [48, 0], [48, 48], [16, 48]]]
    region = read_region(write_region(tmp_path / "r.json", {"polygons": polygons, "area_m2": 12}))
    sentence = count_photo(photo, tmp_path, one_a_cell, STORED, region)
    assert sentence.startswith("36.0 people in the region (48.0 in the photo), 3 per square metre")


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_mask_counts_what_is_not_zero(tmp_path, mode):
    inside = np.zeros((48, 64), bool)
    inside[:, :32] = True
    path = tmp_path / "mask.png"
    if mode == "I;16":
        Image.fromarray(np.uint16(inside)).save(path)  # 1 of 65535, which 8 bits would lose
    else:
        write_mask(path, inside, mode)
    assert np.array_equal(read_region(path).mask(64, 48), inside)
    named = write_region(tmp_path / "r.json", {"mask": "mask.png", "area_m2": 8.0})
    photo = write_photos(tmp_path / "photos", (90,)) / "p0.png"
    sentence = count_photo(photo, tmp_path, one_a_cell, STORED, read_region(named))
    assert sentence.startswith("24.0 people in the region (48.0 in the photo), 3 per square metre")


def test_what_is_transparent_in_a_mask_is_outside(tmp_path):
    white = np.full((48, 64, 4), 255, np.uint8)
    white[:, 32:, 3] = 0
    Image.fromarray(white).save(tmp_path / "mask.png")
    assert read_region(tmp_path / "mask.png").mask(64, 48).sum() == 48 * 32


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_of_the_photo_as_it_is_stored(tmp_path, orientation):
    stored = np.zeros((48, 64), np.uint8)
    stored[8:24, 40:48] = 255  # two cells
    Image.fromarray(stored).save(tmp_path / "photo.png", exif=oriented(orientation))

    def bright(image, name):
        seen = one_a_cell(image, name)
        density = image[4::8, 4::8, 0] / 255.0
        heads = seen.heads[density.T.ravel() > 0]
        return Seen(density.sum(), image.copy(), heads, np.ones(len(heads)), density)

    around = read_region(write_region(tmp_path / "r.json", [[36, 4], [60, 4], [60, 28], [36, 28]]))
    cut = read_region(write_mask(tmp_path / "mask.png", np.arange(48)[:, None] * np.ones(64) < 16))
    for region, count in ((around, 2), (cut, 1)):
        sentence = count_photo(tmp_path / "photo.png", tmp_path, bright, STORED, region)
        assert in_region(sentence) == count
        points = [(float(row["x"]), float(row["y"])) for row in rows(tmp_path / "photo_points.csv")]
        assert sorted(points) == [(44, 12), (44, 20)][:count]


def test_tables_have_columns_of_the_region(tmp_path):
    photos, video = write_photos(tmp_path / "photos", (90, 20)), tmp_path / "street.mp4"
    write_video(video, (60, 60))
    for area, names in ((None, []), (12, ["per_square_metre"])):
        content = {"polygons": [HALF]} | ({"area_m2": area} if area else {})
        region = read_region(write_region(tmp_path / "r.json", content))
        table = count_folder(photos, tmp_path / "out", one_a_cell, STORED, region=region)
        frames = count_video(video, tmp_path / "out", one_a_cell, STORED, region)
        for row in rows(table) + rows(frames):
            assert list(row)[-len(names) - 2 :] == ["count", "count_in_region", *names]
            found = float(row["count"]), float(row["count_in_region"])
            assert found == (48, 24)
            assert float(row.get("per_square_metre", 2)) == 2
        assert len(rows(tmp_path / "out/points.csv")) == 2 * 24
        assert len(rows(tmp_path / "out/street_points.csv")) == 2 * 24
    plain = count_folder(photos, tmp_path / "out", one_a_cell, STORED)
    assert list(rows(plain)[0]) == ["name", "count"]


WRONG = {
    "no JSON": ("[[0, 0", "neither JSON nor a picture"),
    "deep": ("[" * 100_000, "neither JSON nor a picture"),
    "a number": ("7", "holds no region"),
    "empty": ("[]", "polygon of 0 corners"),
    "no polygons": ('{"polygons": []}', "holds no polygon"),
    "two corners": ("[[0, 0], [5, 5]]", "polygon of 2 corners: three are the least"),
    "three numbers": ("[[0, 0, 0], [5, 5, 1], [9, 0, 1]]", "not two numbers"),
    "words": ('[["0", "0"], ["5", "5"], ["9", "0"]]', "not two numbers"),
    "endless": (f"[[0, 0], [{'9' * 400}, 5], [9, 0]]", "not two numbers"),
    "key": ('{"polygons": [[[0, 0], [5, 5], [9, 0]]], "area": 3}', "unknown key area"),
    "both": ('{"polygons": [[[0, 0], [5, 5], [9, 0]]], "mask": "m.png"}', "holds no region"),
    "area": ('{"polygons": [[[0, 0], [5, 5], [9, 0]]], "area_m2": 0}', "number above 0"),
    "true": ('{"polygons": [[[0, 0], [5, 5], [9, 0]]], "area_m2": true}', "number above 0"),
    "outside": ("[[0, 0], [65, 5], [9, 40]]", r"corner \(65, 5\) outside .*64 × 48 pixels"),
    "negative": ("[[0, -1], [60, 5], [9, 40]]", r"corner \(0, -1\) outside"),
    "flat": ("[[0, 0], [5, 5], [9, 9]]", "encloses no pixel"),
    "no mask": ('{"mask": "nothing.png"}', r"nothing\.png does not exist"),
    "mask 3": ('{"mask": 3}', "names no mask"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_what_is_no_region_is_one_sentence_and_exit_code_2(tmp_path, failure, fault):
    photos, (text, words) = write_photos(tmp_path / "photos", (90, 90)), WRONG[fault]
    (tmp_path / "r.json").write_text(text)
    options = "--region", tmp_path / "r.json", "--output", tmp_path / "out", "--device", "cpu"
    assert re.search(words, failure(gst_test.main, *options, "--image", photos / "p0.png"))
    assert not (tmp_path / "out").exists()


def test_masks_that_do_not_fit_are_one_sentence(tmp_path):
    photos = write_photos(tmp_path / "photos", (90,))
    Image.new("RGB", (32, 32)).save(photos / "z.png")
    for name, inside, words in (
        ("small", np.ones((32, 32)), "mask of 32 × 32 pixels for .*p0.png, which is 64 × 48"),
        ("turned", np.ones((64, 48)), "mask of 48 × 64 pixels"),
        ("black", np.zeros((48, 64)), "zero everywhere"),
        ("photo", np.ones((48, 64)), r"z\.png, which is 32 × 32"),
    ):
        mask = write_mask(tmp_path / f"{name}.png", inside)
        with pytest.raises(InputError, match=words):
            count_folder(photos, tmp_path / "out", one_a_cell, STORED, region=read_region(mask))
    for name, kind, more in (
        ("mask.jpg", "stored as JPEG", {}),
        ("mask.webp", "stored as WEBP", {}),
        ("called.png", "stored as WEBP", {"format": "WEBP"}),
        ("mask.tif", "a TIFF compressed as jpeg", {"compression": "jpeg"}),
    ):
        Image.new("L", (64, 48), 255).save(tmp_path / name, **more)
        with pytest.raises(InputError, match=rf"{re.escape(name)} is {kind}.*save it as PNG"):
            read_region(tmp_path / name)
    for name, more in (("a.bmp", {}), ("a.gif", {}), ("a.tif", {"compression": "tiff_lzw"})):
        Image.new("L", (64, 48), 255).save(tmp_path / name, **more)
        assert read_region(tmp_path / name).mask(64, 48).all()
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png is truncated or not a picture"):
        read_region(tmp_path / "text.png")
    assert not (tmp_path / "out").exists()


def test_both_methods_take_a_region_but_of_no_set(write_counter, tmp_path, capsys, failure):
    photos = write_photos(tmp_path / "photos", (60,))
    video = write_video(tmp_path / "street.mp4", (60,))
    whole = write_region(tmp_path / "r.json", [[0, 0], [64, 0], [64, 48], [0, 48]])
    options = ["--device", "cpu", "--output", str(tmp_path / "out"), "--region", str(whole)]
    mgot = ["--save_path", str(write_counter())]
    for main, counter in ((gst_test.main, []), (mgot_test.main, mgot)):
        main([*options, *counter, "--image", str(photos / "p0.png")])
        said = r"([\d.]+) people in the region \(([\d.]+) in the photo\)"
        found = re.search(said, capsys.readouterr().out)
        assert found[1] == found[2]
        main([*options, *counter, "--folder", str(tmp_path), "--recursive"])
        main([*options, *counter, "--video", str(video)])
        (row,), frames = (rows(tmp_path / "out" / f"{n}counts.csv") for n in ("", "street_"))
        assert row["name"] == "photos/p0.png"
        for one in (row, *frames):
            assert one["count_in_region"] == one["count"]
        message = failure(main, *options, *counter, "--data-dir", tmp_path)
        assert "a --data-dir is counted whole" in message
