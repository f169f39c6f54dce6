import csv
import importlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from crowd.data.images import write_image
from crowd.data.stage import record_path
from GS2D import jobs
from GS2D.arguments import fit_parser
from GS2D.process_gaussians import main as process
from GS2D.store import Report, backup_path, gaussians_path, read_gaussians, write_gaussians
from tests.conftest import oriented

SCRIPT = "2dgs_counting_1gs_gsplat.py"
NAMES = ("crowd 1", "b.c", "IMG_3", "empty")
RELEASED = {"downsample_ratio": 1, "num_epochs": 4000, "learning_rate": 0.01, "bk_num": 0}
RELEASED |= {"use_bk_mask": True, "gt_points": True, "stop_when_flat": False}
RELEASED |= {"flat_threshold": 0.002, "flat_window": 200}


@pytest.fixture
def fit(tmp_path, capsys):
    """Run the command in this process on the set, a few iterations; returns what it printed."""
    module = importlib.import_module(SCRIPT.removesuffix(".py"))

    def run(*options):
        fixed = "--num_epochs", "3", "--workers", "1"
        capsys.readouterr()
        module.main(["--root_path", str(tmp_path / "set"), *fixed, *map(str, options)])
        return capsys.readouterr().out

    return run


@pytest.fixture
def photos(tmp_path):
    """A processed set: `set/train` with photos of 0 to 6 heads."""
    random = np.random.default_rng(0)
    paths = []
    for number, name in zip((5, 1, 6, 0), NAMES, strict=True):
        path = tmp_path / "set" / "train" / f"{name}.jpg"
        write_image(path, random.integers(0, 255, (40, 50, 3), dtype=np.uint8))
        np.save(path.with_suffix(".npy"), random.uniform(0, 40, (number, 3)).astype(np.float32))
        paths.append(path)
    return sorted(paths)


def table(photos):
    with open(photos[0].parent / "gs_params" / "loss_results.csv", newline="") as file:
        return list(csv.reader(file))


def refusal(fit, capsys, *options):
    with pytest.raises(SystemExit) as caught:
        fit(*options)
    assert caught.value.code == 2
    # A busy machine says beside it that compiling takes its time.
    lines = [one for one in capsys.readouterr().err.splitlines() if not one.startswith("note: ")]
    assert len(lines) == 1, lines
    return lines[0]


def test_every_photo_gets_its_gaussians_and_its_line(fit, photos):
    fit()
    for photo in photos:
        params = read_gaussians(gaussians_path(photo))
        np.testing.assert_array_equal(params[:, :2], np.load(photo.with_suffix(".npy"))[:, :2])
        assert (params[:, 2:4] >= 1).all()
        assert ((params[:, 4:] > 0) & (params[:, 4:] < np.pi)).all()
    head, *rows = table(photos)
    assert head == ["File Name", "Render_Loss", "Shape_Loss", "Iterations"]
    assert [row[0] for row in rows] == [photo.name for photo in photos]
    assert [row[3] for row in rows] == [str(3 * (row[0] != "empty.jpg")) for row in rows]
    losses = {row[0]: float(row[1]) for row in rows}
    assert losses.pop("empty.jpg") == 0.0
    assert all(loss > 0 for loss in losses.values())


def test_finished_photos_are_kept_and_changed_ones_fitted_again(fit, photos):
    fit()
    before = {photo: gaussians_path(photo).stat().st_mtime_ns for photo in photos}
    first_table = table(photos)
    gaussians_path(photos[1]).unlink()
    broken = gaussians_path(photos[2])
    broken.write_bytes(broken.read_bytes()[:300])
    (photos[0].parent / "gs_params" / "loss_results.csv").unlink()
    assert "2 photos fitted, 2 were finished" in fit()
    kept = [gaussians_path(photo).stat().st_mtime_ns == before[photo] for photo in photos]
    assert kept == [True, False, False, True]
    assert table(photos) == first_table
    # Content decides, however old: another photo, more heads, and a third column, where no
    # Gaussian stands.
    write_image(photos[0], np.zeros((40, 50, 3), np.uint8))
    np.save(photos[1].with_suffix(".npy"), np.ones((2, 2), np.float32))
    third = photos[2].with_suffix(".npy")
    np.save(third, np.load(third) * np.float32([1, 1, 2]))
    for path in (photos[0], photos[1].with_suffix(".npy"), third):
        os.utime(path, (0, 0))
    assert "3 photos fitted, 1 were finished" in fit()
    assert len(read_gaussians(gaussians_path(photos[1]))) == 2


