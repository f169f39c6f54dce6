"""Counting and localisation errors of two text files of points, as FIDT's authors exchange them.

    python -m mgot.localization --ground_truth A_gt.txt --predictions A_pred_fidt.txt

A predicted head is right when it lies within the annotated head's radius, each head used once and
as many as possible; every annotated head brings a small and a large radius.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.count.evaluation import errors_table, without_nan
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError, command
from crowd.io.files import write_text
from crowd.io.progress import progress
from crowd.metrics import counting_errors, localization, pool_localization
from mgot.point_files import ANNOTATED, PREDICTED, read_points_file

RADII = {"small radius": 2, "large radius": 3}


def score(
    annotated: dict[int, np.ndarray], predicted: dict[int, np.ndarray]
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """Compare the points of every photo.

    Args:
        annotated: id -> [N, 5]: x, y, small radius, large radius, level.
        predicted: id -> [M, 2]: x, y; the same ids.

    Returns:
        MAE, RMSE and NAE of the counts, and for each radius the pooled localisation scores.
    """
    counts = [[len(photos[key]) for key in annotated] for photos in (predicted, annotated)]
    scores = {
        name: pool_localization(
            localization(predicted[key], heads[:, :2], heads[:, column])
            for key, heads in progress(annotated.items(), name, unit="photo")
        )
        for name, column in RADII.items()
    }
    return counting_errors(*counts), scores


def localization_table(scores: dict[str, dict[str, float]]) -> str:
    """Lay out localisation scores as text, a row each, in per cent."""
    width = max(map(len, scores))
    lines = [f"{'':{width}}  {'F1':>7}  {'precision':>9}  {'recall':>7}"]
    lines += [
        f"{name:{width}}  {one['f1']:7.2%}  {one['precision']:9.2%}  {one['recall']:7.2%}"
        for name, one in scores.items()
    ]
    return "\n".join(lines)


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--ground_truth", type=str, required=True, help="annotated points, a line a photo")
    add("--predictions", type=str, required=True, help="predicted points, a line a photo")
    add("--output", type=str, help="folder to write metrics.json to")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    annotated = read_points_file(arguments.ground_truth, ANNOTATED)
    predicted = read_points_file(arguments.predictions, PREDICTED)
    if annotated.keys() != predicted.keys():
        alone = sorted(annotated.keys() ^ predicted.keys())
        raise InputError(
            f"photo {alone[0]} is in one of {arguments.ground_truth} and {arguments.predictions} "
            "alone: name two files of one set"
        )
    if any((heads[:, 2:4] < 0).any() for heads in annotated.values()):
        raise InputError(f"{arguments.ground_truth} holds negative radii: correct them")
    errors, scores = score(annotated, predicted)
    if arguments.output:
        metrics = {"photos": len(annotated), **errors, "localization": scores}
        text = json.dumps(without_nan(metrics), indent=2) + "\n"
        write_text(Path(arguments.output) / "metrics.json", text)
    print(errors_table({f"{len(annotated)} photos": errors}))
    print(localization_table(scores))


if __name__ == "__main__":
    main()
