from unittest.mock import Mock

import h5py
import numpy as np
import pytest

from crowd.io.errors import InputError
from GS2D import process_gaussians
from GS2D.process_gaussians import eliminate_deformity, process_file
from GS2D.store import Report, backup_path, read_gaussians, read_report, write_gaussians


@pytest.fixture
def params():
    params = np.random.default_rng(0).uniform(1, 9, (20, 8)).astype(np.float32)
    params[:, 3] = params[:, 2] * np.random.default_rng(1).uniform(1 / 3, 3, 20)
    return params


def test_what_is_written_is_read(tmp_path, params):
    path = tmp_path / "new" / "x_gs_params.h5"
    write_gaussians(path, params.astype(np.float64), Report(0.5, 0.25, 1400))
    back = read_gaussians(path)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, params)
    assert read_report(path) == (0.5, 0.25, 1400)
    with h5py.File(path) as file:
        assert file["params"].compression == "gzip"
    write_gaussians(path, np.zeros((0, 8)))
    assert read_gaussians(path).shape == (0, 8)
    assert np.isnan(read_report(path)).all()
    for wrong in (params[:, :7], params[0], np.where(params == params[3, 4], np.nan, params)):
        with pytest.raises(ValueError, match="Gaussians for"):
            write_gaussians(path, wrong)
    assert read_gaussians(path).shape == (0, 8)


def test_bad_files_are_one_sentence(tmp_path, params):
    path = tmp_path / "x_gs_params.h5"

    def refused(match):
        with pytest.raises(InputError, match=match) as caught:
            read_gaussians(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    refused("does not exist")
    write_gaussians(path, params)
    path.write_bytes(path.read_bytes()[:700])
    refused("damaged")
    for name, array, match in (
        ("other", params, "no dataset 'params'"),
        ("params", params[:, :6], r"\[20, 6\] in place of \[N, 8\]"),
        ("params", np.full((2, 8), np.inf), "not finite"),
        ("params", np.where(np.arange(8) == 3, np.inf, np.ones((2, 8))), "not finite"),
        ("params", np.full((2, 8), b"a"), "not numbers"),
    ):
        with h5py.File(path, "w") as file:
            file[name] = array
        refused(match)


def test_nan_scales_of_released_files_pass(tmp_path, params):
    path = tmp_path / "x_gs_params.h5"
    params[3, 2:4] = np.nan
    write_gaussians(path, params)
    np.testing.assert_array_equal(read_gaussians(path), params)
    assert process_file(path)[0] > 0
    assert np.isnan(read_gaussians(path)[3, 2:4]).all()


def test_deformity_elimination_computes_what_the_release_does(golden):
    released = np.load(golden / "gst_process_gaussians.npz")
    params, deformed = eliminate_deformity(released["before"])
    np.testing.assert_array_equal(params, released["after"])
    np.testing.assert_array_equal(np.flatnonzero(deformed), released["distorted"])


def test_processing_twice_changes_nothing_and_keeps_the_original(tmp_path, params):
    path = tmp_path / "x_gs_params.h5"
    write_gaussians(path, params, Report(0.1, 0.2, 30))
    changed, total = process_file(path)
    assert 0 < changed < total == 20
    once = path.read_bytes()
    np.testing.assert_array_equal(read_gaussians(backup_path(path)), params)
    assert process_file(path) == (0, 20)
    assert path.read_bytes() == once
    np.testing.assert_array_equal(read_gaussians(backup_path(path)), params)
    assert read_report(path) == read_report(backup_path(path)) == (0.1, 0.2, 30)
    ratio = read_gaussians(path)[:, 2] / read_gaussians(path)[:, 3]
    assert np.maximum(ratio, 1 / ratio).max() <= 1.5


def test_command_processes_a_folder_and_leaves_originals_alone(tmp_path, params, capsys):
    folder = tmp_path / "train" / "gs_params"
    for name in "ab":
        write_gaussians(folder / f"{name}_gs_params.h5", params)
    process_gaussians.main(["--root_path", str(tmp_path)])
    process_gaussians.main(["--folder", str(folder)])
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{n}_gs_params{s}.h5" for n in "ab" for s in ("", "_bk")]
    first, second = capsys.readouterr().out.splitlines()
    assert " of 40 Gaussians in 2 photos" in first
    assert second.startswith("0 of 40")


def test_command_takes_the_keys_of_the_fit_from_files_alone(tmp_path, params, failure, capsys):
    write_gaussians(tmp_path / "train" / "gs_params" / "a_gs_params.h5", params)
    keys = "num_epochs: 9\nuse_bk_mask: True\noverwrite: True\ndisplay_interval: 100\n"
    config = tmp_path / "fit.yml"
    config.write_text(f"root_path: {tmp_path}\n{keys}")
    process_gaussians.main(["--config", str(config)])
    assert " of 20 Gaussians in 1 photos" in capsys.readouterr().out
    for flag, *value in (("--overwrite",), ("--num-epochs", "9"), ("--display-interval", "100")):
        message = failure(process_gaussians.main, "--config", config, flag, *value)
        assert message == f"error: {flag} has no effect on this command: leave it out"
    assert "'--overwrite'" not in failure(process_gaussians.main, "--over-write")
    with pytest.raises(SystemExit):
        process_gaussians.main(["--help"])
    shown = capsys.readouterr().out
    assert "--root-path" in shown
    assert "--overwrite" not in shown


@pytest.mark.parametrize(
    ("scales", "message"), [([0, 3], "not positive"), ([-1, 2], "not positive"), (None, "holds no")]
)
def test_command_refuses_bad_input(tmp_path, params, failure, scales, message):
    if scales:
        params[2, 2:4] = scales
        write_gaussians(tmp_path / "a_gs_params.h5", params)
    assert message in failure(process_gaussians.main, "--folder", tmp_path)
    assert len(list(tmp_path.iterdir())) == bool(scales)


def test_processing_killed_between_its_two_files_keeps_the_original(tmp_path, params, monkeypatch):
    path, write = tmp_path / "x_gs_params.h5", process_gaussians.write_gaussians
    write_gaussians(path, params)
    calls = iter([write, Mock(side_effect=KeyboardInterrupt)])
    with monkeypatch.context() as patched:
        patched.setattr(process_gaussians, "write_gaussians", lambda *given: next(calls)(*given))
        with pytest.raises(KeyboardInterrupt):
            process_file(path)
    np.testing.assert_array_equal(read_gaussians(path), params)
    process_file(path)
    np.testing.assert_array_equal(read_gaussians(backup_path(path)), params)
