"""How long, and at what price, the paper's trainings take on 1, 8 and 64 devices.

    python -m bench.scaling                                    from bench/results/training.json
    python -m bench.scaling --record gpu.json --price 2.5 --efficiency 0.9

hours = (epochs · photos · (crop / 512)² + validations · photos of val · pixels / 512²· ⅓) / rate
        / (devices · efficiency) / 3600

The rate is measured (`python -m bench training` on the device in question); that a crop costs as
its area, that counting a photo costs a third of training on as many pixels, and the efficiency of
several devices are assumptions. Nothing is known here of devices that were not measured.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from jsonargparse.typing import PositiveFloat

from bench.measure import RESULTS
from crowd.configuration import ArgumentParser
from crowd.errors import command
from crowd.files import require_file

DEVICES = (1, 8, 64)
MEASURED_SIDE = 512


class Plan(NamedTuple):
    """A training as in the paper.

    Attributes:
        train: photos to train on.
        val: photos to validate on.
        crop: side of a training crop, pixels.
        pixels: of a photo of val, roughly.
        every: epochs from one validation to the next.
    """

    train: int
    val: int
    crop: int
    pixels: float
    every: int


EPOCHS, FIRST_VALIDATION = 1200, 600
PLANS = {
    "JHU-Crowd++": Plan(2272, 500, 512, 1430 * 910, 5),
    "NWPU-Crowd": Plan(3109, 500, 384, 3209 * 2191, 50),
}


def crops_of_512(plan: Plan) -> float:
    """The work of a training in steps on a 512 × 512 crop."""
    training = EPOCHS * plan.train * (plan.crop / MEASURED_SIDE) ** 2
    validations = (EPOCHS - FIRST_VALIDATION) // plan.every + 1
    return training + validations * plan.val * plan.pixels / MEASURED_SIDE**2 / 3


def hours(plan: Plan, rate: float, devices: int, efficiency: float) -> float:
    """Wall-clock hours at `rate` steps a second and device; `efficiency` counts beyond one."""
    return crops_of_512(plan) / (rate * devices * (efficiency if devices > 1 else 1.0)) / 3600


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Print the table as Markdown."""
    parser = ArgumentParser(prog="python -m bench.scaling", description=__doc__)
    add = parser.add_argument
    add("--record", type=str, default=str(RESULTS / "training.json"), help="of bench training")
    add("--efficiency", type=PositiveFloat, default=0.9, help="of several devices; an assumption")
    add("--price", type=PositiveFloat, help="of a device-hour, in any currency")
    arguments = parser.read(argv)
    file = require_file(arguments.record, "run python -m bench training")
    record = json.loads(file.read_text(encoding="utf-8"))
    headings = " | ".join("1 device" if n == 1 else f"{n} devices" for n in DEVICES)
    print(f"| | network | photos/s, measured | {headings} |")
    print("|---|---|---|" + "---|" * len(DEVICES))
    for name, plan in PLANS.items():
        for line in record["lines"]:
            cells = []
            for devices in DEVICES:
                took = hours(plan, line["photos_per_s"], devices, arguments.efficiency)
                cost = devices * took * (arguments.price or 1)
                unit = f"at {arguments.price:g} an hour" if arguments.price else "device-hours"
                cells.append(f"{took:,.0f} h, {cost:,.0f} {unit}")
            rate = f"{line['photos_per_s']:.3f}"
            print(f"| {name} | {line['model']} | {rate} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
