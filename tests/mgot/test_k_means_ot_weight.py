"""k_means_ot_weight.py: which source patches it selects, how it weighs them, what it refuses."""

import importlib
import json

import h5py
import numpy as np
import pytest
from PIL import Image

from crowd.io.h5 import write_h5
from mgot.alignment import (
    daot_costs,
    match_clusters,
    match_clusters_by_cost,
    match_daot_by_cost,
    match_patches,
    match_patches_by_cost,
)
from mgot.feature_files import CLUSTERED, write_index_lists
from mgot.features import write_features
from mgot.options import SsimCost
from mgot.patches import read_selection
from mgot.ssim import ssim_cost

SIDE = 224
FILES = {
    "query": "t.h5",
    "gallery": "s.h5",
    "index_cluster_s": "si.npy",
    "center_cluster_s": "sc.h5",
    "index_cluster_t": "ti.npy",
    "center_cluster_t": "tc.h5",
    "selected_result": "out/A2B_cluster_ot.npy",
    "corresponding_weight": "out/A2B_cluster_ot_weight.npy",
}
CLUSTERS = {"s": [[1, 3, 5, 7, 9], [0, 2, 4, 6, 8]], "t": [[0, 3, 2, 6], [1, 4, 5, 7, 8, 9]]}


def write_domain(folder, domain, count, seed):
    """Features of dense patches (the first cluster) and sparse ones, and the cluster files."""
    rng = np.random.default_rng(seed)
    values = np.zeros((count, SIDE, SIDE), np.float32)
    lists = CLUSTERS[domain]
    dense = lists[0]
    for index, value in enumerate(values):
        for row, column in rng.integers(0, 200, (80 if index in dense else 6, 2)):
            value[row : row + 20, column : column + 20] = rng.uniform(0.3, 0.9)
    names = [f"{domain}_{index:02d}.jpg" for index in range(count)]
    write_features(folder / f"{domain}.h5", names, "", lambda first, last: values[first:last])
    centers = np.stack([values[members].mean(axis=0).ravel() for members in lists])
    write_h5(folder / f"{domain}c.h5", cluster_center=centers)
    write_index_lists(folder / f"{domain}i.npy", lists)
    return values, centers


@pytest.fixture
def domains(tmp_path):
    """Target and source: features and centres."""
    return write_domain(tmp_path, "t", 10, 0), write_domain(tmp_path, "s", 10, 1)


@pytest.fixture
def run(tmp_path, runner, monkeypatch):
    """Run the script on the files above; where its input is bad it writes nothing."""
    monkeypatch.chdir(tmp_path)
    files = [part for name, file in FILES.items() for part in (f"--{name}", file)]
    run = runner(importlib.import_module("k_means_ot_weight").main, *files)

    def checked(*argv, code=0):
        printed = run(*argv, code=code)
        assert (tmp_path / "out").exists() == (code == 0)
        return printed

    return checked


def selection(tmp_path):
    files = [tmp_path / FILES[name] for name in ("selected_result", "corresponding_weight")]
    paths, weights = read_selection(*files)
    summary = json.loads(files[0].with_suffix(".json").read_text())
    return list(zip(paths, weights, strict=True)), summary


def by_hand(domains, mass=None):
    """The released procedure, written out: (path, weight) in order."""
    (target, target_centers), (source, source_centers) = domains
    partner = match_clusters(target_centers, source_centers)
    listed = []
    for number, rows in enumerate(CLUSTERS["t"]):
        columns = CLUSTERS["s"][partner[number]]
        index, weight = match_patches(target[rows], source[columns], mass=mass)
        seen = set()
        for chosen, value in zip(index, weight, strict=True):
            if chosen >= 0 and chosen not in seen:
                seen.add(chosen)
                listed.append((f"s_{columns[chosen]:02d}.jpg", value))
    return listed


