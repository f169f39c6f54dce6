"""No photo is left out without a word: formats, phones' HEIC, raw photos, subfolders."""

import errno
import importlib
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from crowd.annotations import find_photos
from crowd.count.photos import count_folder, count_photo
from crowd.data import images
from crowd.data.folders import list_images
from crowd.data.images import open_image, read_image, write_image
from crowd.data.network_input import Preprocessing
from crowd.data.processed import list_split
from crowd.io.errors import InputError
from crowd.validate import main as validate
from GS2D.jobs import photos_to_fit
from mgot import patches
from mgot.features import extract_features
from tests.conftest import rows
from tests.crowd.sets import options, refused, run, write_table
from tests.crowd.test_counting import STORED, look

PIXELS = np.kron(np.random.default_rng(0).integers(0, 256, (4, 6, 3)), np.ones((8, 8, 1)))
PIXELS = PIXELS.astype(np.uint8)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
# Endings and the format that Pillow writes there.
FORMATS = {"jfif": "JPEG", "jpe": "JPEG", "mpo": "MPO", "gif": "GIF", "avif": "AVIF"}
FORMATS |= {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "bmp": "BMP", "tif": "TIFF"}
FORMATS |= {"tiff": "TIFF", "webp": "WEBP", "JPG": "JPEG"}


