"""k_means_elbow.py and k_means.py: what they find, write and refuse."""

import importlib
import json
from itertools import pairwise

import h5py
import numpy as np
import pytest
from PIL import Image

from crowd.io.errors import InputError
from mgot.feature_files import read_clusters, read_index_lists, write_index_lists
from mgot.features import write_features

SIDE = 224
# Words that name the features, the files to write, and among them the picture.
COMMANDS = {
    "k_means_elbow": ("--feature_path", "--elbow_map"),
    "k_means": ("--feature", "--center_cluster c.h5 --cluster_index i.npy --vis_path"),
}


def blobs(count):
    """Maps of four kinds in turn: each kind fills its own quarter of the patch, and noise."""
    noise = np.random.default_rng(0).normal(0, 0.01, (count, SIDE, SIDE))
    values = np.abs(noise).astype(np.float32)
    for index, value in enumerate(values):
        top, left = divmod(index % 4, 2)
        value[top * 112 : top * 112 + 112, left * 112 : left * 112 + 112] += 0.5
    return values


def write(path, values):
    names = [f"p_{index:02d}.jpg" for index in range(len(values))]
    write_features(path, names, "", lambda first, last: values[first:last])
    return path


@pytest.fixture
def run(tmp_path, runner, monkeypatch):
    """Run a script in tmp_path."""
    monkeypatch.chdir(tmp_path)
    return lambda name, *argv, code=0: runner(importlib.import_module(name).main)(*argv, code=code)


def k_means(run, features, *argv, **options):
    files = f"{COMMANDS['k_means'][1]} v.png".split()
    return run("k_means", "--feature", features, *files, *argv, **options)


def test_the_elbow_is_at_the_number_of_kinds(tmp_path, run):
    write(tmp_path / "f.h5", blobs(24))
    printed = run("k_means_elbow", "--feature_path", "f.h5", "--elbow_map", "out/elbow.png")
    assert "elbow at k = 4" in printed
    figures = json.loads((tmp_path / "out/elbow.json").read_text())
    assert figures["elbow"] == 4
    assert figures["patches"] == 24
    assert list(figures["inertia"]) == [str(k) for k in range(2, 11)]
    inertia = list(figures["inertia"].values())
    assert all(after <= before for before, after in pairwise(inertia))
    assert inertia[2] < 0.01 * inertia[1]
    assert Image.open(tmp_path / "out/elbow.png").size[0] > 300


@pytest.mark.parametrize("count", [2, 3, 6])
def test_the_elbow_of_few_patches_ends_at_their_number(tmp_path, run, count):
    # Each of them twice: that makes no more of them.
    write(tmp_path / "f.h5", np.repeat(blobs(count), 2, axis=0))
    printed = run("k_means_elbow", "--feature_path", "f.h5", "--elbow_map", "elbow.png")
    says = f"{count} of {2 * count} patches can be told apart: no k beyond {count}"
    assert printed.splitlines()[0] == says
    figures = json.loads((tmp_path / "elbow.json").read_text())
    assert list(figures["inertia"]) == [str(k) for k in range(2, count + 1)]
    assert figures["elbow"] in range(2, count + 1)
    assert (tmp_path / "elbow.png").is_file()


def test_clusters_are_the_kinds(tmp_path, run):
    values = blobs(18)
    write(tmp_path / "f.h5", values)
    printed = k_means(run, "f.h5")  # into 4, as in the paper
    clusters = read_clusters(tmp_path / "c.h5", tmp_path / "i.npy", 18, tmp_path / "f.h5")
    expected = [list(range(kind, 18, 4)) for kind in range(4)]
    assert sorted(members.tolist() for members in clusters.members) == expected
    for center, members in zip(clusters.centers, clusters.members, strict=True):
        mean = values[members].mean(axis=0).ravel()
        np.testing.assert_allclose(center, mean, atol=1e-6)
    with h5py.File(tmp_path / "c.h5") as file:
        assert file["cluster_center"].shape == (4, SIDE * SIDE)
    assert sum(int(line.split()[2]) for line in printed.splitlines()[:4]) == 18
    assert (tmp_path / "v.png").stat().st_size <= 300_000
    write(tmp_path / "other.h5", values[::-1])
    with pytest.raises(InputError, match=r"c\.h5 holds clusters of other features .* again"):
        read_clusters(tmp_path / "c.h5", tmp_path / "i.npy", 18, tmp_path / "other.h5")


