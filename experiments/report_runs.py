"""What a report reads: trainings with their tests, and transfers, which hold several trainings."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from crowd.errors import InputError
from crowd.evaluation import PhotoCount, errors_of
from crowd.files import require_file, require_folder
from crowd.processed import list_split, read_annotation
from crowd.runs import read_log

_SIDES = ("source", "target")
RANGES = (0, 10, 50, 100, 200, 500, 1000)
"""Largest counts of the ranges that errors are told by; the last range has no end."""


@dataclasses.dataclass(frozen=True)
class Result:
    """A test: its folder, `metrics.json`, and every photo's count."""

    folder: Path
    metrics: dict
    counts: list[PhotoCount]

    @property
    def name(self) -> str:
        """Name of the folder, such as test."""
        return self.folder.name

    def by_error(self) -> list[PhotoCount]:
        """Return the photos, the one counted worst first."""
        return sorted(self.counts, key=lambda count: -abs(count.predicted - count.actual))


@dataclasses.dataclass(frozen=True)
class Training:
    """A run folder of train_gs.py, mgot.train_baseline or train_baseline_weight.py."""

    folder: Path
    config: dict
    environment: dict
    log: list[dict]
    results: list[Result]

    @property
    def method(self) -> str:
        """`gst` or `mgot`: whose training it is."""
        return "gst" if "cut_off" in self.config else "mgot"

    @property
    def curves(self) -> list[str]:
        """Names of the figures that the log has of its epochs, the losses first."""
        names = dict.fromkeys(name for line in self.log for name in line)
        return [name for name in names if name not in ("epoch", "lr") and "nae" not in name]

    def data_folders(self) -> list[Path]:
        """Processed sets that the training may have been tested on."""
        config = self.config
        sides = [config.get(side) for side in ("target", "source")]
        named = [config.get("data_dir"), config.get("val_dir")]
        named += [f"{config.get('data_root')}/{side}_fidt" for side in sides if side]
        return [Path(name) for name in named if name]


@dataclasses.dataclass(frozen=True)
class Selection:
    """Source patches chosen by one alignment: its summary, and the picture of some pairs."""

    name: str
    summary: dict
    picture: Path


@dataclasses.dataclass(frozen=True)
class Transfer:
    """Folder of a transfer, as `mgot.transfer` lays it out, with the trainings in it."""

    folder: Path
    pictures: dict[str, Path]
    selections: list[Selection]
    trainings: list[Training]


def read_folder(folder: Path) -> Training | Transfer:
    """Read a run folder, or a transfer's.

    Raises `InputError` when it is neither, or one of its files is damaged.
    """
    require_folder(folder, "name a run folder, such as runs/gst_brt_vgg")
    if (folder / "log.jsonl").is_file():
        return read_training(folder)
    inside = [path for path in sorted(folder.iterdir()) if (path / "log.jsonl").is_file()]
    selections = _selections(folder)
    if not inside and not selections:
        raise InputError(
            f"{folder} holds neither a training (log.jsonl) nor a transfer: name a run folder"
        )
    names = [f"{side}_{what}.png" for what in ("elbow", "clusters") for side in _SIDES]
    pictures = {
        name.removesuffix(".png").replace("_", ": "): folder / name
        for name in names
        if (folder / name).is_file()
    }
    return Transfer(folder, pictures, selections, [read_training(path) for path in inside])


def read_training(folder: Path) -> Training:
    """Read what a training wrote, and the results of its tests in folders below."""
    results = [read_result(path.parent) for path in sorted(folder.glob("*/predictions.csv"))]
    results.sort(key=lambda result: result.name != "test")
    return Training(
        folder=folder,
        config=yaml.safe_load(_text(folder / "config.yml")) or {},
        environment=_json(folder / "environment.json"),
        log=read_log(folder / "log.jsonl"),
        results=results,
    )


def read_result(folder: Path) -> Result:
    """Read `metrics.json` and `predictions.csv` of a test."""
    path = folder / "predictions.csv"
    lines = csv.DictReader(_text(path).splitlines())
    try:
        counts = [
            PhotoCount(line["name"], int(line["actual"]), float(line["predicted"]))
            for line in lines
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}, line {lines.line_num} is not name, actual, predicted: test again"
        ) from error
    if not counts:
        raise InputError(f"{path} holds no photos: test again")
    return Result(folder, _json(folder / "metrics.json"), counts)


def find_photos(training: Training, result: Result) -> tuple[list[Path], list[np.ndarray]]:
    """Find the photos that a result is of, in the order of its counts, with their points [N, 2].

    Data sets may name their photos alike: the one is taken whose annotations have the counts.
    Raises `InputError` when no folder that the training names has them.
    """
    split = result.metrics.get("split", "test")
    names = [count.name for count in result.counts]
    for folder in training.data_folders():
        paths = list_split(folder, split) if (folder / split).is_dir() else []
        if [path.name for path in paths] != names:
            continue
        if not all(path.with_suffix(".npy").is_file() for path in paths):
            continue
        points = [read_annotation(path)[:, :2] for path in paths]
        if [len(heads) for heads in points] == [count.actual for count in result.counts]:
            return paths, points
    raise InputError(
        f"the photos that {result.folder} counts are not on this machine: make the data set again "
        "to see them"
    )


def errors_by_range(counts: Sequence[PhotoCount]) -> list[dict]:
    """Errors of the photos of each range of annotated counts; ranges without photos are left out.

    Returns:
        a dict a range: range (text), photos, mae, rmse, nae and bias, the mean of predicted −
        annotated.
    """
    rows = []
    for low, high in zip((0, *(end + 1 for end in RANGES)), (*RANGES, math.inf), strict=True):
        inside = [one for one in counts if low <= one.actual <= high]
        if not inside:
            continue
        title = f"from {low}" if high == math.inf else str(low) if low == high else f"{low}–{high}"
        bias = np.mean([one.predicted - one.actual for one in inside])
        rows.append({"range": title, "photos": len(inside), **errors_of(inside), "bias": bias})
    return rows


def _selections(folder: Path) -> list[Selection]:
    """Alignments of a transfer: a summary with groups, and a picture of the same name."""
    found = []
    for path in sorted(folder.glob("*.json")):
        picture = path.with_suffix(".jpg")
        summary = _json(path) if picture.is_file() else {}
        if "groups" in summary:
            found.append(Selection(path.stem, summary, picture))
    return found


def _text(path: Path) -> str:
    try:
        return require_file(path, "train and test again").read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged: train and test again") from error


def _json(path: Path) -> dict:
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is damaged: train and test again") from error