def deform(photo):
    """Give the photo's first Gaussian scales that elimination changes."""
    params = read_gaussians(gaussians_path(photo))
    params[0, 2:4] = [9, 2]
    write_gaussians(gaussians_path(photo), params, Report(0.5, 0.0, 3))


def test_processed_gaussians_are_finished_and_their_backup_goes_with_a_new_fit(fit, photos):
    fit()
    path = gaussians_path(photos[0])
    deform(photos[0])
    process(["--folder", str(path.parent)])
    processed = path.read_bytes()
    fit()
    assert path.read_bytes() == processed
    assert backup_path(path).exists()
    assert len(table(photos)) == 5
    fit("--overwrite")
    assert not backup_path(path).exists()


@pytest.fixture
def interrupt(fit, monkeypatch):
    """Run the command, and end it by Ctrl-C before the photo that follows `after` others."""
    real = jobs.fit_side_by_side

    def run(after, *options):
        left = [True] * after

        def interrupted(*arguments):
            if not left:
                raise KeyboardInterrupt
            left.pop()
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(jobs, "fit_side_by_side", interrupted)
            with pytest.raises(SystemExit) as caught:
                fit(*options)
        assert caught.value.code == 130

    return run


def test_a_fit_killed_before_its_record_does_not_count(fit, photos, monkeypatch):
    def killed(*given):
        write_gaussians(*given)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "write_gaussians", killed)
        with pytest.raises(SystemExit):
            fit()
    assert "4 photos fitted" in fit()


def test_elimination_does_not_pass_old_fits_off_as_new(fit, photos, interrupt):
    fit()
    for photo in photos[:2]:
        deform(photo)
    interrupt(1, "--overwrite", "--seed", 5)
    process(["--folder", str(gaussians_path(photos[0]).parent)])
    assert "3 photos fitted, 1 were finished" in fit("--seed", 5)


def test_other_settings_do_not_mix(fit, photos, capsys):
    fit()
    assert re.search("num_epochs 3, not 4.*--overwrite", refusal(fit, capsys, "--num_epochs", 4))
    fit("--backend", "reference")
    fit("--num_epochs", 4, "--overwrite")
    assert "0 photos fitted" in fit("--num_epochs", 4)
    fit("--num_epochs", 4, "--flat_threshold", 0.5)
    flat = "--num_epochs", 40, "--stop_when_flat", "--flat_window", 2
    assert "num_epochs 4, not 40" in refusal(fit, capsys, *flat)
    fit(*flat, "--overwrite")
    assert "flat_window 2, not 3" in refusal(fit, capsys, *flat[:-1], 3)
    assert "stop_when_flat True, not False" in refusal(fit, capsys, *flat[:2])


def test_every_setting_finds_other_gaussians(fit, photos):
    found = set()
    for options in ((), ("--seed", 5), ("--no_use_bk_mask",), ("--learning_rate", 0.1)):
        fit("--overwrite", *options)
        found.add(read_gaussians(gaussians_path(photos[0])).tobytes())
    assert len(found) == 4


def test_a_copy_of_the_folder_computes_nothing_anew(fit, photos, tmp_path, copied):
    fit()
    # As a plain copy may leave them: what was fitted looks older than photos and points.
    (copy,) = copied(tmp_path / "copy", photos[0].parent)
    for path in copy.glob("*.*"):
        os.utime(path, ns=(2 * 10**18,) * 2)
    assert "0 photos fitted, 4 were finished" in fit("--root_path", copy)


def test_iterations_used_are_reported(fit, photos):
    flat = "--stop_when_flat", "--flat_threshold", 1, "--flat_window", 5
    assert "8 of 40 iterations on average" in fit("--num_epochs", 40, *flat)
    reported = {row[0]: int(row[3]) for row in table(photos)[1:]}
    # Ten iterations are the fewest that two windows take, and with so high a threshold enough.
    assert reported == {photo.name: 10 * (photo.stem != "empty") for photo in photos}


def from_elsewhere(photo, shift=0.0):
    points = np.load(photo.with_suffix(".npy"))[:, :2] + shift
    write_gaussians(gaussians_path(photo), np.pad(points, ((0, 0), (0, 6)), constant_values=1))
    os.utime(gaussians_path(photo), ns=(10**18, 10**18))
    return gaussians_path(photo).read_bytes()


