import itertools

import h5py
import numpy as np
import pytest
from sklearn.cluster import KMeans

from crowd.io.errors import InputError
from mgot import clustering
from mgot.clustering import elbow, kmeans
from mgot.pictures import pca_projection


def blobs(sizes=(20, 31, 25), dimensions=300, spread=0.3, seed=0):
    generator = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(sizes)), sizes)
    middles = generator.normal(0, 1, (len(sizes), dimensions))
    order = generator.permutation(len(truth))
    samples = middles[truth] + generator.normal(0, spread, (len(truth), dimensions))
    return samples[order].astype(np.float32), truth[order]


@pytest.mark.parametrize("ks", [range(2, 11), [2, 5, 9]])
def test_inertia_never_rises_along_the_elbow(ks):
    # A grid has many poor local minima; 60 dimensions make it a matter of the Gram matrix.
    generator = np.random.default_rng(3)
    grid = np.stack(np.meshgrid(range(6), range(6)), -1).reshape(-1, 2)
    samples = (grid + 0.01 * generator.random((36, 2))) @ generator.normal(0, 1, (2, 60))
    for seed in range(6):
        solutions = elbow(samples, ks, seed=seed, restarts=1)
        assert [len(solution.centers) for solution in solutions] == list(ks)
        inertia = [solution.inertia for solution in solutions]
        assert all(later < earlier for earlier, later in itertools.pairwise(inertia))


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.random.default_rng(0).random((2, 4)), "only 2 of 2"),
        (np.ones((9, 4)), "only 1 of 9 samples are distinct"),
        (np.repeat(np.random.default_rng(0).random((2, 40)), 6, axis=0), "only 2 of 12"),
        (np.where(np.eye(12, 64), np.float32(-0.0), np.float32(0)), "only 1 of 12"),
    ],
)
def test_says_why_samples_cannot_be_clustered(samples, message):
    with pytest.raises(InputError, match=message):
        kmeans(samples, 3)
    with pytest.raises(InputError, match=message):
        elbow(samples, [3, 4])
    with pytest.raises(InputError, match="cannot form 0 clusters"):
        kmeans(samples, 0)
    with pytest.raises(InputError, match="not finite"):
        kmeans(np.where(np.eye(*samples.shape), np.nan, samples), 1)
    with pytest.raises(InputError, match="there are no samples"):
        kmeans(samples[:0], 1)


@pytest.fixture
def few_in_memory(monkeypatch):
    """At most 30 samples in memory, 7 read at a time."""
    monkeypatch.setattr(clustering, "GRAM_SAMPLES", 30)
    monkeypatch.setattr(clustering, "BLOCK", 7)


@pytest.mark.parametrize("seed", range(3))
def test_partition_is_scikit_learns(seed):
    # Without groups to find there are many local minima: the same starts must lead to the same.
    samples = np.random.default_rng(seed).random((60, 90))
    plain = KMeans(5, n_init=10, random_state=seed, tol=0).fit(samples)
    result = kmeans(samples, 5, seed)  # of as many starts
    np.testing.assert_array_equal(result.labels[:, None] == result.labels,
                                  plain.labels_[:, None] == plain.labels_)  # fmt: skip
    assert result.inertia == pytest.approx(plain.inertia_, rel=1e-9)
    for center, members in zip(result.centers, result.index_lists, strict=True):
        np.testing.assert_allclose(center, samples[members].mean(0), atol=1e-6)


