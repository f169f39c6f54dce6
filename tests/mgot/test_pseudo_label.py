"""mgot.pseudo_label: a set of a model's own maps and peaks, without the photos' annotations."""

import os
import re
import shutil
from unittest.mock import Mock

import h5py
import numpy as np
import pytest
import torch

from crowd.data.images import read_image
from crowd.data.network_input import photo_tensor
from crowd.data.processed import SETTINGS
from crowd.io.errors import InputError
from mgot.evaluation import load_counter, predict_map
from mgot.fidt import Preprocessing, read_preprocessing
from mgot.maps import fidt_map, head_pixels, local_maxima
from mgot.pseudo_label import main


@pytest.fixture
def run(tmp_path, runner):
    """Label the set in `tmp_path/set` by `tmp_path/counter.pth`."""
    paths = ["--save_path", tmp_path / "counter.pth", "--data_dir", tmp_path / "set"]
    return runner(main, *paths, "--output", tmp_path / "out", "--device", "cpu")


def labels(photo):
    with h5py.File(photo.with_suffix(".h5")) as file:
        return file["fidt_map"][()], file["kpoint"][()]


@pytest.mark.parametrize("smooth", [False, True])
def test_labels_are_the_map_and_its_peaks(write_fidt_set, write_counter, tmp_path, run, smooth):
    root = write_fidt_set(smooth=smooth, test_min_size=512)
    for annotation in (*root.rglob("*.npy"), *root.rglob("*.h5")):
        annotation.unlink()
    # Raised, so that smoothing does not take the map below the threshold of its peaks.
    counter = load_counter(write_counter(bias=20.0 * smooth), torch.device("cpu"))
    assert "4 photos labelled" in run()
    photos = sorted((tmp_path / "out/train").glob("*.png"))
    assert len(photos) == 4
    for photo in photos:
        source = root / "train" / photo.name
        assert photo.read_bytes() == source.read_bytes()
        expected = predict_map(counter.model, photo_tensor(read_image(source), Preprocessing()))
        values, kpoint = labels(photo)
        np.testing.assert_allclose(values, expected.numpy(), rtol=1e-4, atol=1e-5)
        assert smooth or values.min() < 0
        peaks = local_maxima(expected, smooth)
        assert len(peaks) > 1
        np.testing.assert_array_equal(np.load(photo.with_suffix(".npy")), peaks + 0.5)
        marked = np.zeros_like(kpoint)
        marked[peaks[:, 1], peaks[:, 0]] = 1
        np.testing.assert_array_equal(kpoint, marked)
    assert read_preprocessing(tmp_path / "out") == read_preprocessing(root)


def test_redrawn_labels_are_the_map_of_the_heads(write_fidt_set, write_counter, tmp_path, run):
    write_fidt_set()
    write_counter()
    run()
    assert "3 photos labelled" in run("--redraw", "--split", "test")
    assert "4 photos labelled" in run("--redraw")
    photos = [*tmp_path.glob("out/train/*.png"), *tmp_path.glob("out/test/*.png")]
    assert len(photos) == 7
    for photo in photos:
        values, kpoint = labels(photo)
        heads = np.load(photo.with_suffix(".npy"))
        assert len(heads) > 1
        np.testing.assert_array_equal(values, fidt_map(heads, *values.shape))
        np.testing.assert_array_equal(kpoint, head_pixels(heads, *values.shape))


def test_it_says_how_far_apart_heads_are(write_fidt_set, write_counter, tmp_path, run):
    write_fidt_set()
    write_counter()
    apart = []
    found = re.search(r"heads found: (\S+) pixels to the nearest", run()).group(1)
    for path in (tmp_path / "out/train").glob("*.npy"):
        heads = np.load(path)
        distances = np.hypot(*(heads[:, None] - heads).T)
        apart += np.sort(distances)[:, 1].tolist()
    assert float(found) == pytest.approx(np.median(apart), abs=0.05)
    train = tmp_path / "sha_fidt/train"
    train.mkdir(parents=True)
    (train / "a.png").write_bytes((tmp_path / "set/train/photo0.png").read_bytes())
    np.save(train / "a.npy", np.float32([[5, 5], [5, 9], [20, 5]]))
    transfer = ("--transfer", "A2B", "--source", "sha", "--target", "shb", "--data_root", tmp_path)
    scale = f"mgot.test --scale {4 / np.median(apart):.2f} shows them so"
    assert f"annotated in {tmp_path / 'sha_fidt'}: 4.0 ({scale})" in run(*transfer)


def test_no_peaks_is_a_photo_without_heads(write_fidt_set, write_counter, tmp_path, run):
    write_fidt_set(train=(2,))
    path = write_counter()
    state = torch.load(path)
    for name in ("last_layer.5.weight", "last_layer.5.bias"):
        state["model"][name].zero_()
    torch.save(state, path)
    said = run()
    assert "1 photos labelled with 0 heads" in said
    assert "nearest" not in said
    assert np.load(tmp_path / "out/train/photo0.npy").shape == (0, 2)
    values, kpoint = labels(tmp_path / "out/train/photo0.png")
    assert not values.any()
    assert not kpoint.any()


