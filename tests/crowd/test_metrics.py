"""Counting errors against their formulas, localization against exhaustive matching."""

import itertools

import numpy as np
import pytest
import torch

from crowd.metrics import counting_errors, localization, localization_scores, pool_localization


def test_counting_errors_by_hand():
    errors = counting_errors([3, 0, 10, 5], torch.tensor([5, 2, 10, 0]))
    assert errors["mae"] == pytest.approx((2 + 2 + 0 + 5) / 4)
    assert errors["rmse"] == pytest.approx(np.sqrt((4 + 4 + 0 + 25) / 4))
    assert errors["nae"] == pytest.approx((2 / 5 + 2 / 2 + 0) / 3)


def test_counting_errors_without_heads_or_images():
    assert np.isnan(counting_errors([1.0], [0.0])["nae"])
    with pytest.raises(ValueError, match="0 predicted"):
        counting_errors([], [])
    with pytest.raises(ValueError, match="2 predicted counts for 1"):
        counting_errors([1, 2], [1])


def most_pairs(predicted, actual, radius):
    """Largest one-to-one matching, by trying every assignment."""
    near = np.linalg.norm(predicted[:, None] - actual[None], axis=2) <= radius
    if len(predicted) > len(actual):
        near = near.T
    choices = itertools.permutations(range(near.shape[1]), near.shape[0])
    return max(sum(near[i, j] for i, j in enumerate(one)) for one in choices)


@pytest.mark.parametrize("seed", range(20))
def test_matching_is_the_largest(seed):
    generator = np.random.default_rng(seed)
    predicted = generator.uniform(0, 10, (generator.integers(1, 6), 2))
    actual = generator.uniform(0, 10, (generator.integers(1, 7), 2))
    radius = generator.uniform(1, 5, len(actual))
    result = localization(predicted, actual, radius)
    assert result["tp"] == most_pairs(predicted, actual, radius)
    assert result["tp"] + result["fp"] == len(predicted)
    assert result["tp"] + result["fn"] == len(actual)
    torch_result = localization(torch.tensor(predicted), torch.tensor(actual), torch.tensor(radius))
    assert torch_result == result


def test_radius_is_inclusive_and_one_per_head():
    actual = np.array([[0.0, 0.0], [100.0, 0.0]])
    predicted = np.array([[3.0, 4.0], [103.0, 4.0]])
    assert localization(predicted, actual, 5)["tp"] == 2
    assert localization(predicted, actual, np.nextafter(5, 0))["tp"] == 0
    assert localization(predicted, actual, [5, 4.9])["tp"] == 1
    assert localization(predicted, actual, [0, np.inf])["tp"] == 1
    assert localization(actual, actual, 0)["tp"] == 2


def test_inclusive_for_distances_that_are_not_exact():
    generator = np.random.default_rng(0)
    actual = generator.uniform(0, 1000, (500, 1, 2))
    predicted = generator.uniform(0, 1000, (500, 1, 2))
    for a, p in zip(actual, predicted, strict=True):
        distance = np.hypot(*(a - p)[0])
        assert localization(p, a, distance)["tp"] == 1
        assert localization(p, a, np.nextafter(distance, 0))["tp"] == 0


@pytest.mark.parametrize(
    ("predicted", "actual", "score"), [([], [], 1.0), ([[1, 2]], [], 0.0), ([], [[1, 2]], 0.0)]
)
def test_empty_sides(predicted, actual, score):
    result = localization(np.array(predicted), torch.tensor(actual), 3)
    assert (result["tp"], result["fp"], result["fn"]) == (0, len(predicted), len(actual))
    assert (result["precision"], result["recall"], result["f1"]) == (score, score, score)


@pytest.mark.parametrize(
    ("predicted", "radius"), [([[1, 2, 3]], 1), ([[np.nan, 2]], 1), ([[1, 2]], -1), ([[1, 2]], [1])]
)
def test_bad_arrays(predicted, radius):
    with pytest.raises(ValueError, match=r"points|radius"):
        localization(predicted, [[0, 0], [1, 1]], radius)


def test_pooling_adds_heads_up():
    pooled = pool_localization([localization_scores(1, 0, 3), localization_scores(8, 2, 0)])
    assert pooled == localization_scores(9, 2, 3)
    assert pooled["f1"] == pytest.approx(18 / 23)


@pytest.mark.parametrize(
    ("part", "mae", "rmse", "small", "large"),
    [("A", 57.011, 103.357, 0.58694, 0.77601), ("B", 7.0253, 11.9129, 0.64650, 0.83540)],
)
def test_figures_of_the_fidt_authors(root, part, mae, rmse, small, large):
    folder = root.parent / "shared" / "data" / "fidt_points"
    if not folder.is_dir():
        pytest.skip("needs the FIDT authors' points")

    def rows(kind, columns):
        lines = (folder / f"fidtm_{part}_{kind}.txt").read_text().splitlines()
        return [np.array(line.split()[2:], float).reshape(-1, columns) for line in lines]

    actual, predicted = rows("gt", 5), rows("pred_fidt", 2)
    errors = counting_errors([len(one) for one in predicted], [len(one) for one in actual])
    assert errors["mae"] == pytest.approx(mae, abs=1e-3)
    assert errors["rmse"] == pytest.approx(rmse, abs=1e-3)
    for column, f1 in ((2, small), (3, large)):
        pairs = zip(predicted, actual, strict=True)
        results = [localization(mine, true[:, :2], true[:, column]) for mine, true in pairs]
        assert pool_localization(results)["f1"] == pytest.approx(f1, abs=1e-5)
