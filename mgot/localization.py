"""Counting and localisation errors of two text files of points, as FIDT's authors exchange them.

    python -m mgot.localization --ground_truth A_gt.txt --predictions A_pred_fidt.txt
    python -m mgot.localization --ground_truth A_gt.txt --predictions counted/points.csv

A photo's line is `id count` and then, for each head, `x y` (predicted) or `x y sigma_small
sigma_large level` (annotated; the sigmas are the radii of the two scores, in pixels). `x y` are the
pixel's column and row, whole numbers. A predicted head is right when it lies within the annotated
head's radius, each head used once and as many as possible. Predictions may also be the points.csv
of the photos of a folder, with the counts.csv beside it: their ids are 1, 2, … by name, and their
points, in which pixel (0, 0) has its centre at (0.5, 0.5), become pixels.
"""

import csv
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.count.evaluation import errors_table, localization_table, without_nan
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError, command
from crowd.io.files import read_text, write_text
from crowd.io.progress import progress
from crowd.metrics import counting_errors, localization, pool_localization

PREDICTED, ANNOTATED = 2, 5
RADII = {"small radius": 2, "large radius": 3}


def read_points_file(path: str | os.PathLike, columns: int) -> dict[int, np.ndarray]:
    """Read the points of every photo of a text file: id -> float64 [N, columns].

    `columns` are the numbers a head, `PREDICTED` or `ANNOTATED`. Raises `InputError` naming file
    and line, when that line is not as described, or repeats an id.
    """
    lines = read_text(Path(path), "name a text file of points, a line a photo").splitlines()
    photos: dict[int, np.ndarray] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            photo, count, *values = line.split()
            # A count of -1 would leave the number to reshape.
            heads = np.array(values, np.float64).reshape(max(int(count), 0), columns)
            photo = int(photo)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number} is not 'id count' and {columns} numbers a head: correct it"
            ) from error
        if not np.isfinite(heads).all() or (heads[:, 2:4] < 0).any() or photo in photos:
            raise InputError(
                f"{path}, line {number} repeats photo {photo}, or holds negative radii or numbers "
                "that are not finite: correct it"
            )
        photos[photo] = heads
    if not photos:
        raise InputError(f"{path} holds no photos: name a text file of points, a line a photo")
    return photos


def read_predictions(path: str | os.PathLike) -> dict[int, np.ndarray]:
    """Read predicted points, of a text file of points or of a `points.csv` of counted photos.

    Those are numbered 1, 2, … as `counts.csv` beside it lists them, by name, which FIDT's are too.
    Returns id -> float64 [M, 2], pixel column and row (of `points.csv` those of the pixel in which
    a head lies); raises `InputError` as `read_points_file` does.
    """
    path = Path(path)
    if path.suffix.lower() != ".csv":
        return read_points_file(path, PREDICTED)
    from crowd.count.photos import COUNTS  # which brings OpenCV

    counts, points = (
        csv.DictReader(io.StringIO(read_text(one, "name the points.csv of counted photos")))
        for one in (path.parent / COUNTS, path)
    )
    found: dict[str | None, list] = {row.get("name"): [] for row in counts}
    for row in points:
        try:
            found[row["image"]].append((float(row["x"]), float(row["y"])))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}, line {points.line_num} is not image, x, y of a photo in {COUNTS} beside "
                "it: copy both again"
            ) from error
    heads = (np.floor(np.reshape(points, (-1, 2))) for points in found.values())
    photos = dict(enumerate(heads, 1))
    if not all(np.isfinite(heads).all() for heads in photos.values()):
        raise InputError(f"{path} holds numbers that are not finite: copy it again")
    return photos


def write_points_file(path: str | os.PathLike, points: Sequence[np.ndarray]) -> None:
    """Write the pixel column and row of the predicted points [M, 2] of photos 1, 2, …."""
    lines = []
    for number, heads in enumerate(points, start=1):
        values = (f"{value:.0f}" for value in np.floor(heads).ravel())
        lines.append(" ".join([str(number), str(len(heads)), *values]))
    write_text(path, "".join(f"{line}\n" for line in lines))


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(
        prog="python -m mgot.localization", description=__doc__.split("\n", 1)[0]
    )
    add = parser.add_argument
    add("--ground_truth", type=str, required=True, help="annotated points, a line a photo")
    add("--predictions", type=str, required=True, help="predicted points, or points.csv")
    add("--output", type=str, help="folder to write metrics.json to")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    annotated = read_points_file(arguments.ground_truth, ANNOTATED)
    predicted = read_predictions(arguments.predictions)
    if annotated.keys() != predicted.keys():
        alone = sorted(annotated.keys() ^ predicted.keys())
        raise InputError(
            f"photo {alone[0]} is in one of {arguments.ground_truth} and {arguments.predictions} "
            "alone: name two files of one set"
        )
    counts = [[len(photos[key]) for key in annotated] for photos in (predicted, annotated)]
    errors = counting_errors(*counts)
    scores = {
        name: pool_localization(
            localization(predicted[key], heads[:, :2], heads[:, column])
            for key, heads in progress(annotated.items(), name, unit="photo")
        )
        for name, column in RADII.items()
    }
    if arguments.output:
        metrics = {"photos": len(annotated), **errors, "localization": scores}
        text = json.dumps(without_nan(metrics), indent=2) + "\n"
        write_text(Path(arguments.output) / "metrics.json", text)
    print(errors_table({f"{len(annotated)} photos": errors}))
    print(localization_table(scores))


if __name__ == "__main__":
    main()