@pytest.mark.parametrize("mass", [None, 0.6])
def test_selects_what_the_released_procedure_selects(tmp_path, domains, run, mass):
    printed = run(*(("--mass", mass) if mass else ()))
    listed, summary = selection(tmp_path)
    expected = by_hand(domains, mass)
    assert [path for path, _ in listed] == [path for path, _ in expected]
    np.testing.assert_allclose([w for _, w in listed], [w for _, w in expected], rtol=1e-6)
    used = {path for path, _ in listed}
    assert f"{len(used)} of 10 source patches used, in {len(listed)} entries" in printed
    assert (summary["used"], summary["available"]) == (len(used), 10)
    assert [group["source_cluster"] for group in summary["groups"]] == [0, 1]
    assert [group["target_patches"] for group in summary["groups"]] == [4, 6]
    assert ("all weights are 1, as always at --mass 1\n" in printed) == (mass is None)
    assert Image.open((tmp_path / FILES["selected_result"]).with_suffix(".jpg")).size[0] > 300


def test_the_report_names_the_source_patches_that_the_features_were_made_from(
    tmp_path, domains, run
):
    run()
    assert selection(tmp_path)[1]["patches"] is None
    with h5py.File(tmp_path / "s.h5", "r+") as file:
        file.attrs["recipe"] = json.dumps({"patches": "a hash"})
    run()
    assert selection(tmp_path)[1]["patches"] == "a hash"


def test_part_of_the_mass_leaves_patches_out_and_tells_others_apart(tmp_path, domains, run):
    run("--mass", 0.5)
    listed, summary = selection(tmp_path)
    weights = np.array([weight for _, weight in listed])
    assert sum(group["unmatched"] for group in summary["groups"]) > 0
    assert weights.max() > 1
    assert weights.min() >= 1
    for name in ("min", "max", "mean", "median", "std"):
        assert summary["weights"][name] == pytest.approx(getattr(np, name)(weights), rel=1e-12)
    assert summary["weights"]["above_1"] == (weights > 1 + 1e-6).sum()
    assert "all weights are 1 (--no-weights)\n" in run("--mass", 0.5, "--no-weights")
    unweighted, _ = selection(tmp_path)
    assert unweighted == [(path, 1.0) for path, _ in listed]


def test_each_regularisation_is_of_its_own_transport(tmp_path, domains, run):
    words = "--regularization_parameter1", 0.2, "--regularization_parameter2", 1e-6
    printed, summary = run(*words), selection(tmp_path)[1]
    (target, target_centers), (source, source_centers) = domains
    ends = [match_clusters_by_cost(ssim_cost(target_centers, source_centers), 0.2)]
    for rows, group in zip(CLUSTERS["t"], summary["groups"], strict=True):
        cost = ssim_cost(target[rows], source[CLUSTERS["s"][group["source_cluster"]]])
        ends.append(match_patches_by_cost(cost, 1e-6))
        costs = cost[np.arange(len(rows)), ends[-1].index]
        assert group["mean_cost"] == pytest.approx(costs.mean(), rel=1e-6)
    found = [summary["clusters"], *summary["groups"]]
    for matching, figures in zip(ends, found, strict=True):
        assert figures | matching.transport.convergence() == pytest.approx(figures)
    stopped = sum(not figures["converged"] for figures in found)
    assert printed.count(": not converged after ") == stopped > 0


