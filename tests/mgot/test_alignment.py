import h5py
import numpy as np
import pytest

import mgot
from crowd.io.errors import InputError
from mgot.alignment import (
    daot_costs,
    match_clusters_by_cost,
    match_daot_by_cost,
    match_patches_by_cost,
)
from mgot.options import VARIANTS, SsimCost


def maps(count, seed):
    """Distinct patches: the FIDT maps of a few random heads each."""
    generator = np.random.default_rng(seed)
    heads = [generator.uniform(0, 224, (generator.integers(2, 9), 2)) for _ in range(count)]
    return np.stack([mgot.fidt_map(points, 224, 224) for points in heads])


def test_matches_as_the_released_code(golden):
    figures = np.load(golden / "mgot_alignment.npz")
    clusters = match_clusters_by_cost(figures["inter_cost"])
    np.testing.assert_array_equal(clusters.index, figures["inter_mapping"])
    for i in (0, 1):
        matching = match_patches_by_cost(figures[f"cost{i}"])
        np.testing.assert_array_equal(matching.index, figures[f"mapping{i}"])
        np.testing.assert_allclose(matching.weight, figures[f"weight{i}"], rtol=1e-4)
    target = figures["target"][figures["target_cluster0"]]
    source = figures["source"][figures["source_cluster1"]]
    index, weight = mgot.match_patches(target, source)
    np.testing.assert_array_equal(index, figures["mapping0"])
    np.testing.assert_allclose(weight, figures["weight0"], rtol=1e-4)


