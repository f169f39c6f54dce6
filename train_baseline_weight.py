"""MGOT 4: fine-tune the target model on selected source patches, each with its weight.

python train_baseline_weight.py --config mgot/configs/A2B.yml
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from crowd.io.config import ArgumentParser, documented
from crowd.io.errors import command
from mgot.arguments import read_weight, weight_parser
from mgot.dataset import FidtCrops, crop_batches
from mgot.evaluation import CountedSet
from mgot.index_lists import read_selection
from mgot.patches import locate_patches
from mgot.photos import read_preprocessing
from mgot.training import Start, run_epochs
from mgot.transfer import DOCUMENTED


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    return weight_parser()


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune, evaluate, keep the best."""
    (argv,) = documented(argv, DOCUMENTED)
    arguments = read_weight(argv)
    names, weights = read_selection(arguments.selected_result, arguments.corresponding_weight)
    # The counter is for photos of the target, which are seen as that set was made.
    preprocessing = read_preprocessing(arguments.val_dir)
    crops = FidtCrops(
        locate_patches(names, arguments.patches),
        arguments.crop_size,
        arguments.seed,
        preprocessing,
        weights,
        # Every process that reads photos keeps its own.
        math.inf if arguments.preload_data else arguments.cache_gib / max(arguments.workers, 1),
    )
    validation = CountedSet(
        arguments.val_dir, arguments.select_on, arguments.workers, arguments.tile
    )
    start = Start(arguments)
    batches = crop_batches(
        crops, arguments.batch_size, arguments.workers, start.device.type == "cuda"
    )
    training = start.training(arguments, preprocessing, crops, arguments.start_epoch)
    if arguments.select_on == "test":
        print("note: the best epoch is chosen on test, as in the papers; its error is optimistic")
    run_epochs(arguments, start, training, batches, validation)


if __name__ == "__main__":
    main()