def test_samples_read_in_blocks_are_clustered_as_well(tmp_path, few_in_memory, monkeypatch):
    samples, _ = blobs(sizes=(40, 61, 50), dimensions=20, spread=0.5)
    gram, made = clustering._gram, []
    monkeypatch.setattr(clustering, "_gram", lambda *args: made.append(1) or gram(*args))
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file.create_dataset("features", data=samples.reshape(-1, 1, 4, 5))
        streamed = kmeans(file["features"], 3)
        along = elbow(file["features"], range(2, 7))
    assert len(made) == 2  # once for all k, of the part that is held
    plain = KMeans(3, n_init=10, random_state=0).fit(samples)
    assert streamed.inertia == pytest.approx(plain.inertia_, rel=1e-4)
    distances = ((samples[:, None] - streamed.centers) ** 2).sum(-1)
    np.testing.assert_array_equal(streamed.labels, distances.argmin(1))
    assert streamed.inertia == pytest.approx(distances.min(1).sum(), rel=1e-5)
    assert along[1].inertia == pytest.approx(plain.inertia_, rel=1e-4)
    inertia = [solution.inertia for solution in along]
    assert all(later < earlier for earlier, later in itertools.pairwise(inertia))


def test_a_part_of_fewer_distinct_samples_than_clusters_is_a_start(few_in_memory):
    samples = np.ones((200, 4), np.float32)
    samples[:4] += np.eye(4, dtype=np.float32)
    result = kmeans(samples, 5)
    assert sorted(map(len, result.index_lists)) == [1, 1, 1, 1, 196]
    assert 0 <= result.inertia < 1e-12  # sums that cancel


def test_blocks_make_no_difference_to_the_projection(monkeypatch):
    samples, _ = blobs(spread=0.05)
    whole = pca_projection(samples, samples[:5])
    monkeypatch.setattr(clustering, "BLOCK", 7)
    monkeypatch.setattr(clustering, "GRAM_SAMPLES", 30)
    for points, parts in zip(whole, pca_projection(samples, samples[:5]), strict=True):
        np.testing.assert_allclose(points, parts, atol=1e-4)
    # Three groups span a plane, so that two axes keep nearly all that varies.
    centred = samples - samples.mean(0)
    assert (whole[0] ** 2).sum() > 0.95 * (centred**2).sum()
    lengths = np.linalg.svd(centred, compute_uv=False)[:2]
    np.testing.assert_allclose(np.linalg.norm(whole[0], axis=0), lengths, rtol=1e-3)
    np.testing.assert_allclose(whole[1], whole[0][:5], atol=1e-4)


def barely_different(count):
    """Copies of two pictures in turn, each with one value changed in its last bit."""
    samples = np.random.default_rng(0).random((2, 3000)).astype(np.float32)[np.arange(count) % 2]
    one = np.arange(count), np.arange(count)
    samples[one] = np.nextafter(samples[one], np.float32(2))
    return samples


@pytest.mark.parametrize("count", [20, 60], ids=["in memory", "in blocks"])
def test_samples_that_only_rounding_tells_apart_are_clustered_in_the_end(few_in_memory, count):
    solutions = elbow(barely_different(count), restarts=3)
    for k, solution in enumerate(solutions, start=2):
        assert sorted(set(solution.labels.tolist())) == list(range(k))
        assert 0 <= solution.inertia < 1e-6
        assert np.isfinite(solution.centers).all()
        # No cluster mixes the two pictures.
        assert all(len({i % 2 for i in members}) == 1 for members in solution.index_lists)


def test_small_differences_of_large_values_are_kept():
    samples, truth = blobs(spread=0.05)
    shifted = (0.01 * samples).astype(np.float64) + 1e7
    labels = kmeans(shifted, 3).labels
    np.testing.assert_array_equal(labels[:, None] == labels, truth[:, None] == truth)


@pytest.mark.parametrize("count", [20, 90])
def test_a_cluster_left_empty_gets_the_farthest_sample(few_in_memory, count):
    # Clusters 1 and 2 start from the same mixture; one of them must lose all its samples at first.
    samples = np.zeros((count, 2), np.float32)
    samples[:, 0] = np.arange(count) % 2 + np.linspace(0, 0.01, count)
    samples[-1] = 50.0, 50.0
    start = np.arange(count) // 2 % 3
    result = clustering._Samples(samples, 0, "").cluster(3, 1, start)
    assert sorted(set(result.labels.tolist())) == [0, 1, 2]
    assert (result.labels == result.labels[-1]).sum() == 1
