"""Pictures of more than 8 bits: never black in silence, one rule for training and counting."""

import cv2
import numpy as np
import pytest
import yaml
from PIL import Image

import test as gst_test
from crowd.count.counter import Counter, with_depth
from crowd.count.photos import count_folder
from crowd.data.images import Unclear, depth_option, read_image, read_stored, to_8_bits
from crowd.data.network_input import read_photo
from crowd.io.errors import InputError
from crowd.validate import main as validate
from gst.photos import Preprocessing, read_preprocessing, require_same
from mgot import fidt
from mgot.fidt import read_preprocessing as read_fidt_preprocessing
from mgot.patches import read_patch
from preprocess_dataset_ucf import main as preprocess
from tests.conftest import rows
from tests.crowd.sets import options, refused, run, write_table
from tests.crowd.test_counting import look

# What shall become of every value, 0 to 255, however a file stores it.
GREY = np.random.default_rng(0).integers(0, 256, (16, 20)).astype(np.uint8)
GREY[0, :2] = 0, 255


def at_bits(bits):
    return GREY.astype(np.float64) / 255 * (2**bits - 1)


# How a picture is stored, with which --depth its values are right, or none needed.
STORED = {
    "10 of 16 bits": (at_bits(10).round().astype(np.uint16), "png", "10"),
    "12 of 16 bits": (at_bits(12).round().astype(np.uint16), "tif", "12"),
    "14 of 16 bits": (at_bits(14).round().astype(np.uint16), "png", "14"),
    "16 bits": (at_bits(16).round().astype(np.uint16), "png", None),
    "8 of 32 bits": (GREY.astype(np.int32), "tif", "8"),
    "16 of 32 bits": (at_bits(16).round().astype(np.int32), "tif", None),
    "floats 0 to 1": (at_bits(1).astype(np.float32), "tif", None),
    "floats 0 to 255": (GREY.astype(np.float32), "tif", "8"),
    "degrees": (at_bits(1).astype(np.float32) * 60 - 20, "tif", "-20:40"),
    "hundredths of kelvin": ((28000 + 9 * GREY.astype(np.int32)), "tif", "28000:30295"),
    "a little of 16 bits": ((30000 + 9 * GREY.astype(np.uint16)), "png", "range"),
}


def save(folder, stored):
    values, ending, depth = STORED[stored]
    path = folder / f"{stored.replace(' ', '_')}.{ending}"
    Image.fromarray(values).save(path)
    return path, depth


@pytest.mark.parametrize("stored", STORED)
def test_values_come_out_by_one_rule_or_the_option_is_named(tmp_path, stored):
    path, depth = save(tmp_path, stored)
    if depth is not None:
        with pytest.raises(Unclear, match="add --depth") as caught:
            read_image(path)
        assert path.name in str(caught.value)
        assert f"--depth {depth}" in str(caught.value) or depth == "range" or ":" in depth
        assert "--depth=LOW:HIGH" in str(caught.value)  # argparse takes -20:40 for an option
    for read in (read_image, lambda *how: read_stored(*how).pixels):
        np.testing.assert_array_equal(read(path, depth or "auto"), np.repeat(GREY[..., None], 3, 2))
    np.testing.assert_array_equal(read_image(path, "range"), read_image(path, depth or "auto"))


