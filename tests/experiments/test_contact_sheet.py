"""The sheet of fits: every photo beside its render, in a file small enough for a README."""

import numpy as np
import pytest
from PIL import Image

from crowd.data.images import write_image
from crowd.pictures import drawing as pictures
from experiments import figures
from experiments.__main__ import main
from GS2D.store import gaussians_path, write_gaussians
from gst.models import BOXED


@pytest.fixture
def photos(tmp_path):
    """Black photos of several shapes, each with a head in its middle, a white Gaussian."""
    paths = []
    for name, (height, width) in {"a": (90, 200), "b": (200, 90), "c": (40, 40)}.items():
        path = tmp_path / f"{name}.png"
        write_image(path, np.zeros((height, width, 3), np.uint8))
        params = [[width / 2, height / 2, 4, 4, 0, 1, 1, 1]]
        write_gaussians(gaussians_path(path), np.array(params, np.float32))
        np.save(path.with_suffix(".npy"), [[width / 2, height / 2]])
        paths.append(path)
    return paths


@pytest.fixture
def sheets(tmp_path, monkeypatch):
    """What is drawn, as (path, images, captions), in place of pictures."""
    drawn = []
    monkeypatch.setattr(pictures, "contact_sheet", lambda *sheet, columns: drawn.append(sheet))
    monkeypatch.chdir(tmp_path)
    return drawn


def test_every_photo_stands_beside_its_render(photos, sheets):
    figures.draw_fit_sheet("sheet.jpg", photos)
    ((_, images, captions),) = sheets
    assert captions == ["a: 1", "b: 1", "c: 1"]
    for image in images:
        photo, render = np.split(image, 2, axis=1)
        assert photo.max() == 0
        assert render[60, 80].min() > 200
        assert render[0].max() == 0


def test_extremes_are_the_worst_then_the_best(photos, sheets, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "EXTREMES", 1)
    monkeypatch.setattr(figures, "density_of", lambda *_: (1.0, np.ones((2, 2))))
    table = "name,actual,predicted\na.png,9,7.5\nb.png,3,3.2\nc.png,50,40\n"
    (tmp_path / "predictions.csv").write_text(table)
    main(["extremes", str(tmp_path), str(tmp_path)])
    ((_, images, captions),) = sheets
    assert captions == ["c: 40 of 50", "b: 3 of 3"]
    assert {image.shape[1] for image in images} == {figures.SHEET_WIDTH}


def test_predictions_of_trainings_stand_beside_the_heads(photos, sheets, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "density_of", lambda *_: (2.0, np.diag([2.0, 0.0])))
    for run in ("1/gst", "2/gst"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "best.pth").symlink_to(BOXED)
    main(["predictions", str(photos[0]), str(tmp_path / "1/gst")])
    main(["predictions", str(photos[0]), "1/gst", "2/gst/best.pth"])
    (_, images, captions), (_, _, same) = sheets
    assert captions == ["1 annotated heads", "gst: 2.0"]
    # Two runs of one name are both there.
    assert same == ["1 annotated heads", "1/gst: 2.0", "2/gst/best.pth: 2.0"]
    # A black photo, but for the head, and but for the cell that holds two people.
    assert all(np.ptp(image) > 0 for image in images)
    with pytest.raises(SystemExit):
        main(["predictions", str(photos[0])])


def test_gst_stands_in_one_row(photos, sheets, monkeypatch):
    monkeypatch.setattr(figures, "density_of", lambda *_: (2.0, np.ones((11, 11))))
    main(["overview", str(photos[0])])
    ((path, (heads, render, kernel, density), captions),) = sheets
    assert path.name == "a_overview.jpg"
    assert captions[:3] == ["1 annotated heads", "fitted Gaussians", "transport kernel"]
    assert captions[3] == "density: 2.0"
    # The densest square holds the head, whose render and kernel lie at its place.
    assert {one.shape for one in (heads, render, kernel, density)} == {(88, 88, 3)}
    (y, x), (v, u) = (np.argwhere(one.max(axis=2) > 150).mean(axis=0) for one in (render, kernel))
    assert (y, x) == pytest.approx((v, u), abs=8)


@pytest.mark.parametrize("what", ["overview", "picture"])
def test_pictures_of_one_name_do_not_overwrite_one_another(what, photos, sheets, failure):
    message = failure(main, what, *photos[:2], f"other/{photos[1].name}")
    assert "are named b: draw them into an --output each" in message
    assert not sheets


def test_a_fidt_map_is_drawn_with_the_heads_found(photos, sheets, write_counter, monkeypatch):
    monkeypatch.setattr(figures, "peak_centers", lambda *_: np.array([[9.5, 9.5], [50.5, 70.5]]))
    main(["predictions", str(photos[0]), str(write_counter("fidt/last.pth"))])
    ((_, (_, seen), captions),) = sheets
    assert captions == ["1 annotated heads", "fidt: 2"]
    assert seen[9, 9].max() > 200  # a dot


def test_command_writes_the_sheet(photos, tmp_path, capsys):
    sheet = tmp_path / "sheets" / "sheet.jpg"
    main(["contact-sheet", *map(str, photos), "--output", str(sheet)])
    assert capsys.readouterr().out.strip() == str(sheet)
    with Image.open(sheet) as picture:
        assert picture.width > 500
    with pytest.raises(SystemExit):
        main(["contact-sheet"])
