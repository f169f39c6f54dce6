"""The trained counter in weights/: whole, small, and what its page says."""

import hashlib

import pytest
import torch
import yaml

from gst.counter import BOXED, load_counter


@pytest.fixture(scope="module")
def page():
    return yaml.safe_load(BOXED.with_suffix(".yml").read_text(encoding="utf-8"))


def test_the_file_is_the_one_of_its_page_and_small_enough(page):
    content = BOXED.read_bytes()
    assert hashlib.md5(content).hexdigest() == page["md5"]
    assert len(content) <= 10_000_000


def test_its_figures_are_those_of_the_records(page, root):
    for name, line in page["test"].items():
        metrics = root / f"results/counter/{name}/seed_1/test/metrics.json"
        recorded = yaml.safe_load(metrics.read_text(encoding="utf-8"))
        assert {"MAE", "RMSE"} == set(line)
        assert line["MAE"] == pytest.approx(recorded["mae"], abs=0.005)
        assert line["RMSE"] == pytest.approx(recorded["rmse"], abs=0.005)


def test_it_loads_with_its_preprocessing_and_counts(page):
    counter = load_counter(BOXED, torch.device("cpu"))
    assert counter.name == page["model"] == "light"
    assert counter.from_training
    assert counter.train_median > 0
