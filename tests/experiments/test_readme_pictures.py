"""The README's pictures are drawn by one command, as far as their scenes are on the machine."""

import functools
import re
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from experiments import figures, readme_pictures
from experiments.__main__ import main

ROOT = Path(figures.__file__).parent.parent
# Drawn by experiments contact-sheet and by bench.cost.
SHEET = {"ucf_cc_50_fits.jpg", "cost_against_size.png"}
DENSE = {"ucf_cc_50_11_gaussians.jpg", "ucf_cc_50_11_kernel.jpg"}


def test_the_readme_shows_nothing_else():
    shown = set(re.findall(r"\]\(image/([^)]+)\)", (ROOT / "README.md").read_text("utf-8")))
    assert shown
    assert shown <= {*readme_pictures.DRAWN, *DENSE, *SHEET}
    assert all((ROOT / "image" / name).is_file() for name in shown)


def test_what_is_not_here_is_skipped_in_a_sentence_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["figures"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["skipped", "skipped"]
    assert "make demo" in lines[0]
    assert "--data" in lines[1]
    assert not list(tmp_path.iterdir())


def test_the_dense_photo_is_fitted_and_drawn(tmp_path, monkeypatch):
    few = functools.partial(readme_pictures.FitSettings, num_epochs=5)
    monkeypatch.setattr(readme_pictures, "FitSettings", few)
    folder = tmp_path / "ucf_cc_50"
    folder.mkdir()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(folder / "11.jpg")
    scipy.io.savemat(folder / "11_ann.mat", {"annPoints": random.uniform(5, 290, (12, 2))})
    drawn = readme_pictures.draw_dense(tmp_path, tmp_path / "image")
    assert {path.name for path in drawn} == DENSE
    for path in drawn:
        with Image.open(path) as picture:
            assert picture.width > 500
    assert sorted(tmp_path.iterdir()) == [tmp_path / "image", folder]


def test_the_demos_pictures_are_taken_by_their_names(tmp_path, monkeypatch):
    demo = tmp_path / "demo"
    (demo / "mgot" / "mgot_synthetic").mkdir(parents=True)
    (demo / "gst" / "test").mkdir(parents=True)
    (demo / "gst" / "test" / "metrics.json").write_text("{}")
    (demo / "pictures").mkdir()
    for name in readme_pictures.DRAWN.values():
        (demo / "pictures" / name).write_text(name)
    monkeypatch.setattr(figures, "draw_gst", lambda *_: [])
    monkeypatch.setattr(readme_pictures.demo, "collect_mgot", lambda *_: [])
    readme_pictures.draw_demo(demo, tmp_path / "image")
    for name, source in readme_pictures.DRAWN.items():
        assert (tmp_path / "image" / name).read_text() == source
