"""Folders and videos: counts as CSV, pictures and a video, one sentence for what is none."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

import test as gst_test
from crowd.count.evaluation import PhotoCount, write_results
from crowd.count.photos import Seen, count_folder
from crowd.count.video import count_video
from crowd.data.network_input import Preprocessing
from crowd.io.errors import InputError
from crowd.pictures.overlays import density_overlay, heads_overlay
from crowd.train.checkpoints import save_checkpoint
from gst.models import build_model
from mgot import test as mgot_test
from tests.conftest import rows

STORED = Preprocessing(min_size=1, max_size=4000)


def look(image, name):
    """The grey value is the count, a quarter of the way in is a head; the picture is inverted."""
    heads = np.array([[image.shape[1] / 4, image.shape[0] / 4]], np.float32)
    return Seen(float(image.mean()), 255 - image, heads, np.array([0.75]))


def write_photos(folder, greys, size=(64, 48)):
    folder.mkdir()
    for number, grey in enumerate(greys):
        Image.new("RGB", size, (grey,) * 3).save(folder / f"p{number}.png")
    return folder


def write_video(path, greys, size=(64, 48), rate=10, codec="mp4v"):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, size)
    for grey in greys:
        writer.write(np.full((size[1], size[0], 3), grey, np.uint8))
    writer.release()
    return path


def test_a_test_says_when_it_replaces_the_results_of_another(tmp_path, capsys):
    for predicted, said in ((4.5, False), (4.5, False), (5.5, True), (5.5, False)):
        write_results(tmp_path, [PhotoCount("é.jpg", 4, predicted)], {})
        assert (
            f"{tmp_path / 'predictions.csv'} held other results" in capsys.readouterr().err
        ) == said
        assert rows(tmp_path / "predictions.csv")[0]["predicted"] == f"{predicted:.4f}"


def test_every_photo_of_a_folder_is_counted_and_drawn(tmp_path):
    folder = write_photos(tmp_path / "photos", (10, 200, 90))
    table = count_folder(folder, tmp_path / "out", look, STORED)
    found = [(row["name"], float(row["count"])) for row in rows(table)]
    assert found == [("p0.png", 10), ("p1.png", 200), ("p2.png", 90)]
    points = rows(tmp_path / "out/points.csv")
    assert [row["image"] for row in points] == ["p0.png", "p1.png", "p2.png"]
    assert {(row["x"], row["y"]) for row in points} == {("16.00", "12.00")}
    drawn = np.asarray(Image.open(tmp_path / "out/p1_counted.jpg"))
    assert drawn.shape == (48, 64, 3)
    assert abs(drawn.mean() - 55) < 2


def test_counting_another_folder_says_that_it_replaces_the_results_of_the_first(tmp_path, capsys):
    folders = [write_photos(tmp_path / name, greys) for name, greys in (("a", (9,)), ("b", (8, 9)))]
    for folder, said in zip((0, 0, 1), (False, False, True), strict=True):
        count_folder(folders[folder], tmp_path / "out", look, STORED)
        assert ("held other results" in capsys.readouterr().err) == said


def test_a_video_may_have_a_colon_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    video = write_video(Path("street.mp4"), (40, 120)).rename("12:30.mp4")
    assert len(rows(count_video(video, Path("out"), look, STORED))) == 2


def test_every_frame_of_a_video_is_counted_and_drawn(tmp_path):
    video = write_video(tmp_path / "street.mp4", (40, 120, 200, 80))
    found = rows(count_video(video, tmp_path / "out", look, STORED))
    assert [row["frame"] for row in found] == ["0", "1", "2", "3"]
    assert [float(row["seconds"]) for row in found] == pytest.approx([0, 0.1, 0.2, 0.3])
    assert [float(row["count"]) for row in found] == pytest.approx([40, 120, 200, 80], abs=4)
    points = rows(tmp_path / "out/street_points.csv")
    assert [row["frame"] for row in points] == ["0", "1", "2", "3"]
    places = {(row["x"], row["y"], row["confidence"]) for row in points}
    assert places == {("16.00", "12.00", "0.750")}
    drawn = cv2.VideoCapture(str(tmp_path / "out/street_counted.mp4"))
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(10)
    assert [drawn.read()[1].mean() for _ in range(4)] == pytest.approx([215, 135, 55, 175], abs=6)
    assert not drawn.read()[0]


def test_seconds_are_those_at_which_a_frame_is_shown(tmp_path, monkeypatch):
    first, *others = (Image.new("L", (64, 48), grey) for grey in (40, 120, 200))
    more = {"save_all": True, "append_images": others, "duration": [100, 500, 100]}
    first.save(tmp_path / "a.gif", **more)
    steady = write_video(tmp_path / "steady.mkv", (9,) * 40, rate=23.976, codec="FFV1")

    def seconds(video):
        table = count_video(video, tmp_path / "out", look, STORED)
        return [float(row["seconds"]) for row in rows(table)]

    assert seconds(tmp_path / "a.gif") == [0, 0.1, 0.6]
    even = pytest.approx(np.arange(40) / 23.976, abs=1.1e-3)
    assert seconds(steady) == even
    monkeypatch.setattr(cv2, "CAP_PROP_POS_MSEC", cv2.CAP_PROP_ORIENTATION_META)  # always 0
    assert seconds(steady) == even


@pytest.mark.parametrize("rate", [23.976, 239.763, 659.83])
def test_frames_are_drawn_in_their_colours_whatever_their_rate(tmp_path, rate):
    colours = [(20, 60, 200)] * 2  # blue, green, red, of which `look` draws what they lack
    video = write_video(tmp_path / "slow.mkv", colours, rate=rate, codec="FFV1")
    assert len(rows(count_video(video, tmp_path / "out", look, STORED))) == 2
    drawn = cv2.VideoCapture(str(tmp_path / "out/slow_counted.mp4"))
    assert drawn.get(cv2.CAP_PROP_FPS) == pytest.approx(rate, rel=1e-3)
    assert np.median(drawn.read()[1], axis=(0, 1)) == pytest.approx((235, 195, 55), abs=6)


def test_deep_grey_video_is_not_counted_black(tmp_path):
    film = tmp_path / "thermal.mkv"
    how = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
    code = cv2.VideoWriter_fourcc(*"FFV1")
    writer = cv2.VideoWriter(str(film), cv2.CAP_FFMPEG, code, 10, (64, 48), how)
    writer.write(np.full((48, 64), 9000, np.uint16))
    writer.release()
    with pytest.raises(InputError, match=r"grey video of 16 bits.*--folder and --depth"):
        count_video(film, tmp_path / "out", look, STORED)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_counted_is_one_sentence_and_leaves_nothing(tmp_path):
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video\n" * 99)
    (tmp_path / "nothing.mp4").write_bytes(b"")
    whole = write_video(tmp_path / "whole.mp4", [10] * 20).read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    for name in ("none.mp4", "text.mp4", "nothing.mp4", "cut.mp4", "empty"):
        with pytest.raises(InputError, match=re.escape(name)):
            count_video(tmp_path / name, out, look, STORED)
    for name, words in (("none", "none is not a folder"), ("empty", "holds no photos")):
        with pytest.raises(InputError, match=words):
            count_folder(tmp_path / name, out, look, STORED)
    good = write_photos(tmp_path / "good", (10, 20))
    with pytest.raises(InputError, match="choose another --output"):
        count_folder(good, good, look, STORED)
    (good / "p1.jpg").touch()
    with pytest.raises(InputError, match=r"p1\.jpg and .*p1\.png share a name: rename one"):
        count_folder(good, out, look, STORED)
    strip = write_photos(tmp_path / "strip", (10,), size=(520, 4))
    with pytest.raises(InputError, match=r"p0\.png: 520 x 4 is too narrow a strip: crop it"):
        count_folder(strip, out, look, Preprocessing())
    assert not out.exists()


def test_photos_that_cannot_be_read_take_no_counts_with_them(tmp_path):
    folder, out = write_photos(tmp_path / "photos", (10, 20, 30)), tmp_path / "out"
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "p0.png")
    whole = (folder / "p0.png").read_bytes()
    (folder / "p0.png").write_bytes(whole[: len(whole) // 2])
    (folder / "p2.png").write_bytes(b"no picture")
    says = r"2 of 3 photos .* \(p0\.png, p2\.png\); the counts of all others .*p0\.png is truncated"
    with pytest.raises(InputError, match=says):
        count_folder(folder, out, look, STORED)
    assert [(row["name"], float(row["count"])) for row in rows(out / "counts.csv")] == [
        ("p1.png", 20)
    ]
    assert [row["image"] for row in rows(out / "points.csv")] == ["p1.png"]
    (folder / "p1.png").unlink()
    with pytest.raises(InputError, match=r"2 of 2 photos"):
        count_folder(folder, tmp_path / "none", look, STORED)
    assert not (tmp_path / "none").exists()


def test_a_video_that_was_cut_short_is_counted_and_said(tmp_path, capsys):
    film = write_video(tmp_path / "film.avi", [10, 200] * 10, size=(640, 480), codec="MJPG")
    assert len(rows(count_video(film, tmp_path / "out", look, STORED))) == 20
    assert "note" not in capsys.readouterr().err
    film.write_bytes(film.read_bytes()[: film.stat().st_size // 2])
    number = len(rows(count_video(film, tmp_path / "out", look, STORED)))
    assert 1 < number < 20
    assert f"film.avi holds {number} of the 20 frames" in capsys.readouterr().err


def test_a_video_without_a_frame_is_one_sentence(tmp_path):
    film = write_video(tmp_path / "film.avi", (), codec="MJPG")
    with pytest.raises(InputError, match=r"film\.avi holds no frame that can be read"):
        count_video(film, tmp_path / "out", look, STORED)
    assert list((tmp_path / "out").iterdir()) == []


def test_frames_larger_than_mpeg_4_takes_are_said_at_the_first(tmp_path, capfd):
    film, looked = write_video(tmp_path / "wide.avi", (9,) * 3, (4000, 240), codec="MJPG"), []

    def looking(image, name):
        looked.append(name)
        return look(image, name)

    with pytest.raises(InputError, match=r"wide\.avi .* 8533 × 512 pixels.* MPEG-4: crop it"):
        count_video(film, tmp_path / "out", looking, Preprocessing())
    assert len(looked) == 1
    assert list((tmp_path / "out").iterdir()) == []
    assert "ERROR" not in capfd.readouterr().err


@pytest.mark.parametrize("room", [0, 300])
def test_a_full_disk_under_a_video_is_one_sentence(tmp_path, full_disk, room):
    video = write_video(tmp_path / "street.mp4", [10] * 20)
    with full_disk(room), pytest.raises(InputError, match=r"street_counted\.mp4 could not be writ"):
        count_video(video, tmp_path / "out", look, STORED)
    assert list((tmp_path / "out").iterdir()) == []


def test_overlays_show_where_people_are():
    image = np.full((96, 128, 3), 100, np.uint8)
    density = np.zeros((12, 16), np.float32)
    density[9, 12] = 3.0
    drawn = density_overlay(image, density).astype(int)
    assert drawn.shape == image.shape
    lower = np.abs(drawn[48:] - 100).sum(axis=2)
    assert np.unravel_index(lower.argmax(), lower.shape) == pytest.approx((28, 100), abs=8)
    assert (drawn[80:, :40] == 100).all()
    marked = heads_overlay(image, np.array([[90.5, 70.5]]))
    assert tuple(marked[70, 90]) == (240, 228, 66)
    assert (image == 100).all()


@pytest.mark.parametrize("shape", [(48, 64), (50, 61), (17, 23)])
def test_a_density_map_of_any_size_fits_its_photo(shape):
    image = np.full((*shape, 3), 100, np.uint8)
    for rows_, columns in ((-(-shape[0] // 8), -(-shape[1] // 8)), (shape[0] // 8, shape[1] // 8)):
        assert density_overlay(image, np.ones((rows_, columns))).shape == image.shape


def test_every_row_of_a_large_photo_is_drawn_alike():
    drawn = density_overlay(np.full((1200, 24, 3), 100, np.uint8), np.ones((150, 3)))
    assert (drawn == drawn[0, 0]).all()
    assert (drawn != 100).any()


@pytest.mark.parametrize("method", ["gst", "mgot"])
def test_photo_folder_and_video_are_counted_alike(method, write_counter, tmp_path, capsys, failure):
    if method == "gst":
        main, weights = gst_test.main, tmp_path / "weights.pth"
        save_checkpoint(weights, **build_model("vgg_small", width=1.0).state_dict())
    else:
        main, weights = mgot_test.main, write_counter()
    # The codec changes colours: the photo is what a frame of the video is decoded to.
    video, folder = write_video(tmp_path / "street.mp4", (60, 60), size=(640, 512)), tmp_path / "p"
    folder.mkdir()
    frame = cv2.VideoCapture(str(video)).read()[1]
    cv2.imwrite(str(folder / "p0.png"), frame)
    options = ["--save-path", str(weights), "--device", "cpu", "--output", str(tmp_path / "out")]
    options += ["--model-name", "vgg_small"] if method == "gst" else []
    main([*options, "--image", str(folder / "p0.png")])
    alone = float(re.match(r"([\d.]+) people", capsys.readouterr().out)[1])
    main([*options, "--folder", str(folder)])
    main([*options, "--video", str(video)])
    (row,) = rows(tmp_path / "out/counts.csv")
    assert float(row["count"]) == pytest.approx(alone, abs=0.06)
    counts = [float(row["count"]) for row in rows(tmp_path / "out/street_counts.csv")]
    assert counts[0] == pytest.approx(alone, abs=0.06)
    assert len(counts) == 2
    assert "name one of" in failure(main, *options, "--folder", folder, "--video", "x.mp4")


def test_a_counter_with_a_page_introduces_itself(tmp_path, capsys, monkeypatch):
    weights, given = tmp_path / "given" / "small.pth", tmp_path / "given"
    given.mkdir()
    save_checkpoint(weights, **build_model("vgg_small").state_dict())
    (given / "small.yml").write_text("about: small, trained on nothing\n")
    folder = write_photos(tmp_path / "photos", (60,))
    monkeypatch.chdir(tmp_path)
    options = ["--save-path", str(weights), "--model-name", "vgg_small", "--device", "cpu"]
    gst_test.main([*options, "--image", str(folder / "p0.png")])
    assert capsys.readouterr().out.startswith("small: small, trained on nothing\n")
    assert (tmp_path / "counted/p0_points.csv").is_file()
    assert sorted(path.name for path in given.iterdir()) == ["small.pth", "small.yml"]