def save(path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(PIXELS).save(path, **options)
    return path


def notes(capsys):
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")]


@pytest.fixture(autouse=True)
def without_heic(monkeypatch):
    """As where pillow-heif is not installed, whatever is."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name, *a: None if "heif" in name else found(name, *a)
    )


@pytest.mark.parametrize("ending", FORMATS)
def test_what_pillow_reads_is_listed_read_and_written(tmp_path, ending):
    if ending == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    path = save(tmp_path / f"a.{ending}", format=FORMATS[ending])
    assert list_images(tmp_path) == [path]
    assert np.abs(read_image(path).astype(int) - PIXELS).mean() < 12
    write_image(tmp_path / f"b.{ending}", PIXELS)
    assert np.abs(read_image(tmp_path / f"b.{ending}").astype(int) - PIXELS).mean() < 12


def test_of_several_pictures_in_a_file_the_first_is_read_and_said(tmp_path, capsys):
    more = {"save_all": True, "append_images": [Image.new("RGB", PIXELS.shape[1::-1])]}
    for name in ("a.gif", "a.tif", "a.webp"):
        assert np.abs(read_image(save(tmp_path / name, **more)).astype(int) - PIXELS).mean() < 20
        assert f"{name} holds several pictures: the first one is read" in capsys.readouterr().err
    for name in ("b.gif", "b.tif", "b.webp", "b.jpg"):
        read_image(save(tmp_path / name))
    read_image(save(tmp_path / "b.mpo", format="MPO", **more))
    assert notes(capsys) == []


def photos_with_much_else(folder):
    save(folder / "a 1.jpg")
    for name in ("IMG_1.HEIC", "IMG_2.heic", "c.cr3", "notes", ".DS_Store"):
        (folder / name).write_bytes(HEIC)
    save(folder / "scene 2" / "inner" / "g.jpg")
    (folder / "empty").mkdir()
    return folder


SAID = ("2 .heic (IMG_1.HEIC, …)", "1 .cr3 (c.cr3)", "1 folder with photos (scene 2)")


def test_what_a_folder_leaves_out_is_counted_and_named(tmp_path, capsys):
    folder = photos_with_much_else(tmp_path / "photos")
    (folder / "list.txt").touch()
    for _ in range(2):  # and said once
        table = count_folder(folder, tmp_path / "out", look, STORED)
    assert [line.split(",")[0] for line in table.read_text().splitlines()] == ["name", "a 1.jpg"]
    (said,) = notes(capsys)
    assert "6 left out of" in said
    assert all(part in said for part in (*SAID, "1 without ending (notes)", "1 .txt (list.txt)"))
    assert "pip install pillow-heif" in said
    assert "--recursive" in said


def test_subfolders_are_counted_when_asked_for(tmp_path, capsys):
    folder = photos_with_much_else(tmp_path / "photos")
    (folder / "scene 2" / "back").symlink_to(folder)
    # The second time its output is there, and the third time it is elsewhere.
    for output in (folder / "out", folder / "out", tmp_path / "other"):
        table = count_folder(folder, output, look, STORED, recursive=True)
        names = [line.split(",")[0] for line in table.read_text().splitlines()]
        assert names == ["name", "a 1.jpg", "scene 2/inner/g.jpg"]
    assert (folder / "out/scene 2/inner/g_counted.jpg").is_file()
    *first, last = notes(capsys)
    assert "folder with photos" not in " ".join(first)
    assert "1 folder with results of counting (out)" in last
    # What --image counted, or a command that was stopped, is no photo either.
    (folder / "out/counts.csv").unlink()
    assert names[1:] == [
        line.split(",")[0]
        for line in count_folder(folder, tmp_path / "again", look, STORED, recursive=True)
        .read_text()
        .splitlines()[1:]
    ]


def test_an_output_with_photos_of_its_own_is_refused_where_they_were_counted(tmp_path):
    folder = photos_with_much_else(tmp_path / "photos")
    (folder / "a 1.jpg").rename(folder / "scene 2/b.jpg")
    with pytest.raises(InputError, match=r"scene 2 holds photos of .*choose another --output"):
        count_folder(folder, folder / "scene 2", look, STORED, recursive=True)
    save(folder / "a 1.jpg")
    count_folder(folder, folder / "scene 2", look, STORED)


def test_photos_are_counted_once_however_many_links_lead_to_them(tmp_path):
    folder, away = tmp_path / "photos", tmp_path / "away"
    for path in (folder / "a", folder / "b/c", away / "d"):
        save(path / "p.jpg")
    for link, target in (("a/l", "../b"), ("b/l", "../a"), ("a/m", away / "d"), ("b/n", away)):
        (folder / link).symlink_to(target)
    (away / "d/up").symlink_to("..")
    table = count_folder(folder, tmp_path / "out", look, STORED, recursive=True)
    assert [row["name"] for row in rows(table)] == ["a/p.jpg", "b/c/p.jpg", "a/m/p.jpg"]


def test_folders_that_cannot_be_read_are_said(tmp_path, capsys, monkeypatch):
    folder, out = tmp_path / "photos", tmp_path / "out"
    for name in ("a.jpg", "b/c.jpg", "lost+found/d.jpg", "b/closed/e.jpg"):
        save(folder / name)

    def scandir(path):  # permissions are none for root
        if Path(path).name in ("lost+found", "closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)
    assert len(rows(count_folder(folder, out, look, STORED))) == 1
    assert len(rows(count_folder(folder, out, look, STORED, recursive=True))) == 2
    first, *others = [line for line in notes(capsys) if "left out" in line]
    assert "lost+found" not in first
    for line, name in zip(others, ("lost+found", "closed"), strict=True):
        assert f"1 folder that cannot be read ({name})" in line
    with pytest.raises(InputError, match=r"lost\+found could not be read .*permissions"):
        count_folder(folder / "lost+found", out, look, STORED)


def test_pictures_that_counting_drew_beside_a_photo_are_not_counted(tmp_path, capsys):
    folder, others = tmp_path / "photos", ("b_counted.jpg", "c.jpg")
    for name in ("a 1.jpg", *others):
        save(folder / name)
    count_photo(folder / "a 1.jpg", folder, look, STORED)
    table = count_folder(folder, tmp_path / "out", look, STORED)
    assert [row["name"] for row in rows(table)] == ["a 1.jpg", *others]
    assert "1 picture of a counted photo (a 1_counted.jpg)" in notes(capsys)[0]


@pytest.mark.parametrize("name", ["test", "mgot.test"])
def test_recursive_without_a_folder_is_refused(capsys, name):
    main = importlib.import_module(name).main
    said = refused(capsys, main, "--save-path", "a.pth", "--image", "a.jpg", "--recursive")
    assert "--recursive takes subfolders of a --folder" in said


def preprocess(name):
    main = importlib.import_module(name).main
    return lambda raw, out: main(options(raw, "csv", "--val-list", raw / "val.txt"))


def read_features(raw, out):
    extract_features(lambda x: x[:, :1], raw, out / "f.h5", {}, Preprocessing())


def fit_list(raw, out):
    np.save(raw / "a 1.npy", np.ones((1, 3), np.float32))
    photos_to_fit(raw)


def patch_list(raw, out):
    where = ["--data_dir", str(raw.parent), "--output", str(out)]
    patches.main([*where, "--unlabelled", "--resize", "256x256"])


COMMANDS = {
    "preprocess_dataset_ucf.py": preprocess("preprocess_dataset_ucf"),
    "mgot.fidt": preprocess("mgot.fidt"),
    "mgot.features": read_features,
    "mgot.patches": patch_list,
    "2dgs_counting_1gs_gsplat.py": fit_list,
    "a processed set": lambda raw, out: list_split(raw.parent, raw.name),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_what_it_leaves_out_of_a_folder(tmp_path, capsys, command):
    raw = photos_with_much_else(tmp_path / "train")
    if command in ("preprocess_dataset_ucf.py", "mgot.fidt"):
        save(raw / "b.jpg")
        (raw / "annotations.csv").write_text("image,x,y\na 1.jpg,3,4\nb.jpg,,\n")
        (raw / "val.txt").write_text("a 1.jpg\n")
    COMMANDS[command](raw, tmp_path / "out")
    said = [line for line in notes(capsys) if "left out" in line]
    assert len(said) == 1
    assert all(part in said[0] for part in SAID)
    assert ".npy" not in said[0]
    assert ".csv" not in said[0]


def test_annotations_without_a_photo_that_is_read_are_said(tmp_path, capsys):
    folder = tmp_path / "set/train_data"
    (folder / "ground_truth").mkdir(parents=True)
    save(folder / "images/IMG_1.jpg")
    (folder / "images/IMG_2.HEIC").write_bytes(HEIC)
    for number in (1, 2):
        (folder / f"ground_truth/GT_IMG_{number}.mat").touch()
    assert len(find_photos(tmp_path / "set", "sht")["train"]) == 1
    said = notes(capsys)
    assert any("1 .heic (IMG_2.HEIC)" in line for line in said)
    assert any("1 annotations" in line and "GT_IMG_2.mat" in line for line in said)


@pytest.mark.parametrize("name", ["IMG_1.HEIC", "called.jpg", "called.dng"])
def test_heic_names_its_plugin_whatever_it_is_called(tmp_path, name):
    (tmp_path / name).write_bytes(HEIC)
    with pytest.raises(InputError, match="pip install pillow-heif, or convert it to JPEG"):
        open_image(tmp_path / name)


def test_a_raw_photo_is_not_counted_by_its_preview(tmp_path):
    save(tmp_path / "a.tif")
    shutil.copy(tmp_path / "a.tif", tmp_path / "a.dng")
    (tmp_path / "a.cr3").write_bytes(b"\0\0\0\x18ftypcrx raw")
    with pytest.raises(InputError, match="raw photos of cameras"):
        read_image(tmp_path / "a.dng")
    with pytest.raises(InputError, match=r"ending in '\.cr3' are not read: convert them to JPEG"):
        read_image(tmp_path / "a.cr3")
    read_image(tmp_path / "a.tif")


def test_a_video_for_a_photo_names_the_option_that_counts_it(tmp_path):
    (tmp_path / "a.MOV").write_bytes(b"\0\0\0\x14ftypqt  ")
    with pytest.raises(InputError, match=r"a\.MOV cannot be read: a video's .* with --video"):
        read_image(tmp_path / "a.MOV")


def test_heic_is_read_where_the_plugin_is(tmp_path, monkeypatch):
    """A stand-in for the plugin: it registers a reader of HEIF, and only when one is asked for."""
    path = tmp_path / "a.HEIC"
    path.write_bytes(HEIC)

    class Plugin:
        asked = 0

        @staticmethod
        def register_heif_opener():
            Plugin.asked += 1

    def opened(name):
        return real(save(tmp_path / "decoded.png") if Plugin.asked else name)

    real = images.Image.open
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *a: "there")
    monkeypatch.setitem(sys.modules, "pillow_heif", Plugin)
    monkeypatch.setattr(images.Image, "open", opened)
    assert list_images(tmp_path) == [path]
    assert Plugin.asked == 0
    np.testing.assert_array_equal(read_image(path), PIXELS)
    assert Plugin.asked == 1


def test_the_validator_finds_what_is_left_out(tmp_path, capsys):
    raw = photos_with_much_else(tmp_path / "raw")
    write_table(raw, "csv", {"a 1.jpg": [[3, 4]]})
    run(validate, raw, "--layout", "csv", "--workers", 0, code=1)
    out = capsys.readouterr().out
    assert "note   not read as a photo: 5" in out
    assert "IMG_1.HEIC: HEIC needs a plugin: pip install pillow-heif" in out
