"""The README's pictures are drawn by one command, as far as their scenes are on the machine."""

import dataclasses
import functools
import re
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

from crowd.checkpoints import save_checkpoint
from crowd.files import write_array
from crowd.images import write_image
from experiments import figures, readme_pictures
from experiments.__main__ import main
from gst.models import build_model
from gst.photos import Preprocessing

ROOT = Path(figures.__file__).parent.parent
# Drawn by experiments contact-sheet.
SHEET = {"ucf_cc_50_fits.jpg"}
LOSSES = {"streets_density.jpg"}
DENSE = {"ucf_cc_50_11_gaussians.jpg", "ucf_cc_50_11_kernel.jpg"}


def test_the_readme_shows_nothing_else():
    shown = set(re.findall(r"\]\(image/([^)]+)\)", (ROOT / "README.md").read_text("utf-8")))
    assert shown
    assert shown <= {*readme_pictures.DRAWN, *DENSE, *SHEET, *LOSSES}
    assert all((ROOT / "image" / name).is_file() for name in shown)


def test_what_is_not_here_is_skipped_in_a_sentence_each(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["figures"])
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["skipped"] * 3
    assert "make demo" in lines[0]
    assert "--data" in lines[1]
    assert "python -m experiments run synthetic_losses" in lines[2]
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


def test_counters_of_several_losses_look_at_one_street(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "data/synthetic_a_processed/test"
    for heads in (3, 0, 6):
        write_image(folder / f"street{heads}.png", np.full((96, 128, 3), 200, np.uint8))
        write_array(folder / f"street{heads}.npy", np.full((heads, 2), 40, np.float32))
    model = build_model("vgg_small", width=0.5)
    recipe = {
        "model_name": "vgg_small",
        "model_options": {"width": 0.5},
        "preprocessing": dataclasses.asdict(Preprocessing(min_size=96)),
        "train_median": 3.0,
        "settings": {},
    }
    for name in readme_pictures.COMPARED:
        path = tmp_path / "runs/synthetic_losses/seed_1" / name / "best.pth"
        save_checkpoint(path, model=model.state_dict(), average=None, recipe=recipe)
    drawn = readme_pictures.draw_losses(tmp_path / "data", tmp_path / "image")
    assert {path.name for path in drawn} == LOSSES
    with Image.open(drawn[0]) as picture:
        assert picture.width > 500


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
