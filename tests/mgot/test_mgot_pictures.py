"""Pictures: small enough, showing what they are given."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from crowd.io.errors import InputError
from mgot import pictures
from mgot.pictures import draw_clusters, draw_elbow, draw_matches, draw_peaks

LIMIT = 300_000


@pytest.fixture
def figures(monkeypatch):
    """The matplotlib figures drawn in a test, beside their files."""
    drawn = []
    write = pictures.write_figure

    def keep(path, figure):
        drawn.append(figure)
        write(path, figure)

    monkeypatch.setattr(pictures, "write_figure", keep)
    return drawn


def assert_written(path):
    data = path.read_bytes()
    assert len(data) <= LIMIT
    assert min(Image.open(io.BytesIO(data)).size) > 200
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def marks(figure: Figure, size: float) -> np.ndarray:
    """Points [n, 2] of the marks of one size."""
    lines = [line for axis in figure.axes for line in axis.lines if line.get_markersize() == size]
    return np.concatenate([line.get_xydata() for line in lines])


def test_the_elbow_is_marked_on_its_curve(tmp_path, figures):
    draw_elbow(tmp_path / "elbow.png", range(2, 7), [9.0, 5.0, 2.0, 1.5, 1.2], 4)
    assert_written(tmp_path / "elbow.png")
    (axis,) = figures[0].axes
    np.testing.assert_allclose(
        axis.lines[0].get_xydata(), [[2, 9], [3, 5], [4, 2], [5, 1.5], [6, 1.2]]
    )
    np.testing.assert_allclose(marks(figures[0], 12), [[4, 2]])
    assert "k = 4" in axis.get_title()


@pytest.mark.parametrize("k", [1, 4, 9])
def test_samples_and_centres_share_one_plane(tmp_path, figures, k):
    rng = np.random.default_rng(k)
    labels = np.arange(40) % k
    samples, maps = rng.normal(size=(40, 2)), rng.random((k, 30, 30))
    centers = np.stack([samples[labels == number].mean(axis=0) for number in range(k)])
    draw_clusters(tmp_path / "clusters.png", samples, centers, labels, maps)
    assert_written(tmp_path / "clusters.png")
    plane = figures[0].axes[0]
    drawn = np.concatenate([dots.get_offsets() for dots in plane.collections])
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, samples))
    np.testing.assert_allclose(marks(figures[0], 17), centers)
    panels = figures[0].axes[1:]
    assert len(panels) == k
    for number, panel in enumerate(panels):
        np.testing.assert_array_equal(panel.images[0].get_array(), maps[number])
        assert panel.get_title() == f"{number}: {(labels == number).sum()} patches"


def test_clusters_of_empty_maps_are_drawn(tmp_path):
    draw_clusters(
        tmp_path / "a.png",
        np.zeros((4, 2)),
        np.zeros((2, 2)),
        np.arange(4) % 2,
        np.zeros((2, 9, 9)),
    )
    assert_written(tmp_path / "a.png")


@pytest.mark.parametrize("pairs", [1, 3, 8])
def test_pairs_stand_in_columns_under_their_weights(tmp_path, figures, pairs):
    rng = np.random.default_rng(pairs)
    rows = {
        "target patch": rng.integers(0, 256, (pairs, 224, 224, 3), np.uint8),
        "target map": rng.random((pairs, 224, 224)),
        "source map": rng.random((pairs, 224, 224)),
    }
    weights, costs = rng.uniform(1, 2, pairs), rng.uniform(0, 0.1, pairs)
    draw_matches(tmp_path / "pairs.jpg", rows, weights, costs)
    assert_written(tmp_path / "pairs.jpg")
    axes = np.reshape(figures[0].axes, (3, pairs))
    for line, (title, images) in zip(axes, rows.items(), strict=True):
        assert line[0].get_ylabel() == title
        for axis, image in zip(line, images, strict=True):
            np.testing.assert_array_equal(axis.images[0].get_array(), image)
    for axis, weight, cost in zip(axes[0], weights, costs, strict=True):
        assert axis.get_title() == f"weight {weight:.2f}\ncost {cost:.3f}"


def test_no_pairs_are_refused(tmp_path):
    with pytest.raises(InputError, match="no pairs"):
        draw_matches(tmp_path / "pairs.jpg", {"target map": []}, [], [])
    assert not list(tmp_path.iterdir())


def test_peaks_are_drawn_where_they_are(tmp_path, figures):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (300, 400, 3), np.uint8)
    peaks, actual = rng.uniform(0, 300, (7, 2)), rng.uniform(0, 300, (9, 2))
    draw_peaks(tmp_path / "peaks.jpg", image, peaks, actual)
    assert_written(tmp_path / "peaks.jpg")
    (axis,) = figures[0].axes
    np.testing.assert_array_equal(marks(figures[0], 4), peaks)
    np.testing.assert_array_equal(marks(figures[0], 9), actual)
    assert (axis.get_xlim(), axis.get_ylim()) == ((0, 400), (300, 0))
    assert "predicted 7" in axis.get_title()
    assert "annotated 9" in axis.get_title()


def test_a_photo_without_heads_is_drawn(tmp_path, figures):
    draw_peaks(tmp_path / "peaks.jpg", np.zeros((90, 300, 3), np.uint8), np.zeros((0, 2)))
    assert figures[0].axes[0].get_title() == "predicted 0"
