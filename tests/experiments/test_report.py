"""The report of runs: whole in itself, with every photo's name, honest about what is missing."""

import json
import shutil
from html.parser import HTMLParser
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from crowd.count.evaluation import PhotoCount, errors_of, write_results
from crowd.io.errors import InputError
from crowd.io.files import short_hash, write_text
from crowd.train.loading import CountedPhotos, photo_loader
from crowd.train.state import Recipe, Training
from experiments.__main__ import main
from experiments.report import find_photos, overlays, read_trainings
from gst.counter import evaluate, load_counter
from gst.models import build_model
from gst.photos import Preprocessing
from mgot.localization import write_points_file
from tests.crowd.test_page_browser import browser  # noqa: F401 - a fixture
from tests.gst.conftest import write_photo

NAMES = ("plain.jpg", "a & b <i>.jpg", "busy.jpg")
SIZE = 64


class Page(HTMLParser):
    """Tags that are opened and closed in order, what is referred to, and the text."""

    VOID = ("meta", "link", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.open, self.references, self.images, self.text = [], [], 0, ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.references += [attributes[key] for key in ("src", "href") if key in attributes]
        self.images += tag == "img"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def write_set(root, split, heads, seed=0):
    """Photos NAMES with so many heads each; Gaussians where it is the training split."""
    random = np.random.default_rng(seed)
    for name, count in zip(NAMES, heads, strict=True):
        points = random.uniform(4, SIZE - 4, (count, 2))
        write_photo(root / split / name, points, SIZE, split == "train")


LOG = {"epoch": 0, "mse": 3.0}, {"epoch": 1, "mse": 2.0}


def write_run(folder, config, counts, log=LOG, **told):
    write_text(folder / "config.yml", yaml.safe_dump(config))
    write_text(folder / "environment.json", json.dumps({"commit": "abc123", "torch": "2"}))
    write_text(folder / "log.jsonl", "".join(json.dumps(line) + "\n" for line in log))
    guessing = {"count": 2.0, "mae": 9.0, "rmse": 9.0, "nae": 1.0}
    metrics = {"model": "m", "split": "test", **errors_of(counts), "guessing": guessing, **told}
    write_results(folder / "test", counts, metrics)


@pytest.fixture
def gst_run(tmp_path):
    """A set, a counter of it, and its counts by that counter."""
    data, run = tmp_path / "set", tmp_path / "gst_set_vgg_small"
    write_set(data, "train", (1, 2, 9))
    write_set(data, "test", (0, 3, 60))
    torch.manual_seed(0)
    preprocessing = Preprocessing(min_size=SIZE, max_size=SIZE)
    recipe = Recipe("vgg_small", {"width": 0.25}, vars(preprocessing), 2.0, {})
    model = build_model("vgg_small", width=0.25)
    Training(model, recipe, lr=1e-3, weight_decay=0, epochs=2).keep(run)
    counter = load_counter(run / "best.pth", torch.device("cpu"))
    photos = photo_loader(CountedPhotos(data, "test", preprocessing), 0)
    counts = evaluate(counter.model, photos, preprocessing.tile)
    config = {"model_name": "vgg_small", "data_dir": str(data), "cut_off": 3.0}
    write_run(run, config | {"loss": "transport"}, counts, checkpoint=short_hash(counter.path))
    return run


@pytest.fixture
def transfer(tmp_path):
    """Folder of a transfer whose two sides name their photos alike, with one training in it."""
    data, work = tmp_path / "data", tmp_path / "runs" / "mgot_A2B"
    write_set(data / "sha_fidt", "test", (1, 2, 3))
    write_set(data / "shb_fidt", "test", (5, 0, 12), seed=1)
    actual = {"plain.jpg": 5, "a & b <i>.jpg": 0, "busy.jpg": 12}
    counts = [PhotoCount(n, actual[n], p) for n, p in zip(sorted(NAMES), (1, 4, 5), strict=True)]
    config = {"model_name": "hrnet_small", "data_dir": "elsewhere", "data_root": str(data)}
    write_run(work / "finetuned", config | {"source": "sha", "target": "shb"}, counts)
    found = [np.full((int(count.predicted), 2), 20.25) for count in counts]
    write_points_file(work / "finetuned" / "test" / "predicted_points.txt", found)
    for name in ("source_elbow.png", "target_clusters.png", "A2B_cluster_ot.jpg"):
        Image.new("RGB", (1800, 40), "white").save(work / name)
    return work


def report_of(tmp_path, *runs):
    output = tmp_path / "out" / "report.html"
    main(["report", *map(str, runs), "--output", str(output)])
    return output.read_text(encoding="utf-8")


def require_whole(page):
    assert page.images
    for reference in page.references:
        assert reference.startswith(("data:image/", "data:,", "#run-")), reference[:80]


def test_a_run_of_gst_shows_its_photos_densities_and_gaussians(tmp_path, gst_run):
    page = Page(report_of(tmp_path, gst_run))
    require_whole(page)
    assert all(name in page.text for name in NAMES)
    # Curves, counts, three overlays, Gaussians, kernel.
    assert page.images == 7
    assert "abc123" in page.text
    assert "guessing 2, the training median" in page.text
    assert "on this machine" not in page.text


def test_what_cannot_be_drawn_is_said(tmp_path, gst_run):
    shutil.rmtree(tmp_path / "set" / "test")
    page = Page(report_of(tmp_path, gst_run))
    assert "are not on this machine" in page.text
    assert page.images == 4
    shutil.rmtree(tmp_path / "set")
    page = Page(report_of(tmp_path, gst_run))
    assert page.images == 2
    assert "is not a folder" in page.text


def test_a_training_in_its_first_epoch_is_said_to_be_one(tmp_path, gst_run):
    write_text(gst_run / "log.jsonl", "")
    assert "the log has no epoch yet" in Page(report_of(tmp_path, gst_run)).text


def test_what_was_tested_is_drawn(tmp_path, gst_run):
    tested = torch.load(gst_run / "best.pth")
    shutil.copy(gst_run / "best.pth", gst_run / "last.pth")
    other = {name: 2 * value for name, value in tested["model"].items()}
    torch.save(tested | {"model": other}, gst_run / "best.pth")
    (training,) = read_trainings(gst_run)
    with_last = overlays(training, training.results[0])
    (gst_run / "last.pth").replace(gst_run / "best.pth")
    assert overlays(training, training.results[0]) == with_last
    torch.save(tested | {"model": other}, gst_run / "best.pth")
    with pytest.raises(InputError, match=r"is of no best\.pth or last\.pth .*: test again"):
        overlays(training, training.results[0])


def test_a_transfer_shows_matches_and_its_trainings(tmp_path, transfer):
    page = Page(report_of(tmp_path, transfer))
    require_whole(page)
    assert all(name in page.text for name in NAMES)
    # Elbow, clusters, matches, curves, counts, three overlays.
    assert page.images == 8


def test_heads_are_drawn_in_the_middle_of_their_pixels(transfer, monkeypatch):
    drawn = Mock(side_effect=lambda path, *_: Image.new("RGB", (8, 8)).save(path))
    monkeypatch.setattr("experiments.report.draw_peaks", drawn)
    (training,) = read_trainings(transfer / "finetuned")
    overlays(training, training.results[0])
    heads = [call.args[2] for call in drawn.call_args_list]
    assert [len(one) for one in heads] == [4, 1, 5]
    assert all((one == 20.5).all() for one in heads)


def test_several_runs_stand_in_one_table(tmp_path, gst_run, transfer):
    page = Page(report_of(tmp_path, gst_run, transfer / "finetuned"))
    links = [reference for reference in page.references if reference.startswith("#")]
    assert len(links) == len(set(links)) == 2


def test_every_result_of_a_run_stands_in_the_table(tmp_path, transfer):
    shutil.copytree(transfer / "finetuned" / "test", transfer / "finetuned" / "best")
    text = report_of(tmp_path, transfer)
    assert [text.count(f"<td>{name}</td>") for name in ("best", "test")] == [1, 1]


def test_photos_are_told_apart_by_their_counts(transfer):
    (training,) = read_trainings(transfer / "finetuned")
    photos = find_photos(training, training.results[0])
    assert {path.parent.parent.name for path in photos.values()} == {"shb_fidt"}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda run: (run / "log.jsonl").unlink(), "hold no training"),
        (lambda run: write_text(run / "environment.json", "{"), "environment.json is not valid"),
        (lambda run: write_text(run / "test" / "predictions.csv", "name,actual\na,1\n"), "line 2"),
        (lambda run: (run / "config.yml").unlink(), "config.yml does not exist"),
    ],
)
def test_a_damaged_run_is_one_sentence_and_no_page(tmp_path, gst_run, failure, damage, says):
    damage(gst_run)
    assert says in failure(lambda _: report_of(tmp_path, gst_run))
    assert not (tmp_path / "out").exists()


# Pictures that are broken, pictures, and what was asked for from outside.
LOOK = """[[...document.images].filter(image => !image.naturalWidth).length, document.images.length,
performance.getEntriesByType("resource").filter(one => !one.name.startsWith("data:")).length]"""


@pytest.mark.skipif(not shutil.which("chromedriver"), reason="a browser is needed")
def test_a_browser_shows_every_picture_and_asks_for_nothing(tmp_path, gst_run, transfer, browser):  # noqa: F811
    page = tmp_path / "report.html"
    main(["report", str(gst_run), str(transfer), "--output", str(page)])
    browser.tell("/url", url=page.as_uri())
    assert browser.run(LOOK) == [0, 15, 0]
    # The look does see what it is to find.
    page.write_text('<img src="http://127.0.0.1:51234/x.png">', encoding="utf-8")
    browser.tell("/url", url=page.as_uri())
    assert browser.run(LOOK) == [1, 1, 1]
