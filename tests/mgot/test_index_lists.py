import os
import pickle
from unittest.mock import Mock

import numpy as np
import pytest

from crowd.io.errors import InputError
from crowd.io.files import write_array
from mgot.feature_files import read_clusters, read_index_lists, write_index_lists
from mgot.patches import read_selection, write_selection

LISTS = [[3, 1, 4], [0], [], [2, 5, 700]]


class Runs:
    """Unpickles by calling something."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def save_objects(path, *entries):
    array = np.empty(len(entries), object)
    array[:] = list(entries)
    np.save(path, array, allow_pickle=True)


def as_lists(arrays):
    return [array.tolist() for array in arrays]


def test_writes_what_the_released_code_reads(tmp_path):
    write_index_lists(tmp_path / "index.npy", LISTS)
    loaded = np.load(tmp_path / "index.npy", allow_pickle=True)
    assert loaded.shape == (4,)
    assert [list(entry) for entry in loaded] == LISTS
    assert as_lists(read_index_lists(tmp_path / "index.npy")) == LISTS
    # numpy 1, which the released code runs on, knows no numpy._core.
    assert b"_core" not in (tmp_path / "index.npy").read_bytes()
    write_index_lists(tmp_path / "index.npy", [[0, 1], [2, 3]])  # as long as each other
    assert np.load(tmp_path / "index.npy", allow_pickle=True).shape == (2,)
    assert as_lists(read_index_lists(tmp_path / "index.npy")) == [[0, 1], [2, 3]]


def test_reads_what_numpy_writes(tmp_path):
    path = tmp_path / "index.npy"
    save_objects(path, np.array([3, 1]), [np.int64(7), 2], np.array([0], np.int32))
    assert as_lists(read_index_lists(path)) == [[3, 1], [7, 2], [0]]
    np.save(path, np.array([[4, 1], [2, 3]], dtype=object), allow_pickle=True)
    assert as_lists(read_index_lists(path)) == [[4, 1], [2, 3]]


@pytest.mark.parametrize(("name", "sizes"), [
    ("A_S_256_4", [277, 877, 577, 231]), ("B_T_A2B_256_4", [219, 714, 3582, 285])
])  # fmt: skip
def test_reads_and_rewrites_the_released_files(root, tmp_path, name, sizes):
    path = root.parent / "shared/golden" / f"{name}.npy"
    if not path.is_file():
        pytest.skip("the authors' cluster files are not here")
    centers, lists = read_clusters(path.with_suffix(".h5"), path, sum(sizes))
    assert centers.shape == (4, 224 * 224)
    assert [len(indices) for indices in lists] == sizes
    write_index_lists(tmp_path / "again.npy", lists)
    assert (tmp_path / "again.npy").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    ("function", "argument"),
    [
        (os.system, "touch {}"),
        (os.mkdir, "{}"),
        (getattr, "{}"),
        (eval, "open({!r}, 'w')"),
        (exec, "open({!r}, 'w')"),
    ],
)
def test_runs_nothing_that_a_file_asks_for(tmp_path, function, argument, protocol):
    trace, path = tmp_path / "trace", tmp_path / "index.npy"
    with open(path, "wb") as file:
        header = {"descr": "|O", "fortran_order": False, "shape": (2,)}
        np.lib.format.write_array_header_1_0(file, header)
        pickle.dump([1, Runs(function, argument.format(str(trace)))], file, protocol=protocol)
    with pytest.raises(InputError, match=r"asks to load \S+, which no index file needs"):
        read_index_lists(path)
    assert not trace.exists()


@pytest.mark.parametrize(
    "entries",
    [([1, 2], "text"), ([1.5, 2],), ([True],), (7,), ({1: 2},), (np.array([0.5]),), ([[1], [2]],)],
)
def test_refuses_what_are_no_lists_of_integers(tmp_path, entries):
    save_objects(tmp_path / "index.npy", *entries)
    with pytest.raises(InputError, match=r"k_means\.py"):
        read_index_lists(tmp_path / "index.npy")


def test_names_a_missing_or_damaged_file(tmp_path):
    path = tmp_path / "index.npy"
    with pytest.raises(InputError, match="does not exist"):
        read_index_lists(path)
    write_index_lists(path, LISTS)
    whole = path.read_bytes()
    for length in (0, 5, 100, 140, 200, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"index\.npy is damaged"):
            read_index_lists(path)
    np.save(path, np.arange(4))
    with pytest.raises(InputError, match=r"index\.npy is damaged or holds no lists"):
        read_index_lists(path)


def test_selection_survives_the_round_trip_without_pickle(tmp_path):
    files = tmp_path / "A2B_cluster_ot.npy", tmp_path / "A2B_cluster_ot_weight.npy"
    write_selection(*files, ["a/IMG_1_0.jpg", "ü/IMG_22_3.jpg"], [1.0, 1.25])
    paths, weights = read_selection(*files)
    assert paths == ["a/IMG_1_0.jpg", "ü/IMG_22_3.jpg"]
    np.testing.assert_array_equal(weights, [1.0, 1.25])
    assert np.load(files[0], allow_pickle=False).tolist() == paths


def test_a_selection_that_was_half_written_is_not_read_with_older_weights(tmp_path, monkeypatch):
    files = tmp_path / "paths.npy", tmp_path / "weights.npy"
    write_selection(*files, ["a.jpg"], [1.5])
    stop = Mock(side_effect=[write_array, InputError("full")])
    monkeypatch.setattr("mgot.patches.write_array", lambda *what: stop()(*what))
    with pytest.raises(InputError, match="full"):
        write_selection(*files, ["b.jpg"], [1.0])
    with pytest.raises(InputError, match=r"weights\.npy does not exist"):
        read_selection(*files)


def test_refuses_a_selection_that_does_not_fit(tmp_path):
    files = tmp_path / "paths.npy", tmp_path / "weights.npy"
    cases = [
        (["a", "b"], [1.0], "2 patches"),
        ([1.0], [1.0], "no list of patch paths"),
        (["a"], ["b"], "weights that are"),
        (["a"], [np.nan], "not finite"),
        (["a"], [-1.0], "negative"),
    ]
    for paths, weights, message in cases:
        np.save(files[0], paths)
        np.save(files[1], weights)
        with pytest.raises(InputError, match=message):
            read_selection(*files)
    save_objects(files[0], Runs(os.mkdir, str(tmp_path / "trace")))
    with pytest.raises(InputError, match=r"paths\.npy"):
        read_selection(*files)
    assert not (tmp_path / "trace").exists()
