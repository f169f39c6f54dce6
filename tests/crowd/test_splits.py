"""Splits: nothing lost, nothing twice, lists obeyed, blocks of time kept apart."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from crowd.data.processed import list_split
from crowd.data.splits import (
    complete_splits,
    hold_out_fold,
    read_list,
    split_at_random,
    split_by_lists,
    split_by_time,
)
from crowd.io.errors import InputError

PHOTOS = [Path(f"set/IMG_{i}.jpg") for i in range(50)]


def test_a_set_without_test_photos_offers_the_others(tmp_path):
    (tmp_path / "val").mkdir()
    with pytest.raises(InputError, match="or test on its val/ with --split val, or"):
        list_split(tmp_path, "test")
    with pytest.raises(InputError, match="or another split, or"):
        list_split(tmp_path, "train")


def series(camera, sessions, gap, step=20):
    """Photos of a camera: `sessions` photo numbers, `step` s apart, sessions `gap` s apart."""
    time, photos = datetime(2017, 5, 6, 9), []
    for number in sessions:
        for _ in range(number):
            photos.append(Path(f"set/{camera}-{time:%Y%m%d%H%M%S}.jpg"))
            time += timedelta(seconds=step)
        time += timedelta(seconds=gap)
    return photos


def least_time(train, val):
    """Shortest time between both sides within a camera, by comparing all pairs."""

    def stamps(photos):
        parts = [photo.stem.split("-") for photo in photos]
        return [(camera, datetime.strptime(time, "%Y%m%d%H%M%S")) for camera, time in parts]

    pairs = ((a, b) for a in stamps(train) for b in stamps(val))
    return min(abs((a[1] - b[1]).total_seconds()) for a, b in pairs if a[0] == b[0])


def assert_parts(photos, *parts):
    assert sorted([photo for part in parts for photo in part]) == sorted(photos)
    assert all(parts)


@pytest.mark.parametrize(("number", "ratio", "size"), [(50, 0.1, 5), (2, 0.1, 1), (3, 0.99, 2)])
def test_random_split(number, ratio, size):
    photos = PHOTOS[:number]
    train, val = split_at_random(photos, ratio, seed=1)
    assert_parts(photos, train, val)
    assert len(val) == size
    assert split_at_random(photos, ratio, seed=1) == (train, val)
    assert len({tuple(split_at_random(PHOTOS, 0.2, seed)[1]) for seed in range(5)}) == 5


@pytest.mark.parametrize(("number", "ratio"), [(1, 0.1), (50, 0.0), (50, 1.0), (50, np.nan)])
def test_split_that_would_leave_a_side_empty(number, ratio):
    with pytest.raises(InputError):
        split_at_random(PHOTOS[:number], ratio, seed=0)


@pytest.mark.parametrize("seed", range(5))
def test_time_split_holds_out_whole_sessions(seed):
    sessions = [20, 3, 2, 30, 4, 1, 40]
    photos = series("1", sessions, gap=700) + series("2", sessions, gap=4000)
    train, val, gap = split_by_time(photos[::-1], 0.1, seed)
    assert_parts(photos, train, val)
    assert gap == least_time(train, val) >= 700
    for camera in "12":
        assert 8 <= sum(photo.stem.startswith(camera) for photo in val) <= 10


def test_time_split_without_pauses_takes_one_block():
    photos = series("cam-a", [60], gap=0)
    photos[30:] = [Path(str(photo).replace("0506", "0507")) for photo in photos[30:]]
    train, val, gap = split_by_time(photos, 0.5, seed=0)
    assert_parts(photos, train, val)
    assert gap == 24 * 3600 + 20
    photos = series("b", [40], gap=0)
    train, val, gap = split_by_time(photos, 0.1, seed=0)
    first = photos.index(val[0])
    assert photos[first : first + 4] == val
    assert gap == 20


def test_time_split_prefers_a_block_with_both_ends_quiet():
    photos = series("1", [10, 4, 20, 16], gap=100)
    train, val, gap = split_by_time(photos, 0.08, seed=0)
    assert val == photos[10:14]
    assert gap == least_time(train, val) == 120


@pytest.mark.parametrize("name", ["IMG_1.jpg", "1-20171340000000.jpg", "1-2017.jpg"])
def test_time_split_needs_times(name):
    with pytest.raises(InputError, match=r"is not named CAMERA-YYYYMMDDhhmmss"):
        split_by_time([*series("1", [5], 0), Path(name)], 0.1, 0)


def test_folds_cover_the_set_in_order():
    folds = [hold_out_fold(PHOTOS, fold) for fold in range(1, 6)]
    assert [photo for _, test in folds for photo in test] == PHOTOS
    assert folds[1][1] == PHOTOS[10:20]
    for rest, test in folds:
        assert_parts(PHOTOS, rest, test)
    for fold in (0, 6):
        with pytest.raises(InputError, match="choose 1 to 5"):
            hold_out_fold(PHOTOS, fold)


def write(path, *lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_lists(tmp_path):
    train_list = write(tmp_path / "t.txt", "IMG_3.jpg", "", "IMG_1 0.5 2")
    val_list = write(tmp_path / "v.txt", "some/where/IMG_2.jpg")
    assert read_list(train_list, PHOTOS) == [PHOTOS[3], PHOTOS[1]]
    assert split_by_lists(PHOTOS, train_list, val_list) == ([PHOTOS[3], PHOTOS[1]], [PHOTOS[2]])
    train, val = split_by_lists(PHOTOS, None, val_list)
    assert_parts(PHOTOS, train, val)
    assert val == [PHOTOS[2]]
    assert split_by_lists(PHOTOS, val_list, None) == (val, train)
    with pytest.raises(InputError, match=r"both name IMG_2"):
        split_by_lists(PHOTOS, val_list, val_list)


def test_own_validation_stands(tmp_path):
    found = {"train": PHOTOS[:9], "val": PHOTOS[9:]}
    assert complete_splits(found) == (found, "")
    with pytest.raises(InputError, match="its own splits"):
        complete_splits(found, val_list=write(tmp_path / "v.txt", "IMG_1"))
    with pytest.raises(InputError, match="leave it out"):
        complete_splits(found, fold=1)


def test_missing_splits_are_made_and_said(tmp_path):
    splits, note = complete_splits({"train": PHOTOS, "test": PHOTOS[:1]}, ratio=0.2, seed=7)
    assert_parts(PHOTOS, splits["train"], splits["val"])
    assert splits["test"] == PHOTOS[:1]
    assert "seed 7" in note
    assert "40 train, 10 val" in note
    splits, _ = complete_splits({"all": PHOTOS}, fold=2)
    assert_parts(PHOTOS, splits["train"], splits["val"], splits["test"])
    assert splits["test"] == PHOTOS[10:20]
    train_list = write(tmp_path / "t.txt", "IMG_1", "IMG_2")
    val_list = write(tmp_path / "v.txt", "IMG_3")
    _, note = complete_splits({"all": PHOTOS}, train_list=train_list, val_list=val_list)
    assert "47 photos are in neither" in note
    splits, note = complete_splits({"all": series("1", [9, 2], 4000)}, how="time", ratio=0.2)
    assert len(splits["val"]) == 2
    assert "4020 s away" in note
