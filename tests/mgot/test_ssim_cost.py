import h5py
import numpy as np
import pytest
import torch

from crowd.io.errors import InputError
from mgot import ssim
from mgot import ssim_cost as exported
from mgot.options import VARIANTS
from mgot.ssim import ssim_cost, ssim_cost_reference

ON_GPU = pytest.param("cuda", marks=pytest.mark.cuda)

# The global cost is exact but for its last step, the rounding of a value below 2 to float32. The
# official windows add up to 131 terms in float32, each sum off by 2^-24 at most: a share of 8e-6
# where all roundings fall one way, as in patches of one value; next to nothing on average.
ROUNDED = 2.0**-23
ATOL = {"official": 1e-6, "global": ROUNDED}
ONE_WAY = {"official": 131 * 2.0**-24, "global": ROUNDED}


def official_by_products(target, source):
    """What a GPU computes, on the CPU."""
    parts = (ssim._windows, ssim._official_distances)
    return ssim._by_blocks(target, source, torch.device("cpu"), *parts)


def patches(count, seed, low=0.0, high=1.0, sparse=0.0):
    generator = np.random.default_rng(seed)
    values = generator.uniform(low, high, (count, 224, 224))
    values[generator.random(values.shape) < sparse] = 0.0
    return values.astype(np.float32)


def test_agrees_with_the_released_cost(golden):
    figures = np.load(golden / "mgot_alignment.npz")
    target, source = (figures[name].astype(np.float32) for name in ("target", "source"))
    cost = exported(target, source)
    assert cost.dtype == np.float32
    for i in (0, 1):
        pairs = np.ix_(figures[f"target_cluster{i}"], figures[f"source_cluster{1 - i}"])
        np.testing.assert_allclose(cost[pairs], figures[f"cost{i}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "values",
    [{}, {"sparse": 0.97}, {"low": -0.2, "high": 1.3}, {"high": 20.0}, {"high": 1e-3}],
    ids=["dense", "sparse", "beyond [0, 1]", "large", "small"],
)
def test_agrees_with_its_slow_twin(variant, values):
    target, source = patches(3, 0, **values), patches(1, 1, **values)
    # A patch alike in part, for an SSIM far from both 0 and 1.
    source[0, :, :150] = target[2, :, :150]
    cost = ssim_cost(target, source, variant)
    expected = ssim_cost_reference(target, source, variant)
    np.testing.assert_allclose(cost, expected, rtol=0, atol=ATOL[variant])
    assert cost.std() > 0
    if variant == "official":
        products = official_by_products(target, source)
        np.testing.assert_allclose(products, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("device", ["cpu", ON_GPU])
@pytest.mark.parametrize("variant", VARIANTS)
def test_computes_where_it_is_told_or_where_the_target_is(device, variant):
    target, source = patches(3, 11, sparse=0.5), patches(4, 12, sparse=0.5)
    expected = ssim_cost_reference(target, source, variant)
    for cost in (
        ssim_cost(target, source, variant, device),
        ssim_cost(torch.from_numpy(target).to(device), source, variant),
    ):
        np.testing.assert_allclose(cost, expected, rtol=0, atol=ATOL[variant])


def test_both_ways_to_the_official_cost_agree_on_many_pairs(monkeypatch):
    # 1 patch of the target against a whole block, or several, or the rest of one.
    target, source = patches(7, 13, sparse=0.9), patches(9, 14, sparse=0.9)
    expected = ssim_cost(target, source)
    for block, pairs in ((512, 512), (4, 3), (5, 10)):
        monkeypatch.setattr(ssim, "BLOCK", block)
        monkeypatch.setattr(ssim, "PAIRS", pairs)
        cost = official_by_products(target, source)
        np.testing.assert_allclose(cost, expected, rtol=0, atol=1e-6)


COSTS = {
    "official": ssim_cost,
    "official by products": official_by_products,
    "global": lambda target, source: ssim_cost(target, source, "global"),
}


def of_one_value():
    """Four patches of one value each, whose sums are all rounded one way."""
    values = np.linspace(0.05, 0.97, 4)[:, None, None]
    return np.broadcast_to(values, (4, 224, 224)).astype(np.float32)


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize(
    "values",
    [patches(6, 4), patches(6, 4, sparse=0.8), patches(6, 4, high=20.0), of_one_value()],
    ids=["dense", "sparse", "large", "of one value"],
)
def test_equals_cost_nothing_whatever_rounds_their_sums(name, values):
    cost = COSTS[name](values, values.copy())
    # Differences of equals are 0; in float64 inner products are off by 50 176 · 2^-53 at most.
    np.testing.assert_allclose(np.diag(cost), 0, atol=1e-11 if name == "global" else 0)


@pytest.mark.parametrize("name", COSTS)
def test_agrees_with_its_slow_twin_where_all_roundings_fall_one_way(name):
    values = of_one_value()
    nearly = values * np.float32(1.001)
    variant = name.split()[0]
    for source in (values[::-1].copy(), nearly):
        expected = ssim_cost_reference(values, source, variant)
        cost = COSTS[name](values, source)
        np.testing.assert_allclose(cost, expected, rtol=ONE_WAY[variant], atol=1e-11)


@pytest.mark.parametrize("variant", VARIANTS)
def test_blocks_threads_and_kinds_of_arrays_make_no_difference(tmp_path, monkeypatch, variant):
    x, y = patches(7, 9), patches(8, 10)
    expected = ssim_cost(x, y, variant)
    with h5py.File(tmp_path / "features.h5", "w") as file:
        file.create_dataset("features", data=x[:, None, None])
    monkeypatch.setattr(ssim, "BLOCK", 3)
    monkeypatch.setattr(ssim, "TARGET_GROUP", 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    with h5py.File(tmp_path / "features.h5") as file:
        cost = ssim_cost(file["features"], torch.from_numpy(y.reshape(8, -1)), variant)
    np.testing.assert_allclose(cost, expected, rtol=0, atol=ATOL[variant])


def test_no_patch_gives_an_empty_cost():
    assert ssim_cost(patches(0, 0), patches(3, 0)).shape == (0, 3)
    assert ssim_cost(patches(3, 0), patches(0, 0)).shape == (3, 0)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("value", [np.nan, np.inf, 255.0])
def test_names_the_patch_that_is_not_a_map(value, variant):
    source = patches(3, 0)
    source[1, 5, 6] = value
    with pytest.raises(InputError, match="patch 1 of source"):
        ssim_cost(patches(1, 1), source, variant)


def test_refuses_other_shapes_and_variants():
    with pytest.raises(InputError, match=r"target has shape \[2, 100, 100\]"):
        ssim_cost(np.zeros((2, 100, 100)), patches(1, 0))
    with pytest.raises(InputError, match="official or global"):
        ssim_cost(patches(1, 0), patches(1, 0), "local")