def test_it_goes_on_where_it_stopped_and_in_a_copy_of_the_folders(
    write_fidt_set, write_counter, tmp_path, run, copied, monkeypatch
):
    root, counter = write_fidt_set(), write_counter()
    run()
    out, data, moved = *copied(tmp_path / "copy", tmp_path / "out", root), tmp_path / "moved.pth"
    moved.write_bytes(counter.read_bytes())
    os.utime(moved, ns=(10**18 * 3,) * 2)
    for places in ((), ("--data_dir", data, "--output", out, "--save_path", moved)):
        assert "0 photos labelled with 0 heads, 4 were up to date" in run(*places)
    (tmp_path / "out/train/photo1.h5").unlink()
    (tmp_path / "out/train/photo2.npy").unlink()
    assert "2 photos labelled" in run()
    photo = root / "train/photo3.png"
    photo.write_bytes((root / "train/photo0.png").read_bytes())
    os.utime(photo, (0, 0))
    assert "1 photos labelled" in run()
    with monkeypatch.context() as patched:
        patched.setattr("mgot.pseudo_label.write_array", Mock(side_effect=InputError("full")))
        run("--redraw", code=2)  # after the map of the first photo
    assert "1 photos labelled" in run()
    os.utime(write_counter(seed=1), (0, 0))
    assert "4 photos labelled" in run()
    assert not list((tmp_path / "out").rglob(".part-*"))


@pytest.mark.parametrize("known", [True, False])
def test_a_labelling_that_stopped_leaves_a_set_that_trains_nothing(
    write_fidt_set, write_counter, tmp_path, run, baseline, failure, monkeypatch, known
):
    root, labelled, _ = write_fidt_set(), tmp_path / "out", write_counter()
    if not known:
        (root / SETTINGS).unlink()
    with monkeypatch.context() as patched:
        stop = Mock(side_effect=[None, InputError("full")])  # the second of four photos
        patched.setattr("mgot.pseudo_label.write_array", stop)
        run(code=2)
    message = failure(lambda _: baseline(labelled, options="--epochs 1"))
    assert "the set is unfinished" in message
    assert "mgot.pseudo_label" in message
    run()
    assert read_preprocessing(labelled) == read_preprocessing(root)
    assert (labelled / SETTINGS).is_file() == known


def test_a_split_that_stopped_is_not_finished_by_another(
    write_fidt_set, write_counter, tmp_path, run, monkeypatch
):
    root, labelled = write_fidt_set(), tmp_path / "out"
    shutil.copytree(root / "train", root / "val", dirs_exist_ok=True)
    for seed in (0, 1):  # the first labels, and others in their place
        write_counter(seed=seed)
        with monkeypatch.context() as patched:
            stop = Mock(side_effect=[None, InputError("full")])
            patched.setattr("mgot.pseudo_label.write_array", stop)
            run(code=2)
        assert "--split train again" in run("--split", "val", code=2)
        with pytest.raises(InputError, match="unfinished"):
            read_preprocessing(labelled)
        run()
        assert read_preprocessing(labelled) == read_preprocessing(root)


def test_a_model_retrained_on_the_labels_of_another_is_noted(
    write_fidt_set, write_counter, tmp_path, run, baseline, capsys
):
    write_fidt_set()
    pre = write_counter()
    run()
    for seed, said in ((0, False), (1, True)):
        write_counter(seed=seed)
        baseline(tmp_path / "out", f"run{seed}", "--epochs 1", pre=pre)
        assert ("are not of" in capsys.readouterr().err) == said


def test_bad_input_is_one_sentence(write_fidt_set, write_counter, tmp_path, run, failure):
    assert "counter.pth does not exist" in run(code=2)
    path = write_counter()
    assert "is not a folder" in run(code=2)
    root = write_fidt_set()
    assert "write elsewhere" in run("--output", root, code=2)
    other = shutil.copytree(root, tmp_path / "annotated")
    before = (other / "train/photo0.npy").read_bytes()
    assert "photo0.npy is no pseudo label" in run("--output", other, code=2)
    assert (other / "train/photo0.npy").read_bytes() == before
    assert "--tile 40" in run("--tile", 40, code=2)
    state = torch.load(path)
    state["model"]["last_layer.5.bias"].fill_(torch.nan)
    torch.save(state, path)
    assert "not finite (last_layer.5.bias)" in run(code=2)
    write_counter()
    (root / "train/photo2.png").write_bytes(b"?")
    assert "photo2.png" in run(code=2)
    assert not (tmp_path / "out/train/photo2.h5").exists()
    (root / "train/photo2.png").unlink()
    (tmp_path / "out/train").mkdir(parents=True, exist_ok=True)
    (tmp_path / "out/train/gone.h5").write_bytes(b"")
    assert "gone.h5 is not of these photos" in run(code=2)
    assert "name --save-path" in failure(main, "--output", tmp_path)
