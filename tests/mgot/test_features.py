"""Features: what the network sees of a patch, and files that survive a kill."""

import os
import re
import signal
import textwrap

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from crowd.data.network_input import Preprocessing, photo_tensor
from crowd.io.errors import InputError
from mgot.evaluation import load_counter
from mgot.feature_files import open_features
from mgot.features import extract_features, locate_sources, main, write_features
from mgot.patches import list_patches, read_patch
from tests.conftest import python

SIDE = 224


@pytest.fixture
def patches(tmp_path):
    """Seven patches of random colours, written in no order."""
    folder = tmp_path / "patches"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in (3, 0, 6, 2, 5, 1, 4):
        pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(pixels).resize((256, 256)).save(folder / f"p_{number:02d}.png")
    return folder


def extract(patches, output, model=lambda x: x[:, :1], recipe=None, **options):
    return extract_features(model, patches, output, recipe or {}, Preprocessing(), **options)


def content(path):
    with open_features(path) as features:
        return features.names, features.read(range(len(features)))


def constant_maps(first, last):
    return np.arange(first, last, dtype=np.float32)[:, None, None] * np.ones((SIDE, SIDE), "f4")


def names(count):
    return [f"p_{number:02d}.jpg" for number in range(count)]


@pytest.mark.parametrize("bgr", [False, True])
def test_the_network_sees_the_normalised_middle_in_the_order_of_names(patches, tmp_path, bgr):
    assert extract(patches, tmp_path / "f.h5", bgr=bgr, batch_size=3) == (7, 7)
    listed, values = content(tmp_path / "f.h5")
    assert listed == [f"p_{number:02d}.png" for number in range(7)]
    for name, value in zip(listed, values, strict=True):
        middle = np.asarray(Image.open(patches / name))[16:240, 16:240]
        first = middle[..., 2 if bgr else 0] / 255
        np.testing.assert_allclose(value.reshape(SIDE, SIDE), (first - 0.485) / 0.229, atol=1e-5)
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["features"].shape == (7, 1, 1, SIDE, SIDE)
        assert file["features"].dtype == np.float32
        # The released code cuts b'...' off with str(path)[2:-1].
        assert str(file["paths"][3])[2:-1] == "p_03.png"


def test_patches_of_another_size_are_resized_first(tmp_path):
    Image.new("RGB", (300, 100), (10, 20, 30)).save(tmp_path / "a.png")
    patch = read_patch(tmp_path / "a.png")
    assert patch.shape == (SIDE, SIDE, 3)
    assert (patch == (10, 20, 30)).all()


def test_a_second_run_computes_nothing_unless_something_changed(patches, tmp_path, copied):
    output = tmp_path / "f.h5"
    assert extract(patches, output, recipe={"checkpoint": "1"}) == (7, 7)
    (copy,) = copied(tmp_path / "copy", patches)
    for folder in (patches, copy):
        assert extract(folder, output, recipe={"checkpoint": "1"}) == (7, 0)
    assert extract(patches, output, recipe={"checkpoint": "2"}) == (7, 7)
    assert extract(patches, output, recipe={"checkpoint": "2"}, bgr=True) == (7, 7)
    (patches / "p_03.png").unlink()
    assert extract(patches, output, recipe={"checkpoint": "2"}, bgr=True) == (6, 6)
    (patches / "p_04.png").write_bytes((patches / "p_05.png").read_bytes())
    os.utime(patches / "p_04.png", (0, 0))
    assert extract(patches, output, recipe={"checkpoint": "2"}, bgr=True) == (6, 6)


KILLED = """
    import os, signal, sys
    import numpy as np
    from mgot.features import write_features
    def compute(first, last):
        if first >= 6:
            os.kill(os.getpid(), signal.SIGKILL)
        return np.arange(first, last, dtype="f4")[:, None, None] * np.ones((224, 224), "f4")
    write_features(sys.argv[1], [f"p_{number:02d}.jpg" for number in range(11)], "r", compute, 3)
"""


