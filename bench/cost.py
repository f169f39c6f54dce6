"""Cost against size: `python -m bench.cost` draws what the records say into one picture.

A benchmark that grows with something keeps the sizes, the seconds and the exponent of the power law
through them in its record, under `cost`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from bench.measure import RESULTS, time_runs
from crowd.configuration import ArgumentParser
from crowd.errors import InputError, command
from crowd.picture_files import write_figure
from crowd.pictures import PALETTE

PICTURE = "image/cost_against_size.png"
COLUMNS = 3


def cost_against_size(
    title: str,
    size: str,
    sizes: Sequence[float],
    program: Callable[[int], Callable[[], object]],
    repeats: int = 3,
) -> dict:
    """Time a program at several sizes; the shortest of `repeats` runs each.

    Args:
        title: what is measured.
        size: what the size counts.
        sizes: in ascending order.
        program: from the position of a size to what is to be timed.
        repeats: runs per size, after one to warm up.

    Returns:
        A record: title, size, sizes, seconds, and the exponent of seconds ~ size^exponent.
    """
    seconds = [time_runs(program(index), repeats).shortest for index in range(len(sizes))]
    return cost_record(title, size, sizes, seconds)


def cost_record(title: str, size: str, sizes: Sequence[float], seconds: Sequence[float]) -> dict:
    """As `cost_against_size`, from seconds measured elsewhere."""
    exponent = float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])
    record = {"title": title, "size": size, "sizes": list(sizes), "seconds": list(seconds)}
    return record | {"exponent": exponent}


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Draw a panel for every cost in `bench/results`."""
    parser = ArgumentParser(prog="python -m bench.cost", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--output", type=str, default=PICTURE, help="picture to write")
    arguments = parser.read(argv)
    records = [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob("*.json"))]
    costs = [cost for record in records for cost in record.get("cost", [])]
    if not costs:
        raise InputError(f"no record in {RESULTS} holds a cost: run python -m bench first")
    rows = -(-len(costs) // COLUMNS)
    figure = Figure((10, 3.1 * rows), dpi=110, layout="constrained")
    panels = figure.subplots(rows, COLUMNS, squeeze=False).flat
    for cost, axis in zip(costs, panels, strict=False):
        sizes, seconds = np.array(cost["sizes"]), np.array(cost["seconds"])
        slope = np.polyfit(np.log(sizes), np.log(seconds), 1)
        axis.loglog(sizes, np.exp(np.polyval(slope, np.log(sizes))), color=PALETTE[4], lw=1)
        axis.loglog(sizes, seconds, "o", color=PALETTE[5])
        axis.set_title(f"{cost['title']}\nseconds ~ size^{cost['exponent']:.2f}", fontsize=9)
        axis.set_xlabel(cost["size"], fontsize=9)
        axis.tick_params(labelsize=8, which="both")
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3, which="both")
    for axis in list(panels):
        axis.set_axis_off()
    figure.supylabel("seconds", fontsize=9)
    write_figure(arguments.output, figure)
    print(f"{arguments.output}: {len(costs)} panels")


if __name__ == "__main__":
    main()
