"""Train a counter on FIDT maps: the source model, or the target model on pseudo labels.

    python -m mgot.train_baseline --data_dir data/sha_fidt --save_dir runs/mgot_sha
    python -m mgot.train_baseline --config mgot/configs/A2B.yml --domain source
    python -m mgot.train_baseline --config mgot/configs/A2B.yml --domain target

With `--pre`, or for the target, a trained model is retrained as DAOT does: fewer epochs, a tenth
of the learning rate. Interrupted, it goes on with `--resume` to the same figures.
"""

from collections.abc import Sequence
from pathlib import Path

from crowd.data.processed import list_split
from crowd.data.resize import JPEG_LIMIT
from crowd.data.stage import read_record, record_path
from crowd.io.config import (
    YES_NO,
    ArgumentParser,
    Namespace,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
)
from crowd.io.errors import InputError, command
from crowd.io.files import content_hash, require_folder
from crowd.io.progress import note
from crowd.train import arguments as common
from mgot.fidt import read_preprocessing
from mgot.models import MODELS
from mgot.transfer import TILE_HELP, add_transfer, fill

PAPER = {
    "seed": 1,
    "batch_size": 16,
    "weight_decay": 5e-4,
    "validate_from": 1,
    "validate_every": 10,
}
DEFAULT_MODEL = "hrnet_w48"
# FIDT's training from scratch; MGOT's retraining of a model that has been trained.
FROM_SCRATCH = {"epochs": 3000, "lr": 1e-4}
RETRAINING = {"epochs": 1200, "lr": 1e-5, "crop_size": 256}
FILES = {
    "source": {"data_dir": "source.fidt", "save_dir": "source.run"},
    "target": {"data_dir": "pseudo_labels", "save_dir": "target.run", "pre": "source.checkpoint"},
}


def add_training(parser: ArgumentParser, values: dict, **said: str) -> None:
    """Add what both trainings have (`crowd.train.arguments.add_training`), to `PAPER` `values`."""
    common.add_training(parser, PAPER | values, **said)
    add = parser.add_argument_group("FIDT").add_argument
    add("--ssim-weight", type=NonNegativeFloat, default=0.0, help="of I-SSIM; 0 as released")
    detail = "of the squared error of what a 7 x 7 mean leaves of the maps; 0 as released"
    add("--detail-weight", type=NonNegativeFloat, default=0.0, help=detail)
    add("--tile", type=NonNegativeInt, default=0, help=TILE_HELP)
    every = "epochs from one printed line to the next"
    add("--print-freq", type=PositiveInt, default=1, help=every)
    add("--visual", action=YES_NO, default=False, help="draw peaks of the best epoch")


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(
        prog="python -m mgot.train_baseline",
        description="Train a counter on FIDT maps, or retrain one.",
    )
    add = parser.add_argument
    add("--data_dir", type=str, help="set with train/: of mgot.fidt or mgot.pseudo_label")
    add("--val_dir", type=str, help="set whose val/ chooses the best epoch (default: --data_dir)")
    add("--pre", type=str, help="checkpoint to start from")
    backbone = "none, imagenet or a file of weights, without --pre"
    add("--pretrained", type=str, default="none", help=backbone)
    add("--model_options", type=dict, default={}, help="options of the model's class, as JSON")
    add_training(
        parser,
        {"epochs": None, "lr": None, "crop_size": None},
        epochs="default: 3000, 1200 with --pre",
        lr="default: 1e-4, 1e-5 with --pre",
        crop_size="default: 512 for photos of up to 2048 px, else 256; 256 with --pre",
    )
    common.add_scale_range(parser, (1.0, 1.0))
    add_transfer(parser, domain=True)
    return parser


def read_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """Read the arguments, completed by the transfer and by the papers' values.

    Raises `InputError` as the parser does, and for options that do not fit together.
    """
    arguments = build_parser().read(argv)
    if arguments.transfer and arguments.domain is None:
        raise InputError(f"transfer {arguments.transfer} has two sides: add --domain")
    common.check_scale_range(arguments)
    fill(arguments, FILES[arguments.domain or "source"])
    if arguments.val_dir is None and (Path(arguments.data_dir) / "val").is_dir():
        arguments.val_dir = arguments.data_dir
    if arguments.visual and arguments.val_dir is None:
        raise InputError("--visual draws photos of val: name --val_dir")
    for name, value in (RETRAINING if arguments.pre else FROM_SCRATCH).items():
        if arguments[name] is None:
            arguments[name] = value
    if arguments.crop_size is None:
        as_stored = read_preprocessing(arguments.data_dir).max_size == JPEG_LIMIT
        arguments.crop_size = 256 if as_stored else 512
    if arguments.pre and (arguments.model_options or arguments.pretrained != "none"):
        raise InputError(f"{arguments.pre} knows its own model: leave its options out")
    if not arguments.pre:
        arguments.model_name = arguments.model_name or DEFAULT_MODEL
        common.check_options(MODELS, arguments.model_name, arguments.model_options)
    return arguments


def note_other_model(photo: Path, pre: str) -> None:
    """Note where a pseudo label is of another checkpoint than `pre`, which is retrained on it."""
    made_by = read_record(record_path(photo)).get("settings", {}).get("checkpoint")
    if made_by and Path(pre).is_file() and made_by != content_hash(pre):
        note(
            f"the pseudo labels in {photo.parent} are not of {pre}: run mgot.pseudo_label again "
            "if they are to be"
        )


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Train, validate, keep the best."""
    arguments = read_arguments(argv)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from mgot.dataset import FidtCrops
    from mgot.evaluation import CountedSet
    from mgot.training import train

    if arguments.domain == "target":
        labelled = "run python -m mgot.pseudo_label, or name the set that it wrote by --data_dir"
        require_folder(Path(arguments.data_dir) / "train", labelled)
    common.choose_workers(arguments)
    preprocessing = read_preprocessing(arguments.data_dir)
    photos = list_split(arguments.data_dir, "train")
    if arguments.pre and not arguments.resume:
        note_other_model(photos[0], arguments.pre)
    crops = FidtCrops(
        photos,
        arguments.crop_size,
        arguments.seed,
        preprocessing,
        cache_gib=common.cache_of(arguments),
        scale_range=tuple(arguments.scale_range),
    )
    validation = None
    if arguments.val_dir:
        validation = CountedSet(arguments.val_dir, "val", arguments.workers, arguments.tile)
    train(arguments, preprocessing, crops, validation)


if __name__ == "__main__":
    main()