def test_gaussians_from_elsewhere_are_not_lost_unasked(fit, photos, capsys):
    kept = [from_elsewhere(photo) for photo in photos[:2]]
    assert "2 photos fitted, 2 were finished" in fit()
    assert [gaussians_path(photo).read_bytes() for photo in photos[:2]] == kept
    path, before = gaussians_path(photos[0]), from_elsewhere(photos[0], shift=0.5)
    assert re.search(f"{re.escape(str(path))}.*--overwrite", refusal(fit, capsys))
    path.write_bytes(before[:300])
    assert str(path) in refusal(fit, capsys)
    assert path.read_bytes() == before[:300]
    assert "4 photos fitted" in fit("--overwrite")


@pytest.mark.parametrize(("stored", "orientation"), [((50, 21), 1), ((21, 50), 6)])
def test_a_downsampled_fit_comes_back_in_pixels_of_the_photo_as_seen(
    fit, tmp_path, monkeypatch, stored, orientation
):
    photo, given = tmp_path / "set" / "odd.jpg", []
    photo.parent.mkdir()
    Image.new("RGB", stored).save(photo, exif=oriented(orientation))
    corners = np.array([[0, 0], [50, 21], [25, 10.5]], np.float32)
    np.save(photo.with_suffix(".npy"), corners)
    real = jobs.fit_side_by_side
    monkeypatch.setattr(jobs, "fit_side_by_side", lambda *a: given.extend(a[0]) or real(*a))
    fit("--downsample_ratio", 4)
    ((image, points),) = given
    assert image.shape == (5, 12, 3)
    np.testing.assert_allclose(points, [[0, 0], [12, 5], [6, 2.5]], rtol=1e-6)
    params = read_gaussians(gaussians_path(photo))
    np.testing.assert_array_equal(params[:, :2], corners)
    assert (params[:, 2:4] > 11).all()  # three and more of the small photo's pixels


def test_workers_compute_what_one_process_does(root, fit, photos):
    fit()
    alone = {photo: read_gaussians(gaussians_path(photo)) for photo in photos}
    options = "--root_path", str(photos[0].parent), "--num_epochs", "3", "--workers", "2"
    command = [sys.executable, root / SCRIPT, *options, "--overwrite"]
    subprocess.run(command, check=True, capture_output=True)
    for photo in photos:
        np.testing.assert_allclose(read_gaussians(gaussians_path(photo)), alone[photo], atol=1e-4)


