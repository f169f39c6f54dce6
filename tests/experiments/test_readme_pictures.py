"""The documents' pictures: image/ holds those that they show; those of the demo."""

import re
from pathlib import Path

from experiments import demo, figures

ROOT = Path(demo.__file__).parent.parent
PAGES = "".join(page.read_text("utf-8") for page in (ROOT / "README.md", *ROOT.glob("docs/*.md")))
SHOWN = set(re.findall(r"\]\((?:\.\./)?image/([^)]+)\)", PAGES))


def test_the_pictures_are_those_that_the_documents_show():
    assert SHOWN
    assert {path.name for path in (ROOT / "image").iterdir()} == SHOWN


def test_the_demo_collects_its_pictures(tmp_path, monkeypatch):
    work = tmp_path / "work"
    (work / "finetuned/test/visual").mkdir(parents=True)
    drawn = ("target_elbow.png", "target_clusters.png", "synthetic_cluster_ot.jpg")
    peaks = [f"finetuned/test/visual/IMG_{number}_peaks.jpg" for number in (2, 1)]
    for name in (*drawn, *peaks):
        (work / name).write_text(name)
    for name in ("load_counter", "split_photos", "busy_photo", "read_log"):
        monkeypatch.setattr(figures, name, lambda *_: None)
    for name in ("draw_fit", "draw_kernel", "draw_count"):
        monkeypatch.setattr(figures, name, lambda path, *_: None)
    monkeypatch.setattr(figures.pictures, "draw_curve", lambda path, *_: None)
    pictures = figures.draw_gst(tmp_path, tmp_path, tmp_path)
    pictures += demo.collect_mgot(work, tmp_path / "pictures")
    assert (tmp_path / "pictures/mgot_peaks.jpg").read_text() == peaks[1]
    assert len({path.name for path in pictures}) == 8
