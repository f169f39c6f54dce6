import numpy as np
import pytest
import torch

from crowd.io.errors import InputError
from mgot.maps import fidt_map, head_pixels


def test_agrees_with_the_released_map_and_marks(golden):
    figures = np.load(golden / "mgot_fidt.npz")
    given = figures["points"], *figures["shape"]
    np.testing.assert_allclose(fidt_map(*given), figures["fidt_map"], rtol=1e-4, atol=1e-6)
    marks = head_pixels(*given)
    assert marks.dtype == np.uint8
    np.testing.assert_array_equal(marks, figures["kpoint"])


def test_two_heads_on_one_pixel_are_one_peak():
    both = np.array([[20.1, 10.2], [20.8, 10.9]])
    values = fidt_map(both, 30, 40)
    np.testing.assert_array_equal(values, fidt_map(both[:1], 30, 40))
    assert np.argwhere(values == 1).tolist() == [[10, 20]]
    assert head_pixels(both, 30, 40).sum() == 1


def test_no_head_gives_an_empty_map():
    for points in ([], np.zeros((0, 2)), torch.zeros(0, 3)):
        assert fidt_map(points, 5, 7).shape == (5, 7)
        assert not fidt_map(points, 5, 7).any()
        assert not head_pixels(points, 5, 7).any()


@pytest.mark.parametrize(
    ("x", "y", "pixel"),
    [
        (12.0, 4.0, (4, 11)),
        (3.0, 10.0, (9, 3)),
        (12.0, 10.0, (9, 11)),
        (np.float32(11.9999999), 4.0, (4, 11)),
    ],
)
def test_heads_on_the_right_and_lower_edge_count_like_all_others(x, y, pixel):
    """They are in the photo: preprocessing keeps them in `NAME.npy`."""
    points = np.array([[x, y]], np.float32)
    assert np.argwhere(head_pixels(points, 10, 12)).tolist() == [list(pixel)]
    assert np.argwhere(fidt_map(points, 10, 12) == 1).tolist() == [list(pixel)]


def test_heads_outside_are_skipped():
    inside = np.array([[3.0, 4.0]])
    outside = np.array([[-0.5, 4.0], [3.0, -9.0], [12.1, 4.0], [3.0, 10.1], [99.0, 99.0]])
    both = np.concatenate([inside, outside])
    np.testing.assert_array_equal(fidt_map(both, 10, 12), fidt_map(inside, 10, 12))
    np.testing.assert_array_equal(head_pixels(both, 10, 12), head_pixels(inside, 10, 12))
    assert not fidt_map(outside, 10, 12).any()


def test_a_head_in_the_first_row_peaks_in_the_second_and_is_marked_where_it_is():
    point = torch.tensor([[0.5, 0.5, 7.0]], requires_grad=True)
    assert np.argwhere(fidt_map(point, 6, 6) == 1).tolist() == [[1, 1]]
    assert np.argwhere(head_pixels(point, 6, 6)).tolist() == [[0, 0]]


@pytest.mark.parametrize("points", [[[np.nan, 1.0]], [[1.0, np.inf]], [1.0, 2.0, 3.0]])
def test_refuses_what_are_no_heads(points):
    with pytest.raises(InputError, match="heads must be finite"):
        fidt_map(points, 8, 8)


@pytest.mark.filterwarnings("error")
def test_points_in_half_precision_are_taken():
    points = torch.tensor([[3.5, 4.5], [9.0, 2.0]])  # exact in bfloat16
    np.testing.assert_array_equal(fidt_map(points.bfloat16(), 8, 12), fidt_map(points, 8, 12))


def test_one_head_in_a_large_photo_needs_no_warning():
    values = fidt_map([[10.5, 10.5]], 40, 2048)
    assert values[10, 10] == 1
    assert (values[:, 1000:] == 0).all()