def test_8_bits_stay_as_they_are_whatever_the_depth(tmp_path):
    Image.fromarray(GREY // 60).save(tmp_path / "dark.png")
    for depth in ("auto", "10", "range", "0:1"):
        np.testing.assert_array_equal(read_image(tmp_path / "dark.png", depth)[..., 0], GREY // 60)


@pytest.mark.parametrize("depth", ["auto", "8", "10", "14"])
def test_values_beyond_what_is_said_are_an_error_and_no_guess(depth):
    for values in (np.array([[0, 70000]]), np.array([[-5, 60000]])):
        with pytest.raises(Unclear, match=r"a\.tif holds values"):
            to_8_bits(values, depth, "a.tif")
    with pytest.raises(InputError, match="not finite"):
        to_8_bits(np.array([[0.0, np.nan]]), depth, "a.tif")


def test_outside_low_and_high_is_black_and_white_and_a_flat_picture_is_no_division_by_0():
    values = np.array([[5, 10, 15, 20, 99]])
    assert to_8_bits(values, "10:20", "a").tolist() == [[0, 0, 128, 255, 255]]
    assert to_8_bits(np.full((2, 2), 700), "range", "a").tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("wrong", ["11", "deep", "5:5", "9:1", "nan:1", "1:inf", "1:2:3", ":"])
def test_what_is_no_depth(wrong):
    with pytest.raises(ValueError, match="LOW:HIGH"):
        depth_option(wrong)
    with pytest.raises(ValueError, match="LOW:HIGH"):
        Preprocessing(depth=wrong)
    with pytest.raises(ValueError, match="has LOW:HIGH in quotes"):
        depth_option(yaml.safe_load("-20:40"))  # a number to the base 60


def write_deep_colours(path, values):
    """Three channels of 16 bits, which Pillow reads and does not write."""
    assert cv2.imwrite(str(path), np.repeat(values[..., None], 3, 2))


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_dark_colours_of_16_bits_are_named_too(tmp_path, ending):
    dark, full = tmp_path / f"dark.{ending}", tmp_path / f"full.{ending}"
    write_deep_colours(dark, at_bits(12).astype(np.uint16))
    write_deep_colours(full, GREY.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(full)[..., 0], GREY)
    with pytest.raises(Unclear, match=r"dark\..* colours of 16 bits.*--depth 16"):
        read_image(dark)
    assert read_image(dark, "16").max() == 15
    with pytest.raises(InputError, match="is for grey pictures"):
        read_image(dark, "12")


COMMANDS = {preprocess: read_preprocessing, fidt.main: read_fidt_preprocessing}


@pytest.mark.parametrize("command", COMMANDS)
def test_preprocessing_asks_for_the_depth_and_hands_it_on(tmp_path, capsys, command):
    values = np.kron(at_bits(12), np.ones((4, 4))).round().astype(np.uint16)
    for split in ("train", "test"):
        names = [f"{number}.png" for number in range(3)]
        write_table(tmp_path / "raw" / split, "csv", {name: [[5, 6]] for name in names})
        for name in names:
            Image.fromarray(values).save(tmp_path / "raw" / split / name)
    given = options(tmp_path / "raw", "csv", "--min-size", 64, "--max-size", 80)
    assert "add --depth 12" in refused(capsys, command, *given)
    out = tmp_path / "out"
    assert not list(out.rglob("*.jpg"))
    command([*given, "--depth", "12"])
    photo = read_image(out / "test/0.jpg").mean()
    assert abs(photo - GREY.mean()) < 3
    how = COMMANDS[command](out)
    assert how.depth == "12"
    assert abs(read_photo(tmp_path / "raw/test/0.png", how).mean() - photo) < 1


def test_sets_of_before_the_option_are_read(tmp_path):
    values = {"min_size": 64, "max_size": 80, "interpolation": "bilinear"}
    (tmp_path / "preprocess.yml").write_text(yaml.safe_dump(values))
    assert read_preprocessing(tmp_path) == Preprocessing(64, 80)
    require_same(tmp_path, Preprocessing(64, 80))
    with pytest.raises(InputError, match=r"depth auto.*trained with depth -20:40.*--depth=-20:40"):
        require_same(tmp_path, Preprocessing(64, 80, depth="-20:40"))


def test_a_folder_is_counted_as_the_training_saw_it_or_as_is_said(tmp_path, failure):
    (tmp_path / "photos").mkdir()
    save(tmp_path / "photos", "10 of 16 bits")
    trained = Counter(None, "", Preprocessing(16, 40, depth="14"), None, {})
    for counter, factor in ((trained, 1023 / 16383), (with_depth(trained, "10"), 1)):
        table = count_folder(tmp_path / "photos", tmp_path / "out", look, counter.preprocessing)
        (row,) = rows(table)
        assert float(row["count"]) == pytest.approx(factor * GREY.mean(), rel=0.05)
    assert with_depth(trained, None) is trained
    plain = with_depth(trained, "auto").preprocessing
    with pytest.raises(InputError, match=r"1 of 1 photos .* add --depth 10"):
        count_folder(tmp_path / "photos", tmp_path / "other", look, plain)
    assert not (tmp_path / "other").exists()
    given = "--folder", tmp_path / "photos", "--output", tmp_path / "main", "--device", "cpu"
    assert "add --depth 10" in failure(gst_test.main, *given)
    gst_test.main([*map(str, given), "--depth", "10"])
    assert len(rows(tmp_path / "main/counts.csv")) == 1


def test_the_clean_copy_is_never_black(tmp_path, capsys):
    root = tmp_path / "set"
    root.mkdir()
    names = [save(root, stored)[0].name for stored in ("10 of 16 bits", "floats 0 to 1")]
    write_table(root, "csv", {name: [[3, 4]] for name in names})
    given = [validate, root, "--layout", "csv", "--workers", 0, "--fix"]
    run(*given, tmp_path / "asked", code=1)
    assert "--depth 10" in capsys.readouterr().out
    assert not (tmp_path / "asked" / names[0]).exists()
    np.testing.assert_array_equal(read_image(tmp_path / "asked" / names[1])[..., 0], GREY)
    run(*given, tmp_path / "said", "--depth", "range", code=1)
    for name in names:
        np.testing.assert_array_equal(read_image(tmp_path / "said" / name)[..., 0], GREY)


def test_patches_are_asked_for_too(tmp_path):
    path, _ = save(tmp_path, "14 of 16 bits")
    with pytest.raises(Unclear, match="--depth 14"):
        read_patch(path)