def test_a_source_patch_is_listed_once_a_cluster_and_may_repeat_across(tmp_path, domains, run):
    # Two target clusters of the same three patches each, and a single source cluster.
    target, centers = domains[0]
    doubled = target[[0, 0, 3, 0, 0, 3]]
    write_features(tmp_path / "t.h5", [f"t{i}" for i in range(6)], "2", lambda a, b: doubled[a:b])
    write_index_lists(tmp_path / "ti.npy", [[0, 1, 2], [3, 4, 5]])
    write_h5(tmp_path / "tc.h5", cluster_center=centers[[0, 0]])
    write_h5(tmp_path / "sc.h5", cluster_center=domains[1][1][:1])
    write_index_lists(tmp_path / "si.npy", [list(range(10))])
    run("--mass", 0.3)
    paths = [path for path, _ in selection(tmp_path)[0]]
    summary = selection(tmp_path)[1]
    first, second = paths[: len(paths) // 2], paths[len(paths) // 2 :]
    assert first == second
    # Patches 0 and 1 are equal, so they chose the same.
    assert len(set(first)) == len(first) < 3
    assert summary["used"] == len(first)
    assert summary["selected"] == 2 * len(first)


@pytest.mark.parametrize("alignment", ["daot", "no-clusters"])
def test_alignments_without_clusters(tmp_path, domains, run, alignment):
    for name in ("si.npy", "sc.h5", "ti.npy", "tc.h5"):
        (tmp_path / name).unlink()
    run("--alignment", alignment, "--ssim_variant", "global", "--regularization_parameter2", 0.01)
    listed, summary = selection(tmp_path)
    (target, _), (source, _) = domains
    costs = daot_costs(target, source, SsimCost("global"))
    if alignment == "daot":
        matching = match_daot_by_cost(*costs, 0.01)
    else:
        matching = match_patches_by_cost(costs[0], 0.01)
    (group,) = summary["groups"]
    assert group["residual"] == pytest.approx(matching.transport.residual)
    assert group["mean_cost"] == pytest.approx(costs[0][range(10), matching.index].mean())
    expected = dict.fromkeys(matching.index.tolist())
    assert [path for path, _ in listed] == [f"s_{index:02d}.jpg" for index in expected]
    assert [group["target_patches"] for group in summary["groups"]] == [10]
    assert "target_cluster" not in summary["groups"][0]


@pytest.mark.parametrize("mass", [1.0, 0.3])
def test_controls_select_at_random_and_all(tmp_path, domains, run, mass):
    run("--mass", mass)
    used = selection(tmp_path)[1]["used"]
    picture = (tmp_path / FILES["selected_result"]).with_suffix(".jpg")
    assert picture.is_file()
    names = [f"s_{index:02d}.jpg" for index in range(10)]
    run("--alignment", "all")
    assert not picture.exists()  # it would be of the matches before
    assert selection(tmp_path)[0] == [(name, 1.0) for name in names]
    draws = set()
    for seed in range(8):
        run("--alignment", "random", "--seed", str(seed), "--mass", mass)
        listed, summary = selection(tmp_path)
        assert summary["used"] == len(dict(listed)) == len(listed) == used
        assert set(listed) <= {(name, 1.0) for name in names}
        draws.add(tuple(listed))
    assert len(draws) > 1


def test_sizes_as_marginals_change_the_clusters_match(tmp_path, domains, run):
    # Two target clusters like the first source cluster. Of equal masses one must go to the second;
    # where the first source cluster holds nine tenths, both mostly go there.
    source = domains[1][1]
    write_h5(tmp_path / "tc.h5", cluster_center=np.stack([source[0], 0.9 * source[0]]))
    write_index_lists(tmp_path / "ti.npy", [list(range(5)), list(range(5, 10))])
    write_index_lists(tmp_path / "si.npy", [list(range(1, 10)), [0]])
    for marginals, partners in (("uniform", [0, 1]), ("sizes", [0, 0])):
        run("--cluster_marginals", marginals)
        groups = selection(tmp_path)[1]["groups"]
        assert sorted(group["source_cluster"] for group in groups) == partners


def test_the_global_variant_costs_something_else(tmp_path, domains, run):
    costs = []
    for variant in ("official", "global"):
        run("--ssim_variant", variant)
        costs.append(selection(tmp_path)[1]["groups"][0]["cluster_cost"])
    assert costs[1] > 2 * costs[0]


def test_examples_are_pairs_that_matched_from_near_to_far(tmp_path, domains, run, figures):
    for domain in "ts":
        (tmp_path / domain).mkdir()
        for index in range(10):
            pixels = np.full((256, 256, 3), 20 * index + 5, np.uint8)
            photo = tmp_path / domain / f"{domain}_{index:02d}.jpg"
            Image.fromarray(pixels).save(photo, quality=100)
    run("--mass", 0.7)
    labels = [axis.get_ylabel() for axis in figures.pop().axes]
    assert list(filter(None, labels)) == ["target map", "source map"]
    run("--target_patches", "t", "--source_patches", "s", "--mass", 0.7)
    axes = np.reshape(figures[0].axes, (4, -1))
    drawn = {line[0].get_ylabel(): [axis.images[0].get_array() for axis in line] for line in axes}
    shown = {}
    for side, (values, _) in zip(("target", "source"), domains, strict=True):
        shown[side] = [round((patch.mean() - 5) / 20) for patch in drawn[f"{side} patch"]]
        for index, map_ in zip(shown[side], drawn[f"{side} map"], strict=True):
            np.testing.assert_array_equal(map_, values[index])
    cost = ssim_cost(domains[0][0], domains[1][0])[shown["target"], shown["source"]]
    listed = {(path, f"weight {weight:.2f}") for path, weight in selection(tmp_path)[0]}
    for axis, source, value in zip(axes[0], shown["source"], cost, strict=True):
        weight, says = axis.get_title().split("\n")
        assert (f"s_{source:02d}.jpg", weight) in listed
        assert says == f"cost {value:.3f}"
    dense = np.isin(shown["target"], CLUSTERS["t"][0])
    assert dense.tolist() == sorted(dense, reverse=True)
    for part in (cost[dense], cost[~dense]):
        assert len(part)
        assert (np.diff(part) >= 0).all()
    (tmp_path / "s/s_04.jpg").unlink()
    (tmp_path / "out").rename(tmp_path / "before")
    assert "s_04.jpg" in run("--source_patches", "s", code=2)


def test_clusters_that_do_not_fit_the_features(tmp_path, domains, run):
    lists = CLUSTERS["s"]
    for other in (lists[1][:-1], [*lists[1], 10], [*lists[1][:-1], 1], [*lists[1][:-1], -1]):
        write_index_lists(tmp_path / "si.npy", [lists[0], other])
        assert "si.npy does not divide 10 features, 0 to 9, among" in run(code=2)
    write_index_lists(tmp_path / "si.npy", [list(range(10)), []])
    assert "si.npy has an empty cluster" in run(code=2)
    write_index_lists(tmp_path / "si.npy", [list(range(10))])
    assert "sc.h5 holds 2 clusters and si.npy 1" in run(code=2)
    write_index_lists(tmp_path / "si.npy", lists)
    for content, message in (
        ({"centre": np.zeros((2, SIDE * SIDE))}, "no dataset 'cluster_center'"),
        ({"cluster_center": np.zeros((2, 100))}, "not [k, 50176] finite"),
        ({"cluster_center": np.full((2, SIDE * SIDE), np.nan)}, "not [k, 50176] finite"),
        ({"cluster_center": domains[1][1], CLUSTERED: np.zeros(32, "u1")}, "than those of s.h5"),
    ):
        write_h5(tmp_path / "sc.h5", **content)
        assert message in run(code=2)
    (tmp_path / "sc.h5").write_bytes(b"text")
    assert "sc.h5 is damaged" in run(code=2)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"corresponding_weight": FILES["selected_result"]}, "and --corresponding-weight in one"),
        ({"selected_result": "out/sel.json"}, "and the .json beside --selected-result"),
        ({"selected_result": "ti.npy"}, "--index-cluster-t and --selected-result"),
        ({"corresponding_weight": "./s.h5"}, "--gallery and --corresponding-weight"),
    ],
)
def test_no_file_of_the_command_is_written_over_another(tmp_path, domains, run, changed, says):
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}
    words = (word for name, path in changed.items() for word in (f"--{name}", path))
    assert says in run(*words, code=2)
    assert before == {path: path.read_bytes() for path in tmp_path.glob("*.*")}


WRONG = {"regularization_parameter1": "0 -1 nan inf", "regularization_parameter2": "0 -1 nan",
         "mass": "0 -0.5 1.1 nan", "alignment": "other", "device": "99 tpu"}  # fmt: skip


def test_values_that_cannot_be(domains, run):
    wrong = [(f"--{name} {one}", name) for name in WRONG for one in WRONG[name].split()]
    for argv, says in (
        *wrong,
        ("--alignment daot --mass 0.5", "leave --mass out"),
        ("--alignment all --mass 0.5", "leave --mass out"),
        ("--alignment daot --cluster_marginals sizes", "has no clusters"),
        ("--alignment no-clusters --cluster_marginals sizes", "has no clusters"),
        ("--mass 1e-6", "larger --mass"),  # so little that nobody chooses
    ):
        assert says in run(*argv.split(), code=2), argv
