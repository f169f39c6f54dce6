"""Arguments of the two trainings of MGOT, with the papers' values as defaults."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path

import torch
from jsonargparse import Namespace
from jsonargparse.typing import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from crowd.io.config import YES_NO, ArgumentParser
from crowd.io.errors import InputError
from crowd.train.loop import PRECISIONS
from mgot.evaluation import TILE_HELP
from mgot.models import MODELS
from mgot.photos import paper_crop_size
from mgot.transfer import add_transfer, fill

CONFIGS = Path(__file__).parent / "configs"
TRANSFERS = tuple(sorted(path.stem for path in CONFIGS.glob("*.yml")))
DEFAULT_MODEL = "hrnet_w48"
# FIDT's training from scratch; MGOT's retraining of a model that has been trained.
FROM_SCRATCH = {"epochs": 3000, "lr": 1e-4}
RETRAINING = {"epochs": 1200, "lr": 1e-5, "crop_size": 256}

BASELINE_FILES = {
    "source": {"data_dir": "source.fidt", "save_dir": "source.run"},
    "target": {"data_dir": "pseudo_labels", "save_dir": "target.run", "pre": "source.checkpoint"},
}
WEIGHT_FILES = {
    "selected_result": "selection",
    "corresponding_weight": "weights",
    "patches": "source.patches",
    "val_dir": "target.fidt",
    "pre": "target.checkpoint",
    "save_dir": "finetuned",
}


def baseline_parser() -> ArgumentParser:
    """Arguments of mgot.train_baseline."""
    parser = ArgumentParser(description="Train a counter on FIDT maps, or retrain one.")
    add = parser.add_argument
    add("--data_dir", type=str, help="set with train/: of mgot.fidt or mgot.pseudo_label")
    add("--val_dir", type=str, help="set whose val/ chooses the best epoch (default: --data_dir)")
    add("--pre", type=str, help="checkpoint to start from")
    add(
        "--pretrained", choices=("none", "imagenet"), default="none", help="backbone, without --pre"
    )
    add("--model_options", type=dict, default={}, help="options of the model's class, as JSON")
    add_training(parser, epochs=None, lr=None, crop_size=None)
    add_transfer(parser, domain=True)
    return parser


def weight_parser() -> ArgumentParser:
    """Arguments of train_baseline_weight.py: the released ones, and ours."""

    def preset(arguments: dict) -> Path | None:
        known = arguments["dataset"] in TRANSFERS
        return CONFIGS / f"{arguments['dataset']}.yml" if known else None

    description = "Fine-tune a counter on selected source patches."
    parser = ArgumentParser(description=description, preset=preset)
    add = parser.add_argument
    add("--dataset", choices=TRANSFERS, help="transfer, as --config mgot/configs/NAME.yml")
    add("--selected_result", type=str, help="names of the selected patches, npy")
    add("--corresponding_weight", type=str, help="their weights, npy")
    add("--patches", type=str, help="folder of mgot.patches that holds them")
    add("--pre", type=str, help="checkpoint to start from")
    add("--start_epoch", type=NonNegativeInt, default=0, help="number of the first epoch")
    add("--val_dir", type=str, help="set of the target; its val/ chooses the best epoch")
    add(
        "--select_on",
        choices=("val", "test"),
        default="val",
        help="test repeats the papers' protocol, whose figures are chosen on what they report",
    )
    add(
        "--preload_data",
        action=YES_NO,
        default=False,
        help="keep all patches in memory",
    )
    add_training(parser, epochs=2000, lr=1e-5, crop_size=256)
    add_transfer(parser)
    return parser


def add_training(
    parser: ArgumentParser, epochs: int | None, lr: float | None, crop_size: int | None
) -> None:
    """Add what both trainings have; defaults that are None depend on other arguments."""
    add = parser.add_argument_group("training").add_argument
    add("--save_dir", "--save_path", type=str, help="run folder")
    add("--resume", action=YES_NO, help="continue from last.pth if there is one")
    add("--device", "--gpu_id", type=str, default="auto", help="a GPU's number, cpu or auto")
    add("--workers", type=NonNegativeInt, default=0, help="processes that read photos")
    add("--cache_gib", type=NonNegativeFloat, default=2.0, help="memory for photos and maps, GiB")
    add("--seed", type=NonNegativeInt, default=1, help="of weights and crops")
    add(
        "--epochs", type=PositiveInt, default=epochs, help=_default(epochs, "3000, 1200 with --pre")
    )
    add("--lr", type=PositiveFloat, default=lr, help=_default(lr, "1e-4, 1e-5 with --pre"))
    crop = "512 for photos of up to 2048 px, else 256; 256 with --pre"
    add("--crop_size", type=PositiveInt, default=crop_size, help=_default(crop_size, crop))
    add("--lr_schedule", choices=("constant", "cosine"), default="constant")
    add("--weight_decay", type=NonNegativeFloat, default=5e-4)
    add("--batch_size", type=PositiveInt, default=16)
    add("--ssim_weight", type=NonNegativeFloat, default=0.0, help="of I-SSIM; 0 as released")
    add("--ema", type=NonNegativeFloat, default=0.0, help="decay of averaged weights; 0: none")
    add(
        "--precision",
        choices=PRECISIONS,
        default="auto",
        help="auto: bfloat16 on GPUs alone; native: on CPUs with AMX too",
    )
    add("--validate_from", type=PositiveInt, default=1, help="first epoch to validate")
    add("--validate_every", type=PositiveInt, default=10, help="epochs; the last one always is")
    add("--tile", type=NonNegativeInt, default=0, help=TILE_HELP)
    add(
        "--print_freq", type=PositiveInt, default=1, help="epochs from one printed line to the next"
    )
    add(
        "--visual",
        action=YES_NO,
        default=False,
        help="draw peaks of the best epoch",
    )


def _default(value, otherwise: str) -> str:
    return f"default: {otherwise}" if value is None else "as in the paper"


def read_baseline(argv: Sequence[str] | None = None) -> Namespace:
    """Read mgot.train_baseline's arguments, completed by the transfer and the papers' values.

    Raises `InputError` as the parser does, and for options that do not fit together.
    """
    arguments = baseline_parser().read(argv)
    if arguments.transfer and arguments.domain is None:
        raise InputError(f"transfer {arguments.transfer} has two sides: add --domain")
    fill(arguments, BASELINE_FILES[arguments.domain or "source"])
    if arguments.val_dir is None and (Path(arguments.data_dir) / "val").is_dir():
        arguments.val_dir = arguments.data_dir
    _complete(arguments, RETRAINING if arguments.pre else FROM_SCRATCH)
    if arguments.crop_size is None:
        arguments.crop_size = paper_crop_size(arguments.data_dir)
    if arguments.pre and (arguments.model_options or arguments.pretrained != "none"):
        raise InputError(f"{arguments.pre} knows its own model: leave its options out")
    if not arguments.pre:
        arguments.model_name = arguments.model_name or DEFAULT_MODEL
        _check_options(arguments.model_name, arguments.model_options)
    return arguments


def read_weight(argv: Sequence[str] | None = None) -> Namespace:
    """Read train_baseline_weight.py's arguments, completed by the transfer.

    Raises `InputError` as the parser does, and for a first epoch beyond the last.
    """
    arguments = weight_parser().read(argv)
    if arguments.start_epoch >= arguments.epochs:
        raise InputError(
            f"--start_epoch {arguments.start_epoch} leaves none of --epochs {arguments.epochs} to "
            "train: name a smaller first epoch or more epochs"
        )
    fill(arguments, WEIGHT_FILES)
    return arguments


def _complete(arguments: Namespace, values: dict) -> None:
    for name, value in values.items():
        if arguments[name] is None:
            arguments[name] = value


def _check_options(name: str, options: dict) -> None:
    known = list(inspect.signature(MODELS[name]).parameters)
    if name == "hrnet_small":
        from mgot.models.hrnet_small import SmallHRNet

        known = list(inspect.signature(SmallHRNet).parameters)
    for option in options:
        if option not in known:
            raise InputError(f"{name} has no option '{option}'; known: {known}")
    if not options:
        return
    try:
        with torch.device("meta"):  # builds nothing that takes memory
            MODELS[name](**options)
    except ValueError as error:
        raise InputError(f"--model_options: {error}") from error