def test_a_killed_process_is_continued_by_the_next(tmp_path):
    output = tmp_path / "f.h5"
    assert python(textwrap.dedent(KILLED), str(output)).returncode == -signal.SIGKILL
    assert not output.exists()
    computed = []

    def compute(first, last):
        computed.append((first, last))
        return constant_maps(first, last)

    assert write_features(output, names(11), "r", compute, 3) == 5
    assert computed == [(6, 9), (9, 11)]
    assert (content(output)[1] == np.arange(11)[:, None]).all()
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


def test_a_file_that_another_command_writes_is_left_alone(tmp_path):
    output = tmp_path / "f.h5"

    def compute(first, last):
        with pytest.raises(InputError, match="another process"):
            write_features(output, names(2), "other", constant_maps)
        return constant_maps(first, last)

    assert write_features(output, names(2), "r", compute) == 2
    (tmp_path / "f.h5.parts" / "left").mkdir(parents=True)  # by a kill after the file was whole
    assert write_features(output, names(2), "r", compute) == 0
    assert list(tmp_path.iterdir()) == [output]
    assert write_features(output, names(2), "other", constant_maps) == 2


def test_features_of_other_patches_than_lie_there_are_told(patches, tmp_path):
    output = tmp_path / "f.h5"

    def locate():
        with open_features(output) as features:
            return locate_sources(features, patches)

    extract(patches, output)
    assert locate() == list_patches(patches)
    (patches / "p_00.png").rename(tmp_path / "p")
    (patches / "p_01.png").rename(patches / "p_00.png")
    (tmp_path / "p").rename(patches / "p_01.png")
    with pytest.raises(
        InputError, match=r"f\.h5 is not of the patches .* run python -m mgot\.feat"
    ):
        locate()
    listed = [path.name for path in list_patches(patches)]
    write_features(output, listed, "of another program", constant_maps)
    assert locate() == list_patches(patches)


@pytest.mark.parametrize("damage", ["recipe", "names", "block"])
def test_remains_that_do_not_fit_are_not_continued(tmp_path, damage):
    """Two of five patches, whose values are off by 100, are there when a call is interrupted."""
    output = tmp_path / "f.h5"

    def interrupted(first, last):
        if first >= 2:
            raise KeyboardInterrupt
        return constant_maps(first, last) + 90

    with pytest.raises(KeyboardInterrupt):
        write_features(output, names(5), "r", interrupted, 2)
    (part,) = tmp_path.glob("f.h5.parts/*/*.npy")
    part.write_bytes(b"no array")
    with pytest.raises(InputError, match=r"0\.npy is not a readable array file: remove it and run"):
        write_features(output, names(5), "r", constant_maps, 2)
    recipe = "other" if damage == "recipe" else "r"
    listed = [f"q{name}" for name in names(5)] if damage == "names" else names(5)
    assert write_features(output, listed, recipe, constant_maps, 2 + (damage == "block")) == 5
    assert content(output)[0] == listed
    assert (content(output)[1] == np.arange(5)[:, None]).all()
    assert list(tmp_path.iterdir()) == [output]


def test_reads_what_the_released_code_writes(tmp_path):
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["features"] = np.stack([constant_maps(i, i + 1)[None] for i in range(2)])
        file["paths"] = np.bytes_(["/home/a/IMG_1_0.jpg", "/home/a/IMG_2_0.jpg"])
    listed, values = content(tmp_path / "f.h5")
    assert listed == ["/home/a/IMG_1_0.jpg", "/home/a/IMG_2_0.jpg"]
    assert values[:, 0].tolist() == [0, 1]


def refused(path):
    with pytest.raises(InputError) as error:
        content(path)
    assert "\n" not in str(error.value)
    assert path.name in str(error.value)
    return str(error.value)