def test_the_seed_is_of_the_starts(tmp_path, run):
    # Noise has many partitions that are as good: other starts end in another.
    write(tmp_path / "f.h5", np.random.default_rng(0).random((40, SIDE, SIDE), np.float32))
    seen = []
    for seed in (0, 1, 0):
        run("k_means_elbow", "--feature_path", "f.h5", "--elbow_map", "v.png", "--seed", seed)
        k_means(run, "f.h5", "--seed", seed)
        inertia = json.loads((tmp_path / "v.json").read_text())["inertia"]
        seen.append((inertia["9"], (tmp_path / "i.npy").read_bytes()))
    assert seen[0] == seen[2]
    assert all(first != second for first, second in zip(*seen[:2], strict=True))


def test_centres_and_members_of_two_runs_are_told_apart(tmp_path, run):
    write(tmp_path / "f.h5", blobs(12))
    k_means(run, "f.h5", "--cluster_num", 3)
    read_clusters("c.h5", "i.npy", 12)
    lists = read_index_lists("i.npy")
    assert len(lists) == 3
    # As many clusters, of other patches.
    lists[0], lists[1] = [*lists[0], lists[1][0]], lists[1][1:]
    write_index_lists("i.npy", lists)
    with pytest.raises(InputError, match="two files of one run"):
        read_clusters("c.h5", "i.npy", 12)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_picture_s_name_is_refused_before_the_work(tmp_path, run, name):
    features, files = COMMANDS[name]
    words = f"{features} none.h5 {files} v.svg".split()
    assert "v.svg is no name for a picture" in run(name, *words, code=2)


@pytest.mark.parametrize(
    "words",
    [
        "k_means --feature f.h5 --center_cluster f.h5 --cluster_index i.npy --vis_path v.png",
        "k_means --feature f.h5 --center_cluster c.h5 --cluster_index link --vis_path v.png",
        "k_means --feature none.h5 --center_cluster f.h5 --cluster_index ./f.h5 --vis_path v.png",
        "k_means_elbow --feature_path f.h5 --elbow_map link",
        "k_means_elbow --feature_path f.json --elbow_map f.png",
        "mgot.features --patches . --save_path f.h5 --output f.h5",
    ],
)
def test_no_file_of_a_command_is_written_over_another(tmp_path, run, words):
    for name in ("f.h5", "f.json"):
        (tmp_path / name).write_bytes(b"as it was")
    (tmp_path / "link").symlink_to("f.h5")
    name, *argv = words.split()
    assert "in one: name another file" in run(name, *argv, code=2)
    assert (tmp_path / "f.h5").read_bytes() == (tmp_path / "f.json").read_bytes() == b"as it was"


@pytest.mark.parametrize("name", COMMANDS)
def test_features_that_cannot_be_clustered(tmp_path, run, name):
    features, files = COMMANDS[name]

    def refused():
        return run(name, *f"{features} f.h5 {files} v.png".split(), code=2)

    assert "f.h5 does not exist" in refused()
    few = 3 if name == "k_means" else 1
    write(tmp_path / "f.h5", blobs(few))
    assert f"f.h5: only {few} of {few} samples are distinct" in refused()
    write(tmp_path / "f.h5", np.full((12, SIDE, SIDE), 0.3, np.float32))
    assert "f.h5: only 1 of 12 samples are distinct" in refused()
    with h5py.File(tmp_path / "f.h5", "r+") as file:
        file["features"][7, 0, 0, 0, 0] = -101.0
    assert "f.h5 holds NaN or values beyond ±100 for p_07.jpg" in refused()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.h5"]


def test_names_that_are_missing_or_wrong(run):
    assert "--feature-path, or a transfer" in run("k_means_elbow", "--seed", 1, code=2)
    assert "cluster_num" in k_means(run, "f.h5", "--cluster_num", 0, code=2)
    for seed in (-1, 2**32):
        assert "v>=0 and v<=4294967295" in k_means(run, "f.h5", "--seed", seed, code=2)
