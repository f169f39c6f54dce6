"""Count the people of a set, of photos or of a video by the peaks of the predicted FIDT map.

python -m mgot.test --save_path runs/mgot_A2B/finetuned/best.pth --data_dir data/shb_fidt
python -m mgot.test --save_path runs/mgot_A2B/finetuned/best.pth --image photo.jpg
python -m mgot.test --save_path runs/mgot_A2B/finetuned/best.pth --folder photos --output counted
python -m mgot.test --save_path runs/mgot_A2B/finetuned/best.pth --video street.mp4
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from crowd.count import command as counting
from crowd.count.evaluation import compare, errors_table, localization_table, write_results
from crowd.io.config import (
    YES_NO,
    ArgumentParser,
    Namespace,
    NonNegativeInt,
    PositiveFloat,
    restricted_number_type,
)
from crowd.io.errors import InputError, command
from crowd.io.files import short_hash
from mgot.localization import write_points_file
from mgot.models import MODELS
from mgot.transfer import TILE_HELP

if TYPE_CHECKING:
    from mgot.evaluation import Counter

# More is a slip, and the photo would fill the memory.
Scale = restricted_number_type("Scale", float, [(">", 0), ("<=", 8)])


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(prog="python -m mgot.test", description=__doc__)
    counting.add_counting(parser, MODELS)
    add = parser.add_argument
    add("--radii", type=PositiveFloat, nargs="+", default=[4.0, 8.0], help="of localisation, px")
    add("--visual", action=YES_NO, default=False, help="draw every photo")
    add("--tile", type=NonNegativeInt, default=0, help=TILE_HELP)
    scale = "factor by which the model sees the photos scaled (not released)"
    add("--scale", type=Scale, default=1.0, help=scale)
    add("--workers", type=NonNegativeInt, default=0, help="processes that read photos")
    group = parser.add_argument_group("controls of an adaptation")
    adabn = "take batch normalisation's statistics from this set's train/, at --scale (AdaBN)"
    group.add_argument("--batch_norm_from", type=str, help=adabn)
    factor = "multiply counts by annotated / found heads of this set's val/, not scaled"
    group.add_argument("--count_factor_from", type=str, help=factor)
    return parser


def count_set(arguments: Namespace, counter: Counter, output: Path) -> None:
    """Print and write the errors on a split, beside those of guessing the training median."""
    from mgot.evaluation import CountedSet, count_factor, reset_batch_norm

    factor, controls = 1.0, {}
    if arguments.batch_norm_from is not None:
        reset_batch_norm(counter.model, arguments.batch_norm_from, arguments.scale)
        controls["batch_norm_from"] = arguments.batch_norm_from
    if arguments.count_factor_from is not None:
        factor = count_factor(counter.model, arguments.count_factor_from, arguments.tile)
        controls["count_factor"] = factor
        print(f"every count times {factor:.3f}")
    where = (arguments.data_dir, arguments.split, arguments.workers)
    counted = CountedSet(*where, arguments.tile, arguments.scale)
    found = counted.find(counter.model)
    counts = [one._replace(predicted=one.predicted * factor) for one in counted.counts(found)]
    rows, metrics = compare(counts, counter.name, counted.split, counter.train_median)
    metrics |= {"checkpoint": short_hash(counter.path), "scale": arguments.scale, **controls}
    scores = {f"{radius:g} px": counted.localization(found, radius) for radius in arguments.radii}
    write_results(output, counts, {**metrics, "localization": scores})
    write_points_file(output / "predicted_points.txt", found)
    counted.draw(found, output / "visual", limit=len(found) if arguments.visual else 0)
    print(errors_table(rows))
    print(localization_table(scores))
    print(f"every photo's count: {output / 'predictions.csv'}")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Count a split, a photo, a folder or a video."""
    arguments = build_parser().read(argv)
    controls = arguments.batch_norm_from, arguments.count_factor_from
    if arguments.data_dir is None and any(controls):
        raise InputError("--batch_norm_from and --count_factor_from are of a test: name --data_dir")
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from mgot.evaluation import annotator, load_counter

    counting.count(
        arguments,
        load_counter,
        functools.partial(annotator, tile=arguments.tile, scale=arguments.scale),
        functools.partial(count_set, arguments),
    )


if __name__ == "__main__":
    main()
