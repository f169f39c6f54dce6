"""Files from elsewhere: nothing in them runs, escapes its folder, or takes the memory."""

import contextlib
import io
import os
import struct
import sys
import time
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image

from crowd.annotations import read_points
from crowd.data.images import read_image, read_size
from crowd.data.layouts import mat
from crowd.data.splits import read_list
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError
from crowd.io.files import read_array, read_yaml
from crowd.io.h5 import read_h5
from crowd.train.checkpoints import load_checkpoint
from GS2D.arguments import fit_parser
from gst.arguments import build_parser
from gst.counter import load_counter
from gst.photos import Preprocessing
from mgot.patches import locate_patches
from mgot.train_baseline import build_parser as baseline_parser
from tests.fuzz.targets import checkpoint
from train_baseline_weight import build_parser as weight_parser

PARSERS = (fit_parser("fit"), build_parser(), baseline_parser(), weight_parser())
CPU = torch.device("cpu")


def test_a_file_that_crashes_the_reader_is_one_sentence_and_the_next_is_read(tmp_path, root):
    # A damaged file that ends scipy 1.17.1 with a segmentation fault.
    with pytest.raises(InputError, match=r"crash\.mat is damaged"):
        mat.read_points(root / "tests/fuzz/crash.mat", "annPoints")
    scipy.io.savemat(tmp_path / "a.mat", {"annPoints": [[1.0, 2.0]]})
    assert mat.read_points(tmp_path / "a.mat", "annPoints").tolist() == [[1.0, 2.0]]


