"""MGOT 4: fine-tune the target model on selected source patches, each with its weight.

python train_baseline_weight.py --config mgot/configs/A2B.yml
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.io.config import YES_NO, ArgumentParser, Namespace, NonNegativeInt, documented
from crowd.io.errors import InputError, command
from crowd.io.files import require_folder
from crowd.train.arguments import cache_of, choose_workers
from mgot.fidt import read_preprocessing
from mgot.patches import locate_patches, read_selection
from mgot.train_baseline import add_training
from mgot.transfer import CONFIGS, DOCUMENTED, TRANSFERS, add_transfer, files_of, fill

FILES = {
    "selected_result": "selection",
    "corresponding_weight": "weights",
    "patches": "source.patches",
    "val_dir": "target.fidt",
    "pre": "target.checkpoint",
    "save_dir": "finetuned",
}


def preset(arguments: dict) -> Path | None:
    """Return the YAML file of `--dataset`, which sets the defaults."""
    known = arguments["dataset"] in TRANSFERS
    return CONFIGS / f"{arguments['dataset']}.yml" if known else None


def build_parser() -> ArgumentParser:
    """Return the command's arguments: the released ones, and ours."""
    description = "Fine-tune a counter on selected source patches."
    parser = ArgumentParser(description=description, preset=preset)
    add = parser.add_argument
    add("--dataset", choices=TRANSFERS, help="transfer, as --config mgot/configs/NAME.yml")
    add("--selected_result", type=str, help="names of the selected patches, npy")
    add("--corresponding_weight", type=str, help="their weights, npy")
    add("--patches", type=str, help="folder of mgot.patches that holds them")
    add("--pseudo_labels", type=str, help="set of mgot.pseudo_label to train on too (not released)")
    add("--pre", type=str, help="checkpoint to start from")
    add("--start_epoch", type=NonNegativeInt, default=0, help="number of the first epoch")
    val_dir = "set whose val/ chooses the best epoch (default: the target's; the source's needs no "
    add("--val_dir", type=str, help=f"{val_dir}annotation of the target)")
    protocol = "test repeats the papers' protocol, whose figures are chosen on what they report"
    add("--select_on", choices=("val", "test"), default="val", help=protocol)
    add("--preload_data", action=YES_NO, default=False, help="keep all patches in memory")
    add_training(parser, {"epochs": 2000, "lr": 1e-5, "crop_size": 256})
    add_transfer(parser)
    return parser


def read_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """Read the arguments, completed by the transfer.

    Raises `InputError` as the parser does, and for a first epoch beyond the last.
    """
    arguments = build_parser().read(argv)
    if arguments.start_epoch >= arguments.epochs:
        raise InputError(
            f"--start_epoch {arguments.start_epoch} leaves none of --epochs {arguments.epochs} to "
            "train: name a smaller first epoch or more epochs"
        )
    fill(arguments, FILES)
    return arguments


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune, evaluate, keep the best."""
    (argv,) = documented(argv, DOCUMENTED)
    arguments = read_arguments(argv)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from crowd.data.processed import list_split
    from mgot.dataset import FidtCrops
    from mgot.evaluation import CountedSet
    from mgot.features import require_same_patches
    from mgot.training import train

    choose_workers(arguments)
    names, weights = read_selection(arguments.selected_result, arguments.corresponding_weight)
    paths = locate_patches(names, arguments.patches)
    require_same_patches(arguments.selected_result, arguments.patches)
    if arguments.pseudo_labels is not None:
        read_preprocessing(arguments.pseudo_labels)  # which an unfinished set does not have
        photos = list_split(arguments.pseudo_labels, "train")
        paths, weights = [*paths, *photos], np.append(weights, np.ones(len(photos)))
    # The counter is for photos made as the target's set; --val_dir may be the source's.
    target = files_of(arguments)["target.fidt"] if arguments.transfer else arguments.val_dir
    remedy = "make it by python -m mgot.fidt: the counter is to see photos as those of this set"
    preprocessing = read_preprocessing(require_folder(target, remedy))
    if not (Path(arguments.val_dir) / arguments.select_on).is_dir():
        raise InputError(
            f"{arguments.val_dir} has no {arguments.select_on}/ to choose the best epoch on: name "
            "the source's set by --val_dir"
        )
    crops = FidtCrops(
        paths,
        arguments.crop_size,
        arguments.seed,
        preprocessing,
        weights,
        math.inf if arguments.preload_data else cache_of(arguments),
    )
    if arguments.select_on == "test":
        print("note: the best epoch is chosen on test, as in the papers; its error is optimistic")
    where = (arguments.val_dir, arguments.select_on, arguments.workers, arguments.tile)
    train(arguments, preprocessing, crops, CountedSet(*where), arguments.start_epoch)


if __name__ == "__main__":
    main()
