"""Arguments that every training has, and what a training begins with."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from crowd.io.config import (
    YES_NO,
    ArgumentParser,
    Namespace,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    Seed,
)
from crowd.io.errors import InputError
from crowd.io.lazy import LazyNames

if TYPE_CHECKING:
    import torch

GPU_WORKERS = 4  # processes that keep a GPU busy with crops
PRECISIONS = ("auto", "native", "float32", "bfloat16")
SCHEDULES = ("constant", "cosine")
OPTIMIZERS = LazyNames({"adam": "torch.optim:Adam", "adamw": "torch.optim:AdamW"})

HELP = {
    "save_dir": "run folder",
    "crop_size": "side of a training crop, px",
    "epochs": "number of epochs",
    "lr": "learning rate",
    "validate_from": "first epoch to validate",
    "validate_every": "epochs; the last one always is",
}


def add_training(parser: ArgumentParser, values: Mapping[str, float | None], **said: str) -> None:
    """Add what every training has, in a group of its own.

    Args:
        parser: of the command.
        values: the paper's `seed`, `epochs`, `lr`, `crop_size`, `batch_size`, `weight_decay`,
            `validate_from` and `validate_every`; None where other arguments decide.
        **said: help of an argument in place of `HELP`.
    """
    said = HELP | said
    add = parser.add_argument_group("training").add_argument
    add("--save-dir", "--save-path", type=str, help=said["save_dir"])
    add("--resume", action=YES_NO, help="continue from last.pth if there is one")
    add("--device", "--gpu-id", type=str, default="auto", help="a GPU's number, cpu or auto")
    workers = f"processes that read photos (default: {GPU_WORKERS} for a GPU, 0 for a CPU)"
    add("--workers", type=NonNegativeInt, help=workers)
    add("--cache-gib", type=NonNegativeFloat, default=2.0, help="memory for decoded photos, GiB")
    add("--seed", type=Seed, default=values["seed"], help="of weights, crops and dropout")
    add("--epochs", type=PositiveInt, default=values["epochs"], help=said["epochs"])
    add("--lr", type=PositiveFloat, default=values["lr"], help=said["lr"])
    add("--lr-schedule", choices=SCHEDULES, default=SCHEDULES[0])
    add("--optimizer", choices=tuple(OPTIMIZERS), default="adam")
    add("--backbone-lr", type=PositiveFloat, default=1.0, help="the backbone's, times --lr")
    clip = "largest norm of a step's gradient, to which longer ones are shortened; 0: none"
    add("--clip-gradient", type=NonNegativeFloat, default=0.0, help=clip)
    add("--weight-decay", type=NonNegativeFloat, default=values["weight_decay"])
    add("--batch-size", type=PositiveInt, default=values["batch_size"])
    add("--crop-size", type=PositiveInt, default=values["crop_size"], help=said["crop_size"])
    add("--ema", type=NonNegativeFloat, default=0.0, help="decay of averaged weights; 0: none")
    where = "auto: bfloat16 on GPUs alone; native: on CPUs that have it too"
    add("--precision", choices=PRECISIONS, default=PRECISIONS[0], help=where)
    saved = "epochs from one last.pth to the next; after the last one it is written in any case"
    add("--save-every", type=PositiveInt, default=1, help=saved)
    for name in ("validate_from", "validate_every"):
        add(f"--{name}", type=PositiveInt, default=values[name], help=said[name])


def add_scale_range(parser: ArgumentParser, default: tuple[float, float]) -> None:
    """Add `--scale-range`, of trainings whose labels can be made for a scaled photo."""
    scale = "smallest and largest factor by which photos are scaled"
    parser.add_argument("--scale-range", type=float, nargs=2, default=[*default], help=scale)


def check_scale_range(arguments: Namespace) -> None:
    """Raise `InputError` unless `--scale-range` holds two factors."""
    low, high = arguments.scale_range
    if not 0 < low <= high <= 8:
        raise InputError(f"--scale-range {low} {high} is none: name two factors such as 0.75 1.25")


def begin(arguments: Namespace) -> tuple[Path, torch.device, bool]:
    """Look into the run folder, join the other processes and seed torch.

    `arguments.precision` becomes what it stands for on the device. Returns the run folder, the
    device, and whether a training is continued. Raises `InputError` when the folder holds a
    training and `--resume` is not set, or there is no such device.
    """
    import torch

    from crowd.train.devices import choose_precision, flush_denormals
    from crowd.train.distributed import join
    from crowd.train.runs import BEST, LAST

    # Before torch starts its threads, which take it over.
    flush_denormals()
    folder, device = Path(arguments.save_dir), join(arguments.device)
    arguments.precision = choose_precision(device, arguments.precision)
    begun = (folder / LAST).is_file()
    if (begun or (folder / BEST).is_file()) and not arguments.resume:
        raise InputError(
            f"{folder} holds a training: add --resume to continue it, or choose another folder"
        )
    torch.manual_seed(arguments.seed)
    return folder, device, begun


def choose_workers(arguments: Namespace) -> None:
    """Set `arguments.workers` where nobody did; raise `InputError` when there is no such device."""
    from crowd.train.devices import pick_device

    if arguments.workers is None:
        arguments.workers = GPU_WORKERS if pick_device(arguments.device).type == "cuda" else 0


def cache_of(arguments: Namespace) -> float:
    """Memory for photos in GiB of each process that reads them: every one keeps its own."""
    return arguments.cache_gib / max(arguments.workers, 1)


def optimisation(arguments: Namespace) -> dict:
    """Return what `Training` takes of the arguments that every training has."""
    names = "lr", "weight_decay", "epochs", "lr_schedule", "ema", "optimizer", "backbone_lr"
    return {name: arguments[name] for name in names}


def check_options(models: Mapping[str, Callable], name: str, options: dict) -> None:
    """Raise `InputError` for options that a model does not have, or values that it refuses."""
    known = inspect.signature(models[name]).parameters
    for option, value in options.items():
        if option not in known:
            raise InputError(f"{name} has no option '{option}'; known: {list(known)}")
        kind = type(known[option].default)
        if kind is int and not (type(value) is int and value > 0):
            raise InputError(f"--model-options: {option} {value!r} is no whole number above 0")
        if kind is float and not (type(value) in (int, float) and math.isfinite(value)):
            raise InputError(f"--model-options: {option} {value!r} is no finite number")
    if options:
        import torch

        try:
            with torch.device("meta"):  # builds nothing that takes memory
                models[name](**options)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"--model-options: {error}") from error
