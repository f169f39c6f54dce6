"""Pictures: small enough, showing what they are given."""

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mgot.pictures import draw_clusters, draw_elbow, draw_peaks

LIMIT = 300_000


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
    curve = [[2, 9], [3, 5], [4, 2], [5, 1.5], [6, 1.2]]
    np.testing.assert_allclose(axis.lines[0].get_xydata(), curve)
    np.testing.assert_allclose(marks(figures[0], 12), [[4, 2]])
    assert "k = 4" in axis.get_title()


@pytest.mark.parametrize("k", [1, 4, 9])
def test_samples_and_centres_share_one_plane(tmp_path, figures, k):
    rng = np.random.default_rng(k)
    labels = np.arange(40) % k
    samples, maps = rng.normal(size=(40, 2)), rng.random((k, 30, 30)) * (k > 1)
    centers = np.stack([samples[labels == number].mean(axis=0) for number in range(k)])
    draw_clusters(tmp_path / "clusters.png", samples, centers, labels, maps)
    assert_written(tmp_path / "clusters.png")
    drawn = np.concatenate([dots.get_offsets() for dots in figures[0].axes[0].collections])
    assert sorted(map(tuple, drawn)) == sorted(map(tuple, samples))
    np.testing.assert_allclose(marks(figures[0], 17), centers)
    panels = figures[0].axes[1:]
    assert len(panels) == k
    for number, panel in enumerate(panels):
        np.testing.assert_array_equal(panel.images[0].get_array(), maps[number])
        assert panel.get_title() == f"{number}: {(labels == number).sum()} patches"


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