def test_bad_files_are_one_sentence(tmp_path):
    path = tmp_path / "f.h5"
    assert "does not exist" in refused(path)
    path.write_text("text")
    assert "damaged or no h5 file" in refused(path)
    write_features(path, names(3), "r", constant_maps)
    os.truncate(path, path.stat().st_size - SIDE * SIDE)
    assert "damaged or no h5 file" in refused(path)
    for missing in ("features", "paths"):
        write_features(path, names(3), "r", constant_maps)
        with h5py.File(path, "r+") as file:
            del file[missing]
        assert f"no dataset '{missing}'" in refused(path)
    datasets = {
        "features": [np.zeros((2, 100), "f4"), np.zeros((2, SIDE, SIDE), "i4"), np.float32(1), {}],
        "paths": [np.bytes_(["a"]), np.zeros(2), np.zeros(0, "S1")],
    }
    for name, bad in [(name, bad) for name, values in datasets.items() for bad in values]:
        good = {"features": np.zeros((2, SIDE, SIDE), "f4"), "paths": np.bytes_(["a", "b"])}
        with h5py.File(path, "w") as file:
            for key, value in (good | {name: bad}).items():
                if isinstance(value, dict):
                    file.create_group(key)
                else:
                    file[key] = value
        refused(path)


def test_values_that_are_not_finite_name_their_patch(tmp_path, patches):
    path = tmp_path / "f.h5"

    def compute(first, last):
        values = constant_maps(first, last)
        values[values == 2] = np.nan
        return values

    with pytest.raises(InputError, match=r"p_02\.jpg"):
        write_features(path, names(4), "r", compute, 4)
    assert not path.exists()
    write_features(path, names(4), "r", constant_maps)
    with h5py.File(path, "r+") as file:
        file["features"][3, 0, 0, 5, 5] = np.inf
    assert "p_03.jpg" in refused(path)


def test_a_model_that_does_not_fit_is_refused(tmp_path, patches):
    with pytest.raises(InputError, match=re.escape("[1, 112, 112]")):
        extract(patches, tmp_path / "f.h5", model=lambda images: images[:, :1, ::2, ::2])
    assert not (tmp_path / "f.h5").exists()


def test_no_patches_and_damaged_ones_are_refused(tmp_path, patches):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no patches"):
        extract(tmp_path / "none", tmp_path / "f.h5")
    damaged = patches / "p_05.png"
    content = damaged.read_bytes()
    damaged.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"p_05\.png"):
        extract(patches, tmp_path / "f.h5", batch_size=2)
    damaged.write_bytes(content)
    assert extract(patches, tmp_path / "f.h5", batch_size=2) == (7, 7)


def test_the_command_runs_the_checkpoint_over_the_patches(patches, tmp_path, runner, write_counter):
    checkpoint = write_counter()
    places = ("--patches", patches, "--save_path", checkpoint, "--output", tmp_path / "f.h5")
    run = runner(main, *places, "--device", "cpu", "--batch_size", 4)
    for computed in (7, 0):
        assert run() == f"{tmp_path / 'f.h5'}: 7 patches, {computed} of them computed now\n"
    image = np.asarray(Image.open(patches / "p_04.png"))[16:240, 16:240]
    counter = load_counter(checkpoint, torch.device("cpu"))
    with torch.inference_mode():
        expected = counter.model(photo_tensor(image, Preprocessing())[None]).flatten()
    values = torch.from_numpy(content(tmp_path / "f.h5")[1][4])
    torch.testing.assert_close(values, expected, rtol=1e-4, atol=1e-4)
    write_counter(seed=1)
    assert "7 patches, 7 of them computed now" in run()
    assert "7 patches, 7 of them computed now" in run("--bgr")
    checkpoint.unlink()
    assert "counter.pth does not exist" in run(code=2)


@pytest.mark.parametrize("place", [0, 96, 400, 800, 1100, 2000, 2400])
def test_a_damaged_structure_is_written_anew(tmp_path, place):
    write_features(tmp_path / "f.h5", names(2), "r", constant_maps)
    with open(tmp_path / "f.h5", "r+b") as file:
        file.seek(place)
        file.write(b"\xa5" * 200)
    write_features(tmp_path / "f.h5", names(2), "r", constant_maps)
    with open_features(tmp_path / "f.h5") as features:
        assert features.names == names(2)
        np.testing.assert_array_equal(features.read([0, 1])[:, 0], constant_maps(0, 2)[:, 0, 0])
