"""GST 4: test a counter on a processed set, or count the people in photos or a video.

python test.py --image photo.jpg
python test.py --folder photos --output counted
python test.py --video street.mp4
python test.py --save-path runs/gst_qnrf_vgg/best.pth --data-dir data/qnrf_processed

Without --save-path it counts with the trained counter in weights/.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from crowd.count import command as counting
from crowd.count.evaluation import compare, errors_table, localization_table, write_results
from crowd.data.processed import median_count
from crowd.io.config import ArgumentParser
from crowd.io.errors import command
from crowd.io.files import csv_text, short_hash, write_text
from gst.models import BOXED, MODELS
from gst.photos import require_same

if TYPE_CHECKING:
    from gst.counter import Counter


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description=__doc__)
    counting.add_counting(parser, MODELS, BOXED)
    return parser


def count_set(data_dir: str, split: str, counter: Counter, output: Path) -> None:
    """Print and write the errors on a split, beside those of guessing the training median."""
    from crowd.count.photos import POINT_COLUMNS, POINTS
    from crowd.train.loading import CountedPhotos, photo_loader
    from gst.counter import evaluate
    from gst.localize import Placement

    photos = CountedPhotos(data_dir, split, counter.preprocessing)
    loader, placement = photo_loader(photos, 0), Placement(photos)
    median = counter.train_median
    if median is None:  # not after hours of counting, where it cannot be read
        median = median_count(data_dir, "train")
    counts = evaluate(counter.model, loader, counter.preprocessing.tile, split, placement.add)
    rows, metrics = compare(counts, counter.name, split, median)
    shares, scores = placement.shares(), placement.localization()
    metrics |= {"density_near_heads": shares, "localization": scores}
    metrics["checkpoint"] = short_hash(counter.path)
    write_results(output, counts, metrics)
    write_text(output / POINTS, csv_text(POINT_COLUMNS, placement.points))
    print(errors_table(rows))
    print(localization_table(scores))
    near = ", ".join(f"{share:.0%} within {radius}" for radius, share in shares.items())
    print(f"of the predicted density lies near a head: {near}")
    print(f"every photo's count: {output / 'predictions.csv'}; its heads: {output / POINTS}")


@command
def main(argv: list[str] | None = None) -> None:
    """Count a split, a photo, a folder or a video."""
    arguments = build_parser().read(argv)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from gst.counter import annotator, load_counter

    def load(*which) -> Counter:
        counter = load_counter(*which)
        # Before --depth takes the place of the training's.
        if arguments.data_dir is not None and counter.from_training:
            require_same(arguments.data_dir, counter.preprocessing)
        return counter

    counting.count(
        arguments,
        load,
        annotator,
        functools.partial(count_set, arguments.data_dir, arguments.split),
    )


if __name__ == "__main__":
    main()
