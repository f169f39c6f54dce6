import numpy as np
import pytest

from crowd.data.images import read_image
from crowd.io.errors import InputError
from crowd.pictures import drawing as pictures
from crowd.pictures.overlays import LIMIT, gaussians_overlay, write_picture

PLAIN = (200, 40, 190)


def panels(picture, colour):
    """Boxes (left, top, right, bottom) of the areas of one colour, from left to right."""
    hit = np.abs(picture.astype(int) - colour).max(axis=2) < 12
    columns = hit.sum(axis=0) > 0.3 * hit.sum(axis=0).max()
    edges = np.flatnonzero(np.diff(np.pad(columns.astype(int), 1)))
    boxes = []
    for left, right in edges.reshape(-1, 2):
        rows = np.flatnonzero(hit[:, left:right].any(axis=1))
        if right - left > 50:
            boxes.append((left, rows[0], right, rows[-1] + 1))
    return boxes


def test_ellipses_are_drawn_where_the_gaussian_is():
    mean, scale, angle = np.array([70.0, 60.0]), np.array([20.0, 6.0]), np.pi / 6
    fill = np.array([[0.0, 0.0, 1.0]])
    photo = np.full((120, 160, 3), PLAIN, np.uint8)
    drawn = gaussians_overlay(photo, mean[None], scale[None], np.array([angle]), fill)

    def changed(point):
        x, y = np.floor(point).astype(int)
        part = drawn[y - 1 : y + 2, x - 1 : x + 2].astype(int)
        return (np.abs(part - PLAIN).max(axis=2) > 60).any()

    axis, other = np.array([np.cos(angle), np.sin(angle)]), np.array([-0.5, np.cos(angle)])
    assert drawn[60, 70].tolist() == [0, 0, 255]
    for offset in (20 * axis, -20 * axis, 6 * other, -6 * other):
        assert changed(mean + offset)
        assert changed(mean + 2 * offset)
        assert not changed(mean + 1.6 * offset)
        assert not changed(mean + 3 * offset)
    # The mirrored angle would have put the long axis here.
    assert not changed(mean + 40 * np.array([axis[0], -axis[1]]))


def test_a_cell_has_the_colour_of_its_annotation():
    heads = np.zeros((3, 12, 12))
    heads[0, 0, 0], heads[:, 1, 1], heads[:, 1, 10] = 1.0, [0.2, 0.5, 0.1], [0.0, 0.1, 0.8]
    colours = pictures.kernel_colours(heads)
    assert np.count_nonzero(colours[..., 3]) == 3
    assert colours[1, 1, 3] == pytest.approx(0.5 * colours[0, 0, 3])
    assert len(np.unique(colours[[0, 1, 1], [0, 1, 10], :3], axis=0)) == 3


def test_the_best_epoch_is_marked_and_gaps_are_skipped(monkeypatch):
    figures = []
    monkeypatch.setattr(pictures, "write_figure", lambda path, figure: figures.append(figure))
    log = [{"epoch": i, "loss": 1000.0 * 0.5**i} for i in range(12)]
    log[3]["mae"], log[7]["mae"], log[9]["mae"], log[11]["mae"] = 9.0, 5.0, 6.0, float("nan")
    pictures.draw_curve("unused", log, ["loss", "mae"], "training")
    loss, mae = figures[0].axes
    assert (loss.get_yscale(), mae.get_yscale()) == ("log", "linear")
    np.testing.assert_array_equal(mae.lines[0].get_xydata(), [[3, 9], [7, 5], [9, 6]])
    assert [[7, 5]] in [line.get_xydata().tolist() for line in mae.lines]
    assert "5 at epoch 7" in mae.get_title()


@pytest.mark.parametrize("log", [[], [{"epoch": 0, "loss": 1.0}]])
def test_a_name_that_the_log_lacks_is_an_error(tmp_path, log):
    with pytest.raises(InputError, match="'mae'"):
        pictures.draw_curve(tmp_path / "curve.png", log, ["mae"], "training")
    assert not list(tmp_path.iterdir())


def test_a_sheet_shows_every_picture(tmp_path):
    path = tmp_path / "sheet.png"
    colours = [(220, 30, 30), (30, 220, 30), (30, 30, 220)]
    images = [np.full((50, 60 + 10 * i, 3), colour, np.uint8) for i, colour in enumerate(colours)]
    images.append(np.full((2000, 3000, 3), 128, np.uint8))
    pictures.contact_sheet(path, images, ["red", "green", "blue", "a large one"], columns=2)
    picture = read_image(path)
    boxes = [panels(picture, colour) for colour in colours]
    assert [len(found) for found in boxes] == [1, 1, 1]
    (red,), (green,), (blue,) = boxes
    assert red[2] <= green[0]
    assert red[3] <= blue[1]


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_largest_noisiest_photo_fits(tmp_path, suffix):
    photo = np.random.default_rng(0).integers(0, 256, (2048, 2048, 3), dtype=np.uint8)
    path = tmp_path / f"noise.{suffix}"
    write_picture(path, photo)
    assert 50_000 < path.stat().st_size <= LIMIT == 300_000
    assert min(read_image(path).shape[:2]) > 100


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_picture_gives_up_quality_before_size(tmp_path, suffix):
    rng = np.random.default_rng(1)
    smooth = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8).repeat(20, 0).repeat(20, 1)
    noisy = (smooth * 0.9 + rng.integers(0, 25, smooth.shape)).astype(np.uint8)
    whole = tmp_path / f"whole.{suffix}"
    write_picture(whole, noisy, limit=10_000_000)
    size = whole.stat().st_size
    worse, smaller = tmp_path / f"worse.{suffix}", tmp_path / f"smaller.{suffix}"
    write_picture(worse, noisy, limit=int(0.7 * size))
    write_picture(smaller, noisy, limit=int(0.05 * size))
    assert worse.stat().st_size <= 0.7 * size
    assert read_image(worse).shape == noisy.shape
    assert smaller.stat().st_size <= 0.05 * size
    assert read_image(smaller).shape[0] < noisy.shape[0]
