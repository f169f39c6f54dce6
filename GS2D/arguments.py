"""Arguments that fitting and deformity elimination share: the keys of config_*_gsplat.yml."""

import os
from pathlib import Path

from crowd.io.config import (
    YES_NO,
    ArgumentParser,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
)
from crowd.io.files import require_folder
from GS2D import Convergence

# The released configurations hold these; nothing reads them, there or here.
UNUSED_RELEASE_KEYS = "display_interval", "gradient_threshold", "gaussian_threshold", "display_loss"

# Photos that a GPU fits at a time: an H200 takes 3.2 ms a step of 8, and 4.1 of 32.
SIDE_BY_SIDE = 32


def _anything(value):
    """Take any value as it is; of `Any`, jsonargparse would import classes that a file names."""
    return value


def fit_parser(description: str) -> ArgumentParser:
    """Return the parser; the keys are those of the released configurations, and a few more."""
    parser = ArgumentParser(description=description)
    add = parser.add_argument
    add("--root_path", type=str, help="processed set, or folder of photos + npy")
    size = "fit at 1/ratio of the photo's size"
    add("--downsample_ratio", type=PositiveFloat, default=1, help=size)
    add("--num_epochs", type=PositiveInt, default=4000, help="iterations of the fit")
    add("--learning_rate", type=PositiveFloat, default=0.01)
    flat = "stop a photo when its loss is flat, num_epochs at the latest"
    add("--stop_when_flat", action=YES_NO, default=False, help=flat)
    flat = "relative difference of the mean losses of two windows in a row"
    add("--flat_threshold", type=NonNegativeFloat, default=Convergence.threshold, help=flat)
    flat = "iterations of a window"
    add("--flat_window", type=PositiveInt, default=Convergence.window, help=flat)
    add("--bk_num", type=int, default=0, help="background Gaussians; only 0 is implemented")
    copied = "copy the pixels that lie far from every head"
    add("--use_bk_mask", action=YES_NO, default=True, help=copied)
    centres = "centres at the heads; the only way there is"
    add("--gt_points", action=YES_NO, default=True, help=centres)
    add("--backend", default="auto", choices=("auto", "cpu", "gsplat", "reference"))
    add("--seed", type=NonNegativeInt, default=0, help="of the initial rotations")
    workers = "processes, one thread each (default: all cores); on a GPU: photos fitted side by "
    workers += f"side (default: {SIDE_BY_SIDE})"
    add("--workers", type=PositiveInt, help=workers)
    add("--overwrite", action=YES_NO, help="fit photos again that are finished")
    unused = "accepted for the released configurations, without effect"
    for key in UNUSED_RELEASE_KEYS:
        add(f"--{key}", type=_anything, help=unused)
    return parser


def photo_folder(root_path: str | os.PathLike) -> Path:
    """The folder of the photos: `root_path/train` where there is one, else `root_path`."""
    root = require_folder(root_path, "set root_path to the processed set or a folder of photos")
    return root / "train" if (root / "train").is_dir() else root