def test_matches_the_released_centers(golden, root):
    released = [root.parent / "shared/golden" / name for name in ("B_T_A2B_256_4", "A_S_256_4")]
    released = [path.with_suffix(".h5") for path in released]
    if not all(path.is_file() for path in released):
        pytest.skip("the authors' cluster files are not here")
    figures = np.load(golden / "mgot_released_centers.npz")
    with h5py.File(released[0]) as target, h5py.File(released[1]) as source:
        centers = target["cluster_center"], source["cluster_center"]
        np.testing.assert_allclose(mgot.ssim_cost(*centers), figures["cost"], rtol=0, atol=1e-6)
        np.testing.assert_array_equal(mgot.match_clusters(*centers), figures["mapping"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_shuffled_copy_finds_every_original(variant):
    source, ssim = maps(9, 0), SsimCost(variant)
    order = np.random.default_rng(1).permutation(9)
    index, weight = mgot.match_patches(source[order], source, ssim=ssim)
    np.testing.assert_array_equal(index, order)
    np.testing.assert_allclose(weight, 1, rtol=1e-6)
    clusters = mgot.match_clusters(source[order][:4], source[order][:4], ssim=ssim)
    np.testing.assert_array_equal(clusters, np.arange(4))
    costs = daot_costs(source[order], source, ssim)
    np.testing.assert_array_equal(match_daot_by_cost(*costs).index, order)


def test_all_mass_gives_weights_of_1_and_less_mass_tells_patches_apart():
    cost = np.random.default_rng(2).random((12, 8)) * 0.1
    np.testing.assert_allclose(match_patches_by_cost(cost).weight, 1, rtol=1e-6)
    matching = match_patches_by_cost(cost, mass=0.5)
    moved = matching.index >= 0
    values = matching.transport.plan.sum(0)[matching.index[moved]]
    np.testing.assert_allclose(matching.weight[moved], np.maximum(values / values.mean(), 1.0))
    assert matching.weight.max() > 1.05
    assert matching.transport.plan.sum() == pytest.approx(0.5)


def test_rows_that_hardly_move_choose_nothing():
    cost = np.random.default_rng(3).random((10, 10)) * 0.01
    cost[[2, 7]] += 1.0
    matching = match_patches_by_cost(cost, mass=0.7)
    np.testing.assert_array_equal(np.flatnonzero(matching.index < 0), [2, 7])
    np.testing.assert_array_equal(matching.weight == 0, matching.index < 0)
    assert (matching.weight[matching.index >= 0] >= 1).all()
    assert (match_patches_by_cost(cost).index >= 0).all()


def test_the_weight_of_the_entropy_is_the_released_one():
    # Where both sides are uniform, a plan's odds are exp(cost / 0.001).
    cost = 0.001 * np.log(3) * (1 - np.eye(2))
    plans = [
        match(cost).transport.plan for match in (match_clusters_by_cost, match_patches_by_cost)
    ]
    np.testing.assert_allclose(plans, [[[0.375, 0.125], [0.125, 0.375]]] * 2, rtol=1e-8)
    far = match_daot_by_cost(np.random.default_rng(0).random((9, 9)), [0.5] * 9, [0.5] * 9, 0.6)
    assert far.transport.iterations == 1000


@pytest.mark.parametrize("match", [mgot.match_clusters, mgot.match_patches])
def test_a_large_weight_of_the_entropy_leaves_to_each_its_nearest(match):
    source = maps(2, 0)
    target = np.stack([source[0], 0.9 * source[0]])
    plain, even = (np.atleast_2d(match(target, source, *reg))[0] for reg in ((), (1e12,)))
    assert sorted(plain) == [0, 1]
    assert even.tolist() == [0, 0]


@pytest.mark.parametrize(("odds", "index"), [(78, [0, 0]), (80, [0, -1])])
def test_a_row_that_moves_a_hundredth_of_its_mass_has_a_partner(odds, index):
    # Of 0.4, one in odds + 1 is of the second row, which holds a half.
    matching = match_patches_by_cost([[0.0], [0.001 * np.log(odds)]], mass=0.4)
    assert matching.index.tolist() == index


def test_few_patches_are_matched():
    one = match_patches_by_cost([[0.3]])
    assert (one.index.tolist(), one.weight.tolist()) == ([0], [1.0])
    assert match_patches_by_cost([[0.3, 0.1, 0.2]], mass=0.3).index.tolist() == [1]
    assert match_patches_by_cost([[0.3], [0.1]], mass=0.4).index.tolist() == [-1, 0]


def test_a_lone_target_that_fills_every_source_alike_takes_the_cheapest():
    cost = np.array([[0.3, 0.1, 0.2, 0.1]])
    everything = match_patches_by_cost(cost), match_clusters_by_cost(cost)
    dustbins = match_daot_by_cost(cost, [0.05], [0.5] * 4, 0.6)
    for matching in (*everything, dustbins):
        plan = matching.transport.plan[0, :4]
        np.testing.assert_allclose(plan, plan[0], rtol=1e-6)
        assert matching.index.tolist() == [1]


def test_dustbin_takes_far_patches():
    cost = np.array([[0.01, 0.20, 0.30], [0.20, 0.02, 0.30], [0.40, 0.50, 0.60]])
    matching = match_daot_by_cost(cost, [0.1, 0.1, 0.15], [0.5, 0.5, 0.5], 0.6)
    assert matching.index[:2].tolist() == [0, 1]
    # The far target and the far source meet the dustbins at 0.15 + 0.5, below 0.15 + 0.6 for each
    # other with the dustbins paired. At cost 0 for each other, as released, they are matched.
    assert matching.transport.plan[2, -1] > 0.99 * matching.transport.plan[2].sum()
    np.testing.assert_allclose(matching.transport.plan.sum(), 1)


def test_dustbin_of_an_empty_map_is_dear_and_of_a_full_one_free():
    ones, zeros = np.ones((1, 224, 224)), np.zeros((1, 224, 224))
    assert mgot.ssim_cost(ones, zeros)[0, 0] > 0.5
    costs = daot_costs(np.concatenate([ones, zeros]), np.concatenate([zeros, ones]))
    np.testing.assert_array_equal(match_daot_by_cost(*costs).index, [1, 0])


def test_an_empty_side_is_an_input_error():
    with pytest.raises(InputError, match="empty side"):
        mgot.match_patches(np.zeros((0, 224, 224)), np.zeros((2, 224, 224)))
    with pytest.raises(InputError, match="empty side"):
        mgot.match_clusters(np.zeros((2, 224, 224)), np.zeros((0, 224, 224)))


@pytest.mark.parametrize("mass", [None, 0.7])
def test_of_equal_patches_the_first_is_chosen_however_the_plan_is_rounded(mass):
    random = np.random.default_rng(5)
    for columns in range(4, 24):
        cost = np.tile(random.uniform(0, 0.01, (30, columns)), 2)
        assert match_patches_by_cost(cost, mass=mass).index.max() < columns
        assert match_clusters_by_cost(cost).index.max() < columns
