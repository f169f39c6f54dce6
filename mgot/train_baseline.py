"""Train a counter on FIDT maps: the source model, or the target model on pseudo labels.

    python -m mgot.train_baseline --data_dir data/sha_fidt --save_dir runs/mgot_sha
    python -m mgot.train_baseline --config mgot/configs/A2B.yml --domain source
    python -m mgot.train_baseline --config mgot/configs/A2B.yml --domain target

With `--pre`, or for the target, a trained model is retrained as DAOT does: fewer epochs, a tenth
of the learning rate. Interrupted, it goes on with `--resume` to the same figures.
"""

from __future__ import annotations

from collections.abc import Sequence

from crowd.data.processed import list_split
from crowd.io.errors import command
from mgot.arguments import read_baseline
from mgot.dataset import FidtCrops, crop_batches
from mgot.evaluation import CountedSet
from mgot.photos import read_preprocessing
from mgot.training import Start, run_epochs


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Train, validate, keep the best."""
    arguments = read_baseline(argv)
    preprocessing = read_preprocessing(arguments.data_dir)
    crops = FidtCrops(
        list_split(arguments.data_dir, "train"),
        arguments.crop_size,
        arguments.seed,
        preprocessing,
        # Every process that reads photos keeps its own.
        cache_gib=arguments.cache_gib / max(arguments.workers, 1),
    )
    validation = None
    if arguments.val_dir:
        validation = CountedSet(arguments.val_dir, "val", arguments.workers, arguments.tile)
    start = Start(arguments)
    batches = crop_batches(
        crops, arguments.batch_size, arguments.workers, start.device.type == "cuda"
    )
    training = start.training(arguments, preprocessing, crops)
    run_epochs(arguments, start, training, batches, validation)


if __name__ == "__main__":
    main()
