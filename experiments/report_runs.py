"""What a report reads: trainings with their tests, and transfers, which hold several trainings."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from crowd.count.evaluation import PhotoCount, errors_of
from crowd.data.processed import list_split, read_annotation
from crowd.io.errors import InputError
from crowd.io.files import require_file, require_folder
from crowd.train.runs import read_log

RANGES = (0, 10, 50, 100, 200, 500, 1000)
"""Largest counts of the ranges that errors are told by; the last range has no end."""


class Result(NamedTuple):
    """A test: its folder, `metrics.json`, and every photo's count."""

    folder: Path
    metrics: dict
    counts: list[PhotoCount]

    def by_error(self) -> list[PhotoCount]:
        """Return the photos, the one counted worst first."""
        return sorted(self.counts, key=lambda count: -abs(count.predicted - count.actual))


class Training(NamedTuple):
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
    def loss(self) -> str:
        """What it was trained on; `transport` is GST's own loss."""
        return self.config.get("loss", "transport") if self.method == "gst" else "FIDT map"


class Run(NamedTuple):
    """A folder of the report: of one training, or of a transfer with what its alignments left.

    Attributes:
        folder: as named.
        trainings: in it.
        pictures: of elbows and clusters, by caption.
        selections: picture of matched patches -> summary of the alignment.
    """

    folder: Path
    trainings: list[Training]
    pictures: dict[str, Path]
    selections: dict[Path, dict]


def read_folder(folder: Path) -> Run:
    """Read a run folder, or a transfer's.

    Raises `InputError` when it is neither, or one of its files is damaged.
    """
    require_folder(folder, "name a run folder, such as runs/gst_brt_vgg")
    if (folder / "log.jsonl").is_file():
        return Run(folder, [_read_training(folder)], {}, {})
    trainings = [_read_training(path.parent) for path in sorted(folder.glob("*/log.jsonl"))]
    names = [f"{side}_{what}" for what in ("elbow", "clusters") for side in ("source", "target")]
    pictures = {name.replace("_", ": "): folder / f"{name}.png" for name in names}
    drawn = [path for path in sorted(folder.glob("*.jpg")) if path.with_suffix(".json").is_file()]
    summaries = {path: _json(path.with_suffix(".json")) for path in drawn}
    selections = {path: summary for path, summary in summaries.items() if "groups" in summary}
    if not trainings and not selections:
        raise InputError(
            f"{folder} holds neither a training (log.jsonl) nor a transfer: name a run folder"
        )
    there = {caption: path for caption, path in pictures.items() if path.is_file()}
    return Run(folder, trainings, there, selections)


def _read_training(folder: Path) -> Training:
    results = [_read_result(path) for path in sorted(folder.glob("*/predictions.csv"))]
    return Training(
        folder,
        config=yaml.safe_load(_text(folder / "config.yml")) or {},
        environment=_json(folder / "environment.json"),
        log=read_log(folder / "log.jsonl"),
        results=sorted(results, key=lambda result: result.folder.name != "test"),
    )


def _read_result(path: Path) -> Result:
    lines = csv.DictReader(_text(path).splitlines())
    try:
        counts = [PhotoCount(r["name"], int(r["actual"]), float(r["predicted"])) for r in lines]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}, line {lines.line_num} is not name, actual, predicted: test again"
        ) from error
    if not counts:
        raise InputError(f"{path} holds no photos: test again")
    return Result(path.parent, _json(path.parent / "metrics.json"), counts)


def find_photos(training: Training, result: Result) -> tuple[list[Path], list[np.ndarray]]:
    """Find the photos that a result is of, in the order of its counts, with their points [N, 2].

    Data sets may name their photos alike: the one is taken whose annotations have the counts.
    Raises `InputError` when no folder that the training names has them.
    """
    config, split = training.config, result.metrics.get("split", "test")
    folders = [config.get("data_dir"), config.get("val_dir")]
    sides = filter(None, (config.get("target"), config.get("source")))
    folders += [f"{config.get('data_root')}/{side}_fidt" for side in sides]
    for folder in map(Path, filter(None, folders)):
        paths = list_split(folder, split) if (folder / split).is_dir() else []
        if [path.name for path in paths] != [count.name for count in result.counts]:
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
        if inside:
            title = f"{low}–{high}" if low < high else str(low)
            title = f"from {low}" if high == math.inf else title
            bias = np.mean([one.predicted - one.actual for one in inside])
            rows.append({"range": title, "photos": len(inside), **errors_of(inside), "bias": bias})
    return rows


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
