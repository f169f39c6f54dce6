"""A tiny processed set with Gaussians, and trainings on it."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train_gs
from crowd.io.files import write_array, write_text
from GS2D.store import gaussians_path, write_gaussians
from tests.conftest import interrupt

HEAD = 9
SETTINGS = (
    "--model-name vgg_small --model-options '{\"width\": 0.25}' --device cpu "
    "--crop-size 64 --lr 0.003 --epochs 4"
)


def write_photo(photo: Path, points: np.ndarray, size: int, train: bool) -> None:
    """Bright discs on a dark ground where the heads are, and what belongs beside the photo."""
    y, x = np.mgrid[:size, :size] + 0.5
    image = np.full((size, size, 3), 40, np.uint8)
    for px, py in points:
        image[(x - px) ** 2 + (y - py) ** 2 <= (HEAD / 2) ** 2] = (230, 200, 180)
    photo.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(photo)
    points = np.asarray(points, np.float32).reshape(-1, 2)
    if not train:
        write_array(photo.with_suffix(".npy"), points)
        return
    distances = np.full((len(points), 1), 2.0 * HEAD, np.float32)
    write_array(photo.with_suffix(".npy"), np.hstack([points, distances]))
    shape = np.tile([HEAD / 2, HEAD / 2, 0.3, 0, 0, 0], (len(points), 1))
    write_gaussians(gaussians_path(photo), np.hstack([points, shape]))


@pytest.fixture
def write_set(tmp_path):
    """Write train/, val/ and test/ with the given numbers of heads and return the folder."""

    def write(train=(5, 1, 0, 3), val=(2, 4), test=(3, 0, 6), size=96, name="set"):
        root, rng = tmp_path / name, np.random.default_rng(0)
        for split, counts in (("train", train), ("val", val), ("test", test)):
            for index, heads in enumerate(counts):
                points = rng.uniform(HEAD, size - HEAD, (heads, 2)).astype(np.float32)
                write_photo(root / split / f"photo{index}.png", points, size, split == "train")
        settings = f"min_size: {size}\nmax_size: {size}\ninterpolation: bilinear\n"
        write_text(root / "preprocess.yml", settings)
        return root

    return write


@pytest.fixture
def train(tmp_path):
    """Run train_gs.py on a small set with small settings; the last option given wins."""

    def run(data, folder="run", *options, model=None, stop=None, epoch=2):
        paths = ["--data-dir", str(data), "--save-dir", str(tmp_path / folder)]
        with pytest.MonkeyPatch.context() as patch:
            if model:
                patch.setattr(train_gs, "build_model", lambda *args, **kwargs: model())
            interrupt(patch, stop, epoch)
            train_gs.main([*shlex.split(SETTINGS), *paths, *options])
        return tmp_path / folder

    return run


@pytest.fixture
def train_failure(train, failure):
    """Run a training that must fail; return its one line on stderr."""
    return lambda *words: failure(lambda words: train(*words), *words)
