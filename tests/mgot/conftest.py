"""Tiny sets as mgot.fidt writes them, and tiny counters, written by the tests that need them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from crowd.io.files import write_array, write_text
from crowd.io.h5 import write_h5
from crowd.train.checkpoints import save_checkpoint
from mgot import pictures
from mgot.fidt import Preprocessing
from mgot.maps import fidt_map, head_pixels
from mgot.models import build_model

TINY = {"widths": [16, 8], "hidden": 4}


def write_labelled(photo: Path, points: np.ndarray, width: int, height: int) -> None:
    """A photo whose red is the column and green the row of each pixel, bright in blue at heads."""
    points = np.asarray(points, np.float32).reshape(-1, 2)
    rows, columns = np.mgrid[:height, :width]
    values = fidt_map(points, height, width)
    image = np.stack([columns, rows, values * 255], axis=2).astype(np.uint8)
    photo.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(photo)
    write_array(photo.with_suffix(".npy"), points)
    write_h5(photo.with_suffix(".h5"), fidt_map=values, kpoint=head_pixels(points, height, width))


@pytest.fixture
def write_fidt_set(tmp_path):
    """Write train/, val/ and test/ with the given numbers of heads and return the folder."""

    def write(
        train=(0, 1, 2, 3), val=(2, 0), test=(3, 0, 1), size=(64, 48), name="set", **settings
    ):
        root = tmp_path / name
        rng = np.random.default_rng(0)
        width, height = size
        for split, counts in (("train", train), ("val", val), ("test", test)):
            for index, heads in enumerate(counts):
                points = rng.uniform((2, 2), (width - 2, height - 2), (heads, 2))
                write_labelled(root / split / f"photo{index}.png", points, width, height)
        rule = {"test_min_size": 1, "max_size": 65500, "interpolation": "bilinear", "smooth": False}
        write_text(root / "preprocess.yml", yaml.safe_dump(rule | settings))
        return root

    return write


@pytest.fixture
def write_counter(tmp_path):
    """Write a checkpoint of a tiny counter; `bias` raises its whole map."""

    def write(name="counter.pth", seed=0, bias=0.0, **preprocessing):
        torch.manual_seed(seed)
        model = build_model("hrnet_small", **TINY)
        # Weights wide enough for a map with many peaks.
        torch.nn.init.normal_(model.last_layer[-1].weight, std=1.0)
        torch.nn.init.constant_(model.last_layer[-1].bias, bias)
        recipe = {
            "model_name": "hrnet_small",
            "model_options": TINY,
            "preprocessing": dataclasses.asdict(Preprocessing(**preprocessing)),
            "train_median": 2.0,
            "settings": {},
        }
        save_checkpoint(tmp_path / name, model=model.state_dict(), recipe=recipe)
        return tmp_path / name

    return write


@pytest.fixture
def failure(capsys):
    """Run a command that must fail; return its one line on stderr."""

    def run(main, *options):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(option) for option in options])
        lines = capsys.readouterr().err.strip().splitlines()
        assert stop.value.code == 2, lines
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        return lines[0]

    return run


@pytest.fixture
def runner(failure, capsys):
    """Make a function that runs a command with `always` and more options.

    It returns what was printed, or with `code=2` the one line about bad input.
    """

    def make(main, *always):
        def run(*options, code=0):
            argv = [str(option) for option in (*always, *options)]
            if code:
                return failure(main, *argv)
            main(argv)
            return capsys.readouterr().out

        return run

    return make


@pytest.fixture
def figures(monkeypatch):
    """The matplotlib figures drawn in a test, beside their files."""
    drawn = []
    write = pictures.write_figure

    def keep(path, figure):
        drawn.append(figure)
        write(path, figure)

    monkeypatch.setattr(pictures, "write_figure", keep)
    return drawn
