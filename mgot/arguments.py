"""Arguments that both trainings of MGOT have, with the paper's values as defaults."""

from __future__ import annotations

from crowd.io.config import YES_NO, ArgumentParser, NonNegativeFloat, NonNegativeInt, PositiveInt
from crowd.train import arguments as common
from mgot.photos import TILE_HELP

PAPER = {
    "seed": 1,
    "batch_size": 16,
    "weight_decay": 5e-4,
    "validate_from": 1,
    "validate_every": 10,
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
