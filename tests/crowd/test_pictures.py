import numpy as np
import pytest

from crowd.data.images import read_image
from crowd.io.errors import InputError
from crowd.pictures import drawing as pictures
from crowd.pictures.overlays import LIMIT, write_picture

PLAIN = (200, 40, 190)


def plain_photo(width=160, height=120):
    return np.full((height, width, 3), PLAIN, np.uint8)


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


def pixel(box, point, width=160, height=120):
    """Picture column and row of a photo point inside a panel."""
    left, top, right, bottom = box
    column = left + point[0] / width * (right - left)
    row = top + point[1] / height * (bottom - top)
    return int(column), int(row)


def is_drawn(picture, box, point, plain=PLAIN, reach=2):
    column, row = pixel(box, point)
    part = picture[row - reach : row + reach + 1, column - reach : column + reach + 1].astype(int)
    return bool((np.abs(part - plain).max(axis=2) > 60).any())


def captured_figure(monkeypatch):
    figures = []
    monkeypatch.setattr(pictures, "write_figure", lambda path, figure: figures.append(figure))
    return figures


# -- Gaussians --------------------------------------------------------------------------------


def test_ellipses_are_drawn_where_the_gaussian_is(tmp_path):
    path = tmp_path / "gaussians.png"
    mean, scale, angle = np.array([70.0, 60.0]), np.array([20.0, 6.0]), np.pi / 6
    photo = plain_photo()
    grey = pictures.faded(photo)[0, 0]
    colour = grey[None] / 255  # of the photo below, so that only lines are seen
    pictures.draw_gaussians(path, photo, mean[None], scale[None], np.array([angle]), colour, photo)
    picture = read_image(path)
    (left, _), (right,) = panels(picture, PLAIN), panels(picture, grey)
    axis = np.array([np.cos(angle), np.sin(angle)])
    other = np.array([-np.sin(angle), np.cos(angle)])
    for sigmas in (1, 2):
        for offset in (20 * axis, -20 * axis, 6 * other, -6 * other):
            assert is_drawn(picture, right, mean + sigmas * offset, grey)
            assert not is_drawn(picture, left, mean + sigmas * offset)
    assert not is_drawn(picture, right, mean, grey)
    for offset in (30 * axis, 3 * 20 * axis, 3 * 6 * other):
        assert not is_drawn(picture, right, mean + offset, grey)
    # The mirrored angle would have put the long axis here.
    assert not is_drawn(picture, right, mean + 40 * np.array([axis[0], -axis[1]]), grey)


def test_gaussian_colours_fill_the_ellipse_and_the_render_is_a_panel(tmp_path):
    path = tmp_path / "gaussians.png"
    render = np.full((120, 160, 3), 0.0)
    render[..., 1] = 1.0
    mean, scale, blue = ([[80.0, 60.0]], [[25.0, 25.0]], np.array([[0.0, 0.0, 1.0]]))
    pictures.draw_gaussians(path, plain_photo(), mean, scale, np.zeros((1, 1)), blue, render)
    picture = read_image(path)
    (green,) = panels(picture, (0, 255, 0))
    (photo,) = panels(picture, PLAIN)
    assert photo[2] < green[0]
    between = picture[(photo[1] + photo[3]) // 2, photo[2] : green[0]].astype(int)
    assert (np.abs(between - (0, 0, 255)).max(axis=1) < 12).sum() > 0.2 * len(between)


# -- densities --------------------------------------------------------------------------------


def density_difference(tmp_path, density, photo):
    """Change of the picture's two halves when `density` takes the place of nothing."""
    pictures.draw_density(tmp_path / "empty.png", photo, np.zeros_like(density), 1.0, 1)
    pictures.draw_density(tmp_path / "full.png", photo, density, 1.0, 1)
    full = read_image(tmp_path / "full.png")
    change = np.abs(full.astype(int) - read_image(tmp_path / "empty.png")).max(axis=2)
    (box,) = panels(full, photo[0, 0])
    return change, box


@pytest.mark.parametrize("cell", [(3, 5), (0, 0), (14, 19)])
def test_density_lies_on_its_cell(tmp_path, cell):
    density = np.zeros((15, 20), np.float32)
    density[cell] = 1.0
    change, box = density_difference(tmp_path, density, plain_photo())
    middle = change.shape[1] // 2
    assert change[:, :middle].max() == 0
    rows, columns = np.nonzero(change > 0.9 * change.max())
    # The right panel is the mirror image of the left one in the picture.
    shift = change.shape[1] - box[2] - box[0]
    expected = pixel(box, (8 * cell[1] + 4, 8 * cell[0] + 4))
    cell_width = (box[2] - box[0]) / 20
    assert abs(columns.mean() - shift - expected[0]) < 0.3 * cell_width
    assert abs(rows.mean() - expected[1]) < 0.3 * cell_width


# -- responsibilities -------------------------------------------------------------------------


def test_a_cell_has_the_colour_of_its_annotation(monkeypatch):
    figures = captured_figure(monkeypatch)
    kernel = np.zeros((4, 12 * 12))
    kernel[-1] = 1.0
    kernel[:, 0] = [1.0, 0.0, 0.0, 0.0]
    kernel[:, 13] = [0.2, 0.5, 0.1, 0.2]
    kernel[:, 22] = [0.0, 0.1, 0.8, 0.1]
    points = np.array([[24.0, 14.0], [5.0, 5.0]])
    pictures.draw_responsibilities("unused", plain_photo(), kernel, (20, 10), 96, 8, points)
    crop, cells = (axis.images[-1] for axis in figures[0].axes)
    assert crop.get_array().shape == (96, 96, 3)
    assert cells.get_extent() == [0, 96, 96, 0]
    overlay = np.asarray(cells.get_array())
    assert overlay.shape == (12, 12, 4)
    assert np.count_nonzero(overlay[..., 3]) == 3
    assert overlay[1, 1, 3] == pytest.approx(0.5 * overlay[0, 0, 3])
    assert len(np.unique(overlay[[0, 1, 1], [0, 1, 10], :3], axis=0)) == 3
    marked = figures[0].axes[1].lines[0].get_xydata()
    np.testing.assert_allclose(marked, [[4.0, 4.0]])


# -- curves and sheets ------------------------------------------------------------------------


def test_the_best_epoch_is_marked_and_gaps_are_skipped(monkeypatch):
    figures = captured_figure(monkeypatch)
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
    images.append(np.full((40, 60), 0.5))
    pictures.contact_sheet(path, images, ["red", "green", "blue", "a grey one"], columns=2)
    picture = read_image(path)
    boxes = [panels(picture, colour) for colour in colours]
    assert [len(found) for found in boxes] == [1, 1, 1]
    (red,), (green,), (blue,) = boxes
    assert red[2] <= green[0]
    assert red[3] <= blue[1]


# -- files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_largest_noisiest_photo_fits(tmp_path, suffix):
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (2048, 2048, 3), dtype=np.uint8)
    path = tmp_path / f"density.{suffix}"
    pictures.draw_density(path, photo, rng.uniform(size=(256, 256)), 3.0, 3)
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