def test_a_dead_child_is_replaced(tmp_path):
    scipy.io.savemat(tmp_path / "a.mat", {"annPoints": [[1.0, 2.0]]})
    mat.read_points(tmp_path / "a.mat", "annPoints")
    first = mat._child.process
    mat.read_points(tmp_path / "a.mat", "annPoints")
    assert mat._child.process is first
    first.kill()
    first.wait()
    with pytest.raises(InputError, match=r"a\.mat is damaged"):
        mat.read_points(tmp_path / "a.mat", "annPoints")
    assert mat.read_points(tmp_path / "a.mat", "annPoints").shape == (1, 2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_file_that_never_ends_is_given_up(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "endless.mat")
    monkeypatch.setattr(mat, "SECONDS", 1)
    monkeypatch.setattr(mat, "require_file", lambda path, remedy: path)  # which refuses it too
    with pytest.raises(InputError, match=r"endless\.mat .* did not end within 1 s"):
        mat.read_points(tmp_path / "endless.mat", "annPoints")


def test_a_matlab_bomb_is_one_sentence(tmp_path):
    # It announces 3.75 GiB of zeros, and is 64 kB.
    scipy.io.savemat(buffer := io.BytesIO(), {"annPoints": np.zeros((1, 2))})
    header = buffer.getvalue()[:128]
    size = 15 * 2**28
    matrix = struct.pack("<II IIIIII ii", 14, size + 56, 6, 8, 6, 0, 5, 8, size // 16, 2)
    matrix += struct.pack("<II", 1, 9) + b"annPoints" + bytes(7) + struct.pack("<II", 9, size)
    content = zlib.compress(matrix + bytes(2**26), 9)
    (tmp_path / "bomb.mat").write_bytes(header + struct.pack("<II", 15, len(content)) + content)
    with pytest.raises(InputError, match=r"bomb\.mat is damaged"):
        mat.read_points(tmp_path / "bomb.mat", "annPoints")


def test_an_array_whose_header_asks_for_a_terabyte_is_one_sentence(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        header = {"descr": "<f8", "fortran_order": False, "shape": (2**37,)}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(bytes(64))
    np.savez(tmp_path / "b.npz", np.ones(3))
    os.rename(tmp_path / "b.npz", tmp_path / "b.npy")
    for name in "ab":
        with pytest.raises(InputError, match=rf"{name}\.npy is not a readable array"):
            read_array(tmp_path / f"{name}.npy", "write it again")


def test_an_h5_array_that_unpacks_to_any_size_is_one_sentence(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("params", (2**20, 2**20), "f4", chunks=(8, 8), compression="gzip")
        file.create_group("group")
        file["text"] = np.array([b"a"])
        file["away"] = h5py.ExternalLink("/etc/hostname", "x")
    assert (tmp_path / "a.h5").stat().st_size < 10_000
    with pytest.raises(InputError, match=r"a\.h5: 'params' would take 4096 GiB"):
        read_h5(tmp_path / "a.h5", "params", "fit again")
    for name, words in (("group", "not numbers"), ("text", "not numbers"), ("away", "'away'")):
        with pytest.raises(InputError, match=words):
            read_h5(tmp_path / "a.h5", name, "fit again")


def test_an_h5_file_that_points_to_another_is_not_followed(tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["params"] = np.ones((2, 8))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["params"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "params")
        file.create_dataset("raw", (8,), "f8", external=[(str(tmp_path / "secret.h5"), 0, 64)])
    for name in ("params", "raw"):
        with pytest.raises(InputError, match="lies in another file"):
            read_h5(tmp_path / "a.h5", name, "fit again")


def test_a_picture_of_ten_billion_pixels_is_one_sentence(tmp_path):
    Image.new("RGB", (1, 1)).save(buffer := io.BytesIO(), "PNG")
    content = bytearray(buffer.getvalue())
    content[16:24] = struct.pack(">II", 100_000, 100_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "a.png").write_bytes(content)
    for read in (read_image, read_size):
        with pytest.raises(InputError, match=r"a\.png has more than the 200 megapixels"):
            read(tmp_path / "a.png")


def test_yaml_that_grows_without_end_is_refused_at_once(tmp_path):
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{b}: &{b} [{', '.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi")]  # noqa: B905
    (tmp_path / "a.yml").write_text("\n".join(lines))
    begun = time.monotonic()
    with pytest.raises(InputError, match=r"a\.yml is not valid YAML .*write it out"):
        read_yaml(tmp_path / "a.yml", "write it again")
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "value", ["!!python/object/apply:os.mkdir [{made}]", "[" * 2000, "2001-99-99"]
)
def test_yaml_makes_plain_values_only(tmp_path, value):
    made = tmp_path / "made"
    (tmp_path / "a.yml").write_text(f"seed: {value.format(made=made)}\n")
    parser = ArgumentParser()
    parser.add_argument("--seed", type=int)
    with pytest.raises(InputError, match=r"a\.yml"):
        parser.read(["--config", str(tmp_path / "a.yml")])
    assert not made.exists()


@pytest.mark.parametrize("number", range(len(PARSERS)))
def test_no_configuration_imports_what_it_names(tmp_path, monkeypatch, number):
    (tmp_path / "named_by_a_file.py").write_text("class Thing:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    parser = PARSERS[number]
    for key in {action.dest for action in parser._actions} - {"help", "config"}:
        (tmp_path / "a.yml").write_text(f"{key}: {{class_path: named_by_a_file.Thing}}\n")
        needed = ["--data-dir", "set"] if number == 1 else []
        with contextlib.suppress(InputError):
            parser.read(["--config", str(tmp_path / "a.yml"), *needed])
        assert "named_by_a_file" not in sys.modules, key


def saved(path, **changes):
    state = checkpoint()
    state["recipe"].update(changes)
    torch.save(state, path)
    return path


def test_a_checkpoint_cannot_ask_for_downloads_other_files_or_any_memory(tmp_path):
    load_counter(saved(tmp_path / "a.pth"), CPU)
    for options in (
        {"pretrained": str(tmp_path / "other.pth")},
        {"pretrained": "imagenet"},
        {"width": 1000.0},
        {"width": 1e300},
        {"width": "wide"},
        {"depth": 3},
    ):
        with pytest.raises(InputError, match=r"a\.pth"):
            load_counter(saved(tmp_path / "a.pth", model_options=options), CPU)
    for preprocessing in ({"min_size": 10**9}, {"std": [0, 1, 1]}, {"tile": 0}, {"colour": 1}):
        with pytest.raises(InputError, match=r"a\.pth"):
            load_counter(saved(tmp_path / "a.pth", preprocessing=preprocessing), CPU)


def test_a_compressed_checkpoint_is_refused(tmp_path):
    torch.save({"model": {"w": torch.zeros(10_000)}}, tmp_path / "a.pth")
    whole = zipfile.ZipFile(tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for part in whole.infolist():
            packed.writestr(part.filename, whole.read(part))
    load_checkpoint(tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"b\.pth is compressed"):
        load_checkpoint(tmp_path / "b.pth")


@pytest.mark.parametrize("name", ["../secret.jpg", "{secret}", "..", "", ".", "a/../../secret.jpg"])
def test_names_in_files_never_leave_their_folder(tmp_path, name):
    folder, secret = tmp_path / "set", tmp_path / "secret.jpg"
    folder.mkdir()
    for path in (secret, folder / "a.jpg"):
        path.write_bytes(b"photo")
    name = name.format(secret=secret)
    with pytest.raises(InputError, match="lacks 1 patches"):
        locate_patches([name], folder)
    (folder / "train.txt").write_text(f"{name}\n" if name else "''\n")
    with pytest.raises(InputError, match=r"train\.txt, line 1"):
        read_list(folder / "train.txt", [folder / "a.jpg"])
    (folder / "annotations.csv").write_text(f"image,x,y\n{name},1,2\na.jpg,3,4\n")
    if name:
        assert read_points(folder / "a.jpg", "csv").tolist() == [[3.0, 4.0]]
    else:
        with pytest.raises(InputError, match=r"annotations\.csv, line 2 is not a head"):
            read_points(folder / "a.jpg", "csv")


def test_messages_are_one_plain_line_whatever_a_file_says():
    error = InputError("a\nb\r\x1b[2J\x00 \u202e \udcff: mend it" + "x" * 10**6 + " remedy")
    assert str(error).isprintable()
    assert "\x1b" not in str(error)
    assert str(error).endswith(" remedy")
    assert len(str(error)) < 3000


def test_settings_of_a_set_are_checked():
    assert Preprocessing(min_size=16, max_size=17).max_size == 17
    for values in ({"min_size": 15}, {"min_size": 18, "max_size": 17}, {"interpolation": "none"}):
        with pytest.raises(ValueError, match=r"size|interpolation"):
            Preprocessing(**values)
