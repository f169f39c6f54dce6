"""Tiny sets as mgot.fidt writes them, by the tests that need them."""

import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from crowd.io.files import write_array, write_text
from crowd.io.h5 import write_h5
from mgot import pictures, train_baseline, training
from mgot.maps import fidt_map, head_pixels
from tests.conftest import interrupt

TINY = '\'{"widths": [16, 8], "hidden": 4}\''
SETTINGS = "--device cpu --crop_size 32 --batch_size 2 --lr 0.002 --validate_every 2 --epochs 4"


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
def baseline(tmp_path, monkeypatch):
    """Run mgot.train_baseline with small settings; the last option given wins."""

    def run(data, folder="run", options="", stop=None, pre=None, model=None):
        begin = f"--pre {pre}" if pre else f"--model_name hrnet_small --model_options {TINY}"
        arguments = f"{begin} {SETTINGS} --data_dir {data} --save_dir {tmp_path / folder} {options}"
        with monkeypatch.context() as patch:
            interrupt(patch, stop)
            if model:
                patch.setattr(training, "build_model", lambda *args, **kwargs: model())
            train_baseline.main(shlex.split(arguments))
        return tmp_path / folder

    return run


@pytest.fixture
def write_fidt_set(tmp_path):
    """Write train/, val/ and test/ with the given numbers of heads and return the folder."""

    def write(train=(0, 1, 2, 3), val=(2, 0), test=(3, 0, 1), size=(64, 48), name="set", **rule):
        root, rng = tmp_path / name, np.random.default_rng(0)
        width, height = size
        for split, counts in (("train", train), ("val", val), ("test", test)):
            for index, heads in enumerate(counts):
                points = rng.uniform((2, 2), (width - 2, height - 2), (heads, 2))
                write_labelled(root / split / f"photo{index}.png", points, width, height)
        made = {"test_min_size": 1, "max_size": 65500, "interpolation": "bilinear", "smooth": False}
        write_text(root / "preprocess.yml", yaml.safe_dump(made | rule))
        return root

    return write


@pytest.fixture
def figures(monkeypatch):
    """The matplotlib figures drawn in a test, beside their files."""
    drawn, write = [], pictures.write_figure
    monkeypatch.setattr(pictures, "write_figure", lambda *one: drawn.append(one[1]) or write(*one))
    return drawn