def test_shards_share_the_photos_out(fit, photos, monkeypatch):
    """What torchrun sets for two processes; either may be killed and started again."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in "10":
        monkeypatch.setenv("RANK", rank)
        assert fit() == "2 photos fitted, 0 were finished\n"
    assert all(gaussians_path(photo).exists() for photo in photos)
    assert len(table(photos)) == 1 + len(photos)
    assert fit() == "0 photos fitted, 2 were finished\n"


@pytest.mark.parametrize(
    ("break_input", "message"),
    [
        (lambda p: p.with_suffix(".npy").unlink(), "does not exist"),
        (lambda p: p.with_suffix(".npy").write_bytes(b"no array"), "not a readable array"),
        (lambda p: np.save(p.with_suffix(".npy"), np.full((3, 2), np.nan)), "not finite"),
        (lambda p: np.save(p.with_suffix(".npy"), np.ones(4)), "has shape (4,), not [N, 2 or 3]"),
        (lambda p: np.save(p.with_suffix(".npy"), [[51.0, 3.0]]), "outside crowd 1.jpg"),
        (lambda p: p.write_bytes(b"GIF"), "not a picture"),
        (lambda p: p.with_suffix(".png").write_bytes(p.read_bytes()), "share a name"),
    ],
)
def test_bad_input_is_one_sentence(fit, photos, capsys, break_input, message):
    broken = next(photo for photo in photos if photo.stem == "crowd 1")
    break_input(broken)
    assert message in (line := refusal(fit, capsys))
    assert "crowd 1" in line
    assert not gaussians_path(broken).exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--bk_num", 3), "bk_num 3"),
        (("--flat_window", 0), "'flat_window': Not of type PositiveInt: 0"),
        (("--flat_threshold", "nan"), "flat_threshold"),
        (("--no_gt_points",), "gt_points"),
        (("--downsample_ratio", "nan"), "downsample_ratio"),
        (("--num_epohcs", 5), "did you mean '--num-epochs'"),
        (("--backend", "gpu"), "backend"),
    ],
)
def test_bad_arguments_are_one_sentence(fit, photos, capsys, options, message):
    assert message in refusal(fit, capsys, *options)
    assert not (photos[0].parent / "gs_params").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine with CUDA")
@pytest.mark.parametrize(
    ("fault", "message"),
    [(("--backend", "gsplat"), "'gsplat' needs CUDA"), (("--seed", -1), "seed")],
)
def test_a_command_that_cannot_run_leaves_finished_fits_finished(
    fit, photos, capsys, fault, message
):
    assert message in refusal(fit, capsys, *fault)
    assert not (photos[0].parent / "gs_params").exists()
    fit()
    refusal(fit, capsys, "--num_epochs", 4, "--overwrite", *fault)
    assert "0 photos fitted, 4 were finished" in fit()


@pytest.mark.parametrize(("given", "sizes"), [(3, [3, 1]), (None, [2, 2])])
def test_photos_of_a_group_are_fitted_side_by_side(given, sizes, photos, monkeypatch):
    """With a GPU --workers says how many; here the CPU takes its place."""
    groups, real = [], jobs.fit_together

    def together(group, *settings, **how):
        groups.append(group)
        return real(group, *settings, **how)

    monkeypatch.setattr(jobs, "choose_backend", lambda *_, **__: "gsplat")
    monkeypatch.setattr(jobs, "fit_together", together)
    monkeypatch.setattr(jobs, "SIDE_BY_SIDE", 2)
    assert len(jobs.fit_photos(photos, jobs.FitSettings(num_epochs=3), given)) == 4
    assert [len(group) for group in groups] == sizes
    assert {photo for group in groups for photo in group} == set(photos)


def test_a_fit_that_diverges_writes_nothing(fit, photos, capsys, monkeypatch):
    real = jobs.fit_side_by_side

    def diverges(*arguments):
        fitted = real(*arguments)
        fitted[0].scales[:] = np.nan
        return fitted

    fit()
    waiting = [gaussians_path(photo) for photo in (photos[0], photos[-1])]
    waiting[0].unlink()
    waiting[1].write_bytes(b"damaged")
    monkeypatch.setattr(jobs, "fit_side_by_side", diverges)
    assert "learning_rate below 0.01" in refusal(fit, capsys)
    assert not waiting[0].exists()
    assert len(table(photos)) == 3


def test_every_data_set_has_a_configuration_that_the_command_reads(root, fit, photos):
    datasets = {path.stem for path in (root / "gst" / "configs").glob("*.yml")}
    configurations = {path.name: path for path in (root / "GS2D").glob("config_*_gsplat.yml")}
    without = fit_parser("").read([])
    assert {name: without[name] for name in RELEASED} == RELEASED
    assert set(configurations) == {f"config_{name}_gsplat.yml" for name in datasets}
    for name, path in configurations.items():
        values = yaml.safe_load(path.read_text())
        assert values.pop("root_path") == f"data/{name[7:-11]}_processed"
        assert values == RELEASED
        assert "note" not in fit("--config", path)


def test_released_configuration_is_read_with_a_note(fit, photos, tmp_path):
    released = tmp_path / "released.yml"
    released.write_text(
        "root_path: nowhere\ndownsample_ratio: 1\nnum_epochs: 9\nlearning_rate: 0.01\nbk_num: 0\n"
        "use_bk_mask: True\ndisplay_interval: 100\ngradient_threshold: 0.002\n"
        "gaussian_threshold: 0.002\ndisplay_loss: False\ngt_points: True\n"
    )
    unused = "display_interval, gradient_threshold, gaussian_threshold, display_loss"
    assert f"note: {unused}" in fit("--config", released)


def test_processes_fit_on_their_own_gpu_or_the_cpu(fit, photos, capsys, one_gpu, monkeypatch):
    fit("--backend", "cpu")
    assert one_gpu == []
    monkeypatch.setattr(jobs, "choose_backend", lambda *_, **__: "gsplat")
    options = "--backend", "cpu", "--overwrite"
    assert "more processes than this machine has GPUs (1)" in refusal(fit, capsys, *options)
    monkeypatch.setenv("LOCAL_RANK", "0")
    fit(*options)
    assert one_gpu == [0]


def test_settings_of_an_earlier_version_stand(fit, photos, capsys):
    fit()
    record = record_path(gaussians_path(photos[0]))
    known = json.loads(record.read_text())
    del known["settings"]["stop_when_flat"]
    record.write_text(json.dumps(known))
    assert "0 photos fitted" in fit()
    known["settings"]["of_another_version"] = 3
    record.write_text(json.dumps(known))
    assert "of_another_version 3, not None" in refusal(fit, capsys)
