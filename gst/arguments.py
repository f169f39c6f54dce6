"""Arguments of train_gs.py, with the paper's values as defaults."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from crowd.io.config import (
    YES_NO,
    ArgumentParser,
    ClosedUnitInterval,
    Namespace,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    dashed,
)
from crowd.io.errors import InputError
from crowd.train.arguments import (
    add_scale_range,
    add_training,
    check_options,
    check_scale_range,
)
from gst.models import MODELS
from gst.options import (
    COMPARED,
    DM_COUNT,
    SCALE_RANGE,
    SCORES,
    SMALLEST_SHARE,
    STRIDE,
    TRANSPORT,
    WEIGHTS,
    KernelOptions,
)

CONFIGS = Path(__file__).parent / "configs"
DATASETS = tuple(sorted(path.stem for path in CONFIGS.glob("*.yml")))
PAPER = {
    "seed": 4073,
    "epochs": 1200,
    "lr": 5e-6,
    "crop_size": 512,
    "batch_size": 1,
    "weight_decay": 1e-5,
    "validate_from": 600,
    "validate_every": 5,
}
AUGMENTATION = ("scale_range", "colour_jitter", "smallest_share", "clip_boxes")
# Settings that came later, with what trainings of before did.
EARLIER = {"smallest_share": SMALLEST_SHARE, "clip_boxes": False}
BLOCK_PIXELS = 64  # side of the largest blocks of --block-counts
# Options of one loss alone, with their defaults.
OPTIONS = {
    TRANSPORT: dataclasses.asdict(KernelOptions()),
    DM_COUNT: {"ot_weight": WEIGHTS["ot"]},
}


def preset(arguments: dict) -> Path | None:
    """Return the YAML file of `--dataset`, which sets the defaults."""
    known = arguments["dataset"] in DATASETS
    return CONFIGS / f"{arguments['dataset']}.yml" if known else None


def build_parser() -> ArgumentParser:
    """Return the parser; `--dataset` sets defaults that `--config` and the command line replace."""
    parser = ArgumentParser(description="Train a counter with the transport kernel.", preset=preset)
    add = parser.add_argument
    add("--model-name", choices=tuple(MODELS), default="vgg", help="network")
    add("--model-options", type=dict, default={}, help="options of its class, as JSON")
    add("--dataset", choices=DATASETS, help="sets folder and crop size from gst/configs")
    add("--data-dir", type=str, required=True, help="processed set with train/ and val/")
    also = "further processed sets to train and validate on together with it; one named twice is "
    also += "drawn twice as often, as for the trained counter in weights/, and validated once"
    add("--also-data-dir", type=str, nargs="*", default=[], help=also)
    add("--pretrained", type=str, default="none", help="none, imagenet or a file of weights")
    add_training(parser, PAPER, save_dir="run folder (default runs/gst_<dataset>_<model>)")
    best = "what the best epoch has least of: rmse, 2·RMSE + MAE (released); nae, for sets together"
    add("--best-by", choices=tuple(SCORES), default="rmse", help=best)
    group = parser.add_argument_group("loss and steps")
    add = group.add_argument
    add("--loss", choices=(TRANSPORT, *COMPARED), default=TRANSPORT, help="GST's, or another's")
    weight = "of transport in dm_count"
    add("--ot-weight", type=NonNegativeFloat, default=WEIGHTS["ot"], help=weight)
    counts = "weight of the Poisson deviance of counts in blocks (16, 32, 64 px, the crop); 0: none"
    add("--block-counts", type=NonNegativeFloat, default=0.0, help=counts)
    add_scale_range(group, SCALE_RANGE)
    share = "of a head's box in a crop, below which the head is left out; 0.3 as released, which "
    share += "loses people where heads are far apart (3.5 % of ShanghaiTech B's); 0 leaves none out"
    add("--smallest-share", type=ClosedUnitInterval, default=SMALLEST_SHARE, help=share)
    clip = "cut heads' boxes at the photo's border, so that heads there count 1; as released, the "
    clip += "part outside is lost (2.9 % of ShanghaiTech B's people, 0.8 % of A's)"
    add("--clip-boxes", action=YES_NO, default=False, help=clip)
    jitter = "how far saturation, contrast and brightness of crops go from 1; 0: not released"
    add("--colour-jitter", type=ClosedUnitInterval, default=0.0, help=jitter)
    add("--tile", type=PositiveInt, default=512, help="photos are counted in tiles of this side")
    add = parser.add_argument_group("transport kernel").add_argument
    for name, what in (
        ("background_ratio", "at cut_off / √2 deviations the background weighs this / √|Σ|"),
        ("cut_off", "larger: background farther off; it begins at 3.6 (8 px) to 3.8 σ (20 px)"),
        ("post_min", "the smallest standard deviation is 8 / this, px"),
        ("post_max", "largest standard deviation, px"),
        ("scale_ratio", "factor on all standard deviations"),
    ):
        add(f"--{name}", type=PositiveFloat, default=getattr(KernelOptions, name), help=what)
    add("--use-background", action=YES_NO, default=True)
    return parser


def read_arguments(parser: ArgumentParser, argv: Sequence[str] | None = None) -> Namespace:
    """Read the arguments and name the run folder.

    Raises `InputError` as the parser does, and for an option that the model or loss does not have.
    """
    arguments = parser.read(argv)
    check_options(MODELS, arguments.model_name, arguments.model_options)
    check_scale_range(arguments)
    if arguments.block_counts and arguments.crop_size < BLOCK_PIXELS:
        raise InputError(
            f"--block-counts needs crops of {BLOCK_PIXELS} pixels or more: raise --crop-size, or "
            "leave it out"
        )
    for loss, defaults in OPTIONS.items():
        for name, default in defaults.items():
            if loss != arguments.loss and arguments[name] != default:
                raise InputError(
                    f"{dashed('--' + name)} is an option of --loss {loss}, not of --loss "
                    f"{arguments.loss}: leave it out"
                )
    _check_kernel(arguments)
    method = "gst" if arguments.loss == TRANSPORT else arguments.loss
    arguments.save_dir = arguments.save_dir or (
        f"runs/{method}_{arguments.dataset or Path(arguments.data_dir).name}_{arguments.model_name}"
    )
    return arguments


def _check_kernel(arguments: Namespace) -> None:
    """Raise `InputError` for options of the kernel that contradict each other."""
    try:
        smallest, largest = loss_options(arguments)["kernel"].limits(STRIDE)
    except ValueError as error:
        raise InputError(str(error)) from error
    if smallest > largest:
        raise InputError(
            f"{STRIDE} / --post-min, {smallest:g}, is above --post-max {largest:g}, which would be "
            "the standard deviation of all Gaussians: raise one of the two"
        )
    for name in () if arguments.use_background else ("background_ratio", "cut_off"):
        if arguments[name] != getattr(KernelOptions, name):
            flag = dashed("--" + name)
            raise InputError(f"{flag} has no effect with --no-use-background: leave one out")


def loss_options(arguments: Namespace) -> dict:
    """Return the loss and its options, as `gst.losses.batch_losses` takes them."""
    kernel = KernelOptions(**{name: arguments[name] for name in OPTIONS[TRANSPORT]})
    return {"loss": arguments.loss, "block_counts": arguments.block_counts > 0, "kernel": kernel}


def loss_weights(arguments: Namespace) -> dict[str, float]:
    """Return the weights of the losses, by name."""
    return {**WEIGHTS, "ot": arguments.ot_weight, "block_counts": arguments.block_counts}
