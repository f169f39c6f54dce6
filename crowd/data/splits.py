"""Splitting photos into train, validation and test."""

import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from crowd.data.folders import composed
from crowd.io.errors import InputError, raise_or_note
from crowd.io.files import read_text

# Pauses between photos, in seconds, that may separate two sessions of one camera; widest first.
PAUSES = (3600, 1800, 900, 600, 300)
FOLDS = 5  # of UCF_CC_50's protocol
_MOST_WORDS = 100
# Names at the end of a photo's path that a list may give.
_DEPTH = 5


def read_list(
    path: str | os.PathLike, photos: Sequence[Path], faults: list[str] | None = None
) -> list[Path]:
    """Return the photos that a list file names, one a line, columns after the name left aside.

    Names are looked up among `photos`, with or without suffix and folder, and never opened.
    Raises `InputError` naming file and line when one is not there, may be one of several, or stands
    twice; with a list `faults` it is noted there and left out.
    """
    by_name = photos_by_name(photos)
    lines = read_text(Path(path), "write a photo's name in each line").splitlines()
    listed: dict[Path, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, (named, *more) = line.strip(), listed_photos(line, by_name) or [None]
        if named is None:
            fault = f"there is no photo '{name}' among the {len(photos)}: correct it or remove it"
        elif more:
            fault = f"'{name}' may be {named} or {more[0]}: write the whole name, with its folder"
        elif named in listed:
            fault = f"'{named.name}' stands in line {listed[named]} already: remove one"
        else:
            listed[named] = number
            continue
        raise_or_note(f"{path}, line {number}: {fault}", faults)
    return list(listed)


def photos_by_name(photos: Sequence[Path]) -> dict[str, list[Path]]:
    """Return the photos by each end of their path, with or without suffix: so lists name them."""
    by_name: dict[str, list[Path]] = {}
    for photo in photos:
        parts = Path(composed(str(photo))).parts
        ends = {"/".join(parts[-depth:]) for depth in range(1, min(len(parts), _DEPTH) + 1)}
        for end in ends | {end.removesuffix(photo.suffix) for end in ends}:
            by_name.setdefault(end, []).append(photo)
    return by_name


def listed_photos(line: str, by_name: dict[str, list[Path]]) -> list[Path]:
    """Return the photos that a line of a list file may name; one where it is clear.

    Names may hold spaces, and columns may follow, other paths among them: the whole line is a name,
    or its beginning up to a space. The shortest with its suffix is taken at its word. Of a path the
    longest end that names photos counts, the folders above are ignored.
    """
    line = composed(line.strip())
    # No name holds more words; a damaged line may hold any number.
    ends = [space.start() for space in re.finditer(r"\s+|$", line)][:_MOST_WORDS]
    found: dict[Path, None] = {}
    for end in ends:
        parts = line[:end].replace("\\", "/").split("/")[-_DEPTH:]
        names = ("/".join(parts[first:]) for first in range(len(parts)))
        photos = next((by_name[name] for name in names if name in by_name), [])
        whole = [photo for photo in photos if composed(photo.name) == parts[-1]]
        if whole:
            return whole
        found |= dict.fromkeys(photos)
    return list(found)


def split_by_lists(
    photos: Sequence[Path],
    train_list: str | os.PathLike | None,
    val_list: str | os.PathLike | None,
) -> tuple[list[Path], list[Path]]:
    """Split by list files into (train, validation); with one list the rest is the other side."""
    train = read_list(train_list, photos) if train_list else None
    val = read_list(val_list, photos) if val_list else None
    train = [photo for photo in photos if photo not in val] if train is None else train
    val = [photo for photo in photos if photo not in train] if val is None else val
    both = sorted(set(train) & set(val))
    if both:
        raise InputError(f"{train_list} and {val_list} both name {both[0].name}: remove it in one")
    if not (train and val):
        side = "validate on" if train else "train on"
        raise InputError(f"{train_list or val_list} leaves no photo to {side}: mend the list")
    return train, val


def split_at_random(photos: Sequence[Path], ratio: float, seed: int) -> tuple[list[Path], ...]:
    """Split into (train, validation) at random, `ratio` of the photos (at least 1) in the latter.

    The same photos, ratio and seed give the same split on every machine.
    """
    order = np.random.default_rng(seed).permutation(len(photos))
    return _parted(photos, order[: _validation_size(len(photos), ratio)])


def split_by_time(
    photos: Sequence[Path], ratio: float, seed: int
) -> tuple[list[Path], list[Path], float]:
    """Split into (train, validation) by whole sessions of each camera, and tell how far apart.

    Photos of a fixed camera a minute apart show the same people, so random photos would validate
    on the training set. Each camera's photos, named CAMERA-YYYYMMDDhhmmss, are cut into sessions
    at pauses, the widest of `PAUSES` for which whole sessions, in seeded order, make up at least
    four fifths of `ratio`; where none does, the one block of time whose ends are quietest.

    Returns:
        (train, validation, shortest time in seconds between a validation photo and a training
        photo of the same camera).
    """
    generator, shortest = np.random.default_rng(seed), float("inf")
    cameras: dict[str, list[tuple[float, int]]] = {}
    for index, photo in enumerate(photos):
        camera, time = _camera_and_time(photo)
        cameras.setdefault(camera, []).append((time, index))
    chosen: list[int] = []
    for _, stamps in sorted(cameras.items()):
        times, indices = np.array(sorted(stamps)).T
        if len(times) < 2:
            continue
        held = _held_out(times, _validation_size(len(times), ratio), generator)
        chosen.extend(indices[held])
        border = held[1:] != held[:-1]
        shortest = min([shortest, *np.diff(times)[border]])
    if not chosen:
        raise InputError(f"{len(photos)} photos are too few to hold out a block of time")
    return *_parted(photos, chosen), shortest


def _held_out(times: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Mark about `size` photos of one camera, given their sorted times, bool [n]."""
    numbers, pauses = np.arange(len(times)), np.diff(times)
    for pause in PAUSES:
        sessions = np.split(numbers, np.flatnonzero(pauses > pause) + 1)
        held = np.zeros(len(times), bool)
        for session in generator.permutation(len(sessions)):
            if held.sum() + len(sessions[session]) <= size:
                held[sessions[session]] = True
        if held.sum() >= 0.8 * size:
            return held
    # Block i is photos i … i + size − 1; an end of the series is as quiet as its other end.
    ends = np.concatenate([[np.inf], pauses, [np.inf]])
    start = int(np.argmax(np.minimum(ends[: len(times) - size + 1], ends[size:])))
    return (numbers >= start) & (numbers < start + size)


def _camera_and_time(photo: Path) -> tuple[str, float]:
    parts = re.fullmatch(r"(.+)-(\d{14})", photo.stem)
    try:
        time = datetime.strptime(parts[2], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{photo} is not named CAMERA-YYYYMMDDhhmmss: rename it or split with --split random"
        ) from error
    return parts[1], time.timestamp()


def hold_out_fold(photos: Sequence[Path], fold: int) -> tuple[list[Path], ...]:
    """Return (the rest, the `fold`-th of five consecutive parts), counted from 1.

    UCF_CC_50's photos 1–10, 11–20, … are tested in turn.
    """
    if len(photos) < FOLDS:
        raise InputError(f"{len(photos)} photos make no {FOLDS} folds: add photos")
    if not 1 <= fold <= FOLDS:
        raise InputError(f"there is no fold {fold}: choose 1 to {FOLDS}")
    return _parted(photos, np.array_split(np.arange(len(photos)), FOLDS)[fold - 1])


def _validation_size(number: int, ratio: float) -> int:
    if not 0 < ratio < 1:
        raise InputError(f"a validation share of {ratio} leaves one side empty: 0 < share < 1")
    if number < 2:
        raise InputError(f"{number} photo cannot be split into train and validation: add photos")
    return min(max(round(ratio * number), 1), number - 1)


def _parted(photos: Sequence[Path], chosen: Iterable[int]) -> tuple[list[Path], ...]:
    chosen = set(map(int, chosen))
    return tuple([one for i, one in enumerate(photos) if (i in chosen) == side] for side in (0, 1))


def complete_splits(
    found: dict[str, list[Path]],
    how: str = "random",
    ratio: float = 0.1,
    seed: int = 0,
    train_list: str | os.PathLike | None = None,
    val_list: str | os.PathLike | None = None,
    fold: int | None = None,
) -> tuple[dict[str, list[Path]], str]:
    """Give a set without validation photos some, taken from its training photos.

    `found` is from `crowd.annotations.find_photos`; `how` is 'random' or 'time' (`split_at_random`,
    `split_by_time`), unless lists decide, of which one is enough; `fold` is for `hold_out_fold`.

    Returns 'train', 'val', 'test' -> photos, those that exist; and a sentence that says what was
    done, empty when the set's own splits stand. Raises `InputError` for what does not fit the set.
    """
    splits = dict(found)
    lists = [str(path) for path in (train_list, val_list) if path]
    if fold is not None:
        if "all" not in splits:
            raise InputError(f"--fold {fold} is for sets without train and test: leave it out")
        splits["train"], splits["test"] = hold_out_fold(splits.pop("all"), fold)
    elif "all" in splits:
        splits["train"] = splits.pop("all")
    if "val" in splits or "train" not in splits:
        if lists:
            raise InputError(f"{lists[0]} cannot split a set with its own splits: leave it out")
        return splits, ""
    photos = splits["train"]
    if lists:
        splits["train"], splits["val"] = split_by_lists(photos, train_list, val_list)
        left = len(photos) - len(splits["train"]) - len(splits["val"])
        note = f"split by {' and '.join(lists)}" + f"; {left} photos are in neither" * (left > 0)
    elif how == "time":
        splits["train"], splits["val"], gap = split_by_time(photos, ratio, seed)
        note = f"validation holds out blocks of time of each camera (seed {seed}); the nearest "
        note += f"training photo of the same camera is {gap:.0f} s away"
    else:
        splits["train"], splits["val"] = split_at_random(photos, ratio, seed)
        note = f"no validation split comes with the set: drawn at random (seed {seed})"
    return splits, f"{note}: {len(splits['train'])} train, {len(splits['val'])} val"
