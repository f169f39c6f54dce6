import numpy as np
import pytest
import torch

from crowd.io.errors import InputError
from mgot import evaluation
from mgot.fidt import Preprocessing
from mgot.maps import local_maxima


def spikes(*values, side=30):
    """A map of single pixels, 6 apart along row 10."""
    prediction = np.zeros((side, side), np.float32)
    for number, value in enumerate(values):
        prediction[10, 4 + 6 * number] = value
    return prediction


def test_agrees_with_the_released_counts(golden):
    figures = np.load(golden / "mgot_fidt.npz")
    peaks = local_maxima(figures["prediction"])
    assert (len(peaks), peaks.dtype) == (figures["lmds_count"], np.int64)
    np.testing.assert_array_equal(peaks, np.argwhere(figures["lmds_points"])[:, ::-1])
    batch = torch.tensor(figures["prediction"], requires_grad=True)[None, None]
    np.testing.assert_array_equal(local_maxima(batch), peaks)
    assert len(local_maxima(figures["prediction"], smooth=True)) == figures["lmds_count_qnrf"]
    assert len(local_maxima(0.05 * figures["prediction"])) == figures["lmds_count_negative"]


def test_a_peak_reaches_100_255ths_of_the_maximum():
    lowest = 2.0 * 100 / 255
    assert local_maxima(spikes(2.0, 1.01 * lowest, 0.99 * lowest)).tolist() == [[4, 10], [10, 10]]


def test_a_low_map_has_no_peak():
    assert local_maxima(spikes(0.099)).shape == (0, 2)
    assert len(local_maxima(spikes(0.101))) == 1
    assert len(local_maxima(np.zeros((4, 4)))) == 0


def test_smoothing_lowers_values_but_not_the_thresholds():
    prediction = spikes(0.9)
    # The mean of a lone spike is a ninth of it, below the threshold from the spike itself.
    assert len(local_maxima(prediction, smooth=True)) == 0
    prediction[14:17, 20:23] = 0.9
    assert local_maxima(prediction, smooth=True).tolist() == [[21, 15]]


def test_smoothing_counts_the_zeros_beyond_the_border():
    prediction = np.zeros((12, 12), np.float32)
    prediction[:2, :2] = 0.5  # its mean is 4/9 · 0.5 at each of the four pixels, and 0.5 unpadded
    prediction[6:9, 6:9] = 1.0
    assert local_maxima(prediction, smooth=True).tolist() == [[7, 7]]


@pytest.mark.parametrize("smooth", [False, True])
def test_maps_of_a_set_are_smoothed_where_it_says_so(write_fidt_set, monkeypatch, smooth):
    monkeypatch.setattr(evaluation, "predict_map", lambda *_: torch.from_numpy(spikes(1.0)))
    counted = evaluation.CountedSet(write_fidt_set(val=(1,), smooth=smooth), "val")
    assert len(counted.find(torch.nn.Identity())[0]) == (0 if smooth else 1)


def test_confidence_is_of_the_map_in_which_the_peak_was_found(monkeypatch):
    ring = np.zeros((12, 12), np.float32)
    ring[4:7, 4:7] = 0.9
    ring[5, 5] = -0.1
    monkeypatch.setattr(evaluation, "predict_map", lambda *_: torch.from_numpy(ring))
    counter = evaluation.Counter(None, "", Preprocessing(smooth=True), None, {})
    seen = evaluation.annotator(counter)(np.zeros((12, 12, 3), np.uint8), "a.jpg")
    assert seen.heads.tolist() == [[5.5, 5.5]]
    np.testing.assert_allclose(seen.confidence, 7.1 / 9, rtol=1e-6)


def test_takes_a_map_of_any_byte_order_and_stride():
    prediction = np.random.default_rng(0).random((6, 8), np.float32)
    expected = local_maxima(np.ascontiguousarray(prediction[:, ::-1]))
    np.testing.assert_array_equal(local_maxima(prediction[:, ::-1]), expected)
    np.testing.assert_array_equal(local_maxima(prediction[:, ::-1].astype(">f4")), expected)


def test_refuses_what_is_not_one_map_of_numbers():
    for prediction in (np.ones(16), np.ones((2, 1, 4, 4))):
        with pytest.raises(InputError, match="pass one map"):
            local_maxima(prediction)
    with pytest.raises(InputError, match="NaN"):
        local_maxima(np.array([[0.5, np.nan], [0.1, 0.2]]))
