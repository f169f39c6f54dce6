"""Patches: whole, in reading order, with their piece of the map; and the command's behaviour."""

import functools
import os
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

from crowd.data.images import read_image, write_image
from crowd.data.network_input import Preprocessing
from crowd.io.errors import InputError
from crowd.io.h5 import read_h5, write_h5
from mgot.features import extract_features
from mgot.maps import fidt_map, head_pixels
from mgot.patches import SIDE, cut_photo, locate_patches, main, patches_of
from tests.conftest import turn


def write_photo(folder, name, width, height, seed=0, labelled=True):
    """A photo whose colours tell where a pixel was, and its FIDT map."""
    rows, columns = np.mgrid[:height, :width]
    pixels = np.stack([columns // 4 % 256, rows // 4 % 256, 0 * rows + 10 * seed], axis=2)
    write_image(folder / f"{name}.jpg", pixels.astype(np.uint8))
    if labelled:
        points = np.random.default_rng(seed).uniform(0, [width, height], (30, 2))
        maps = {"fidt_map": fidt_map(points, height, width)}
        write_h5(folder / f"{name}.h5", **maps, kpoint=head_pixels(points, height, width))
    return folder / f"{name}.jpg"


@pytest.fixture
def run(tmp_path, runner):
    """Run the command from tmp_path/set into tmp_path/patches."""
    return runner(main, "--data_dir", tmp_path / "set", "--output", tmp_path / "patches")


def test_patches_are_whole_disjoint_and_in_reading_order(tmp_path):
    photo = write_photo(tmp_path, "IMG_2", 700, 530)
    assert cut_photo(photo, tmp_path / "out") == 4
    pictures = sorted((tmp_path / "out").glob("*.jpg"))
    places = ("00_00", "00_01", "01_00", "01_01")
    assert [path.stem for path in pictures] == [f"IMG_2_{place}" for place in places]
    whole = read_image(photo)[: 2 * SIDE, : 2 * SIDE].astype(int)
    pieces = [read_image(path).astype(int) for path in pictures]
    joined = np.vstack([np.hstack(pieces[:2]), np.hstack(pieces[2:])])
    assert np.abs(joined - whole).max() <= 8  # JPEG twice
    for name in ("fidt_map", "kpoint"):
        maps = [read_h5(path.with_suffix(".h5"), name, "") for path in pictures]
        original = read_h5(photo.with_suffix(".h5"), name, "")
        joined = np.vstack([np.hstack(maps[:2]), np.hstack(maps[2:])])
        assert joined.dtype == original.dtype
        np.testing.assert_array_equal(joined, original[: 2 * SIDE, : 2 * SIDE])


def test_patches_of_a_photo_turned_by_exif_are_of_it_upright(tmp_path):
    photo = write_photo(tmp_path / "train", "a", 600, 300, labelled=False)
    turn(photo)
    assert cut_photo(photo, tmp_path / "out", labelled=False) == 2
    names = sorted(path.name for path in (tmp_path / "out").glob("*.jpg"))
    assert names == ["a_00_00.jpg", "a_01_00.jpg"]
    assert {Image.open(tmp_path / "out" / name).size for name in names} == {(256, 256)}


def test_names_sort_in_reading_order_beyond_ten(tmp_path):
    photo = write_photo(tmp_path, "wide", 11 * SIDE, SIDE, labelled=False)
    names = [path.name for path in patches_of(photo, tmp_path)]
    assert len(names) == 11
    assert names == sorted(names)


def test_the_target_is_resized_and_has_no_labels(tmp_path, run):
    write_photo(tmp_path / "set/train", "a", 300, 300, labelled=False)
    write_photo(tmp_path / "set/train", "b", 900, 700, labelled=False)
    assert "24 patches of 2 photos" in run("--unlabelled", "--resize", "1024x768")
    assert len(list((tmp_path / "patches").glob("[!.]*"))) == 24
    # The red ramp of 900 columns now takes 1024: every patch still shows its own part of it.
    for column in range(4):
        patch = read_image(tmp_path / f"patches/b_01_{column:02d}.jpg")
        expected = (np.arange(SIDE) + 0.5 + column * SIDE) * 900 / 1024 / 4 - 0.5
        error = np.abs(patch[100, 8:-8, 0] - expected[8:-8] % 256)
        assert np.minimum(error, 256 - error).max() < 8


def times(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("[!.]*")}


def test_a_second_run_writes_nothing_and_a_lost_patch_comes_back(tmp_path, run, copied):
    write_photo(tmp_path / "set/train", "a", 520, 300)
    write_photo(tmp_path / "set/train", "b", 520, 300, seed=1)
    run()
    copy, data = copied(tmp_path / "copy", tmp_path / "patches", tmp_path / "set")
    before, before_copy = times(tmp_path / "patches"), times(copy)
    run()
    run("--data_dir", data, "--output", copy)
    assert (times(tmp_path / "patches"), times(copy)) == (before, before_copy)
    assert len(before) == 8
    lost = tmp_path / "patches/b_00_01.h5"
    lost.unlink()
    run()
    assert lost.exists()
    assert times(tmp_path / "patches")["a_00_00.jpg"] == before["a_00_00.jpg"]


def test_a_changed_photo_or_setting_is_cut_again(tmp_path, run):
    write_photo(tmp_path / "set/train", "a", 512, 256)
    run()
    photo = write_photo(tmp_path / "set/train", "a", 512, 256, seed=9)
    for path in (photo, photo.with_suffix(".h5")):
        os.utime(path, (0, 0))
    run()
    assert abs(read_image(tmp_path / "patches/a_00_00.jpg")[..., 2].mean() - 90) < 2


def test_a_photo_that_was_cut_in_half_is_cut_again(tmp_path, monkeypatch):
    photo, out = write_photo(tmp_path, "a", 540, 280, labelled=False), tmp_path / "out"
    cut = functools.partial(cut_photo, photo, out, labelled=False)
    cut()
    whole = read_image(out / "a_00_00.jpg")
    with monkeypatch.context() as patched:
        patched.setattr("mgot.patches.write_image", Mock(side_effect=InputError("full")))
        with pytest.raises(InputError, match="full"):
            cut(size=(600, 300))
    write_image(out / "a_00_00.jpg", 0 * whole)  # as it stopped, beside the others
    cut()
    np.testing.assert_array_equal(read_image(out / "a_00_00.jpg"), whole)


def test_patches_of_a_run_that_stopped_are_taken_by_no_command(tmp_path, run):
    folder, out = tmp_path / "set/train", tmp_path / "patches"
    write_photo(folder, "a", 256, 256)
    photo = write_photo(folder, "b", 256, 256)
    photo.write_bytes(photo.read_bytes()[:2000])
    run(code=2)
    assert (out / "a_00_00.jpg").is_file()
    for take in (
        lambda: locate_patches(["a_00_00.jpg"], out),
        lambda: extract_features(None, out, tmp_path / "f.h5", {}, Preprocessing()),
    ):
        with pytest.raises(InputError, match=r"a part of its patches: run python -m mgot\.patches"):
            take()
    write_photo(folder, "b", 256, 256)
    run()
    assert len(locate_patches(["a_00_00.jpg", "b_00_00.jpg"], out)) == 2


def test_no_patches_are_cut_of_an_unfinished_set(tmp_path, run):
    write_photo(tmp_path / "set/train", "a", 256, 256)
    (tmp_path / "set/preprocess.yml").write_text("unfinished: true\n")
    assert "the set is unfinished: run python -m mgot.fidt" in run(code=2)
    assert not (tmp_path / "patches").exists()


def test_patches_of_other_settings_are_cut_again(tmp_path, run):
    write_photo(tmp_path / "set/train", "a", 512, 256)
    run("--unlabelled", "--resize", "512x512")
    stretched = read_image(tmp_path / "patches/a_00_00.jpg").astype(int)
    write_photo(tmp_path / "other/train", "a", 512, 512)
    run("--data_dir", str(tmp_path / "other"))
    assert np.abs(read_image(tmp_path / "patches/a_00_00.jpg") - stretched).max() > 20
    run("--data_dir", str(tmp_path / "other"), "--unlabelled")
    assert not list((tmp_path / "patches").glob("*.h5"))  # which a later run might trust


def test_small_photos_are_counted(tmp_path, run):
    write_photo(tmp_path / "set/train", "a", 256, 256)
    write_photo(tmp_path / "set/train", "b", 255, 400)
    printed = run()
    assert "1 patches of 1 photos" in printed
    assert "1 photos are smaller" in printed


def test_bad_input_is_one_sentence(tmp_path, run):
    assert "set/train is not a folder" in run(code=2)
    assert "set/test is not a folder" in run("--split", "test", code=2)
    folder = tmp_path / "set/train"
    photo = write_photo(folder, "a", 200, 300)
    assert "make the set again with python -m mgot.fidt --min-size 256" in run(code=2)
    assert "enlarge them by --resize" in run("--unlabelled", code=2)
    write_photo(folder, "a", 600, 300)
    assert "--unlabelled" in run("--resize", "1024x768", code=2)
    for size in ("1024", "100x768", "0x0", "axb"):
        assert size in run("--unlabelled", "--resize", size, code=2)
    write_h5(photo.with_suffix(".h5"), fidt_map=np.zeros((300, 599)), kpoint=np.zeros((300, 599)))
    assert "a.h5: fidt_map is [300, 599]" in run(code=2)
    write_h5(photo.with_suffix(".h5"), fidt_map=np.zeros((300, 600)))
    assert "has no dataset 'kpoint'" in run(code=2)
    photo.with_suffix(".h5").write_bytes(b"no h5")
    assert "damaged" in run(code=2)
    photo.with_suffix(".h5").unlink()
    assert "a.h5 does not exist" in run(code=2)
    assert not list((tmp_path / "patches").glob("*.jpg"))
    photo.write_bytes(photo.read_bytes()[:2000])
    assert "truncated" in run("--unlabelled", code=2)


def test_patches_of_other_photos_are_not_mixed_in(tmp_path, run):
    write_photo(tmp_path / "set/train", "a", 256, 256)
    (tmp_path / "patches").mkdir()
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "patches/other_00_00.jpg")
    assert "other_00_00.jpg" in run(code=2)
    assert [path.name for path in (tmp_path / "patches").iterdir()] == ["other_00_00.jpg"]
    settings = tmp_path / "set/preprocess.yml"
    settings.write_text("smooth: false\n")
    assert "is a processed set" in run("--output", settings.parent, code=2)
    assert settings.read_text() == "smooth: false\n"
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "set/train/a.png")
    assert "share a name" in run(code=2)


def test_patches_are_found_wherever_they_were_made(tmp_path):
    for name in ("a_00_00.jpg", "a_00_01.jpg"):
        Image.new("RGB", (SIDE, SIDE)).save(tmp_path / name)
    found = locate_patches(["/home/else/where/a_00_01.jpg", "a_00_00.jpg"], tmp_path)
    assert found == [tmp_path / "a_00_01.jpg", tmp_path / "a_00_00.jpg"]
    with pytest.raises(Exception, match=r"lacks 1 patches, among them b\.jpg"):
        locate_patches(["b.jpg", "b.jpg"], tmp_path)
