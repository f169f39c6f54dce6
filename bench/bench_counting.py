"""Counting a photo of 1024 x 768 by the boxed counter and by VGG-19: seconds, and peak memory.

    python -m bench counting

Seconds are those of a counter that is loaded, from file to count, heads and picture, the two in
alternation: of the clock, and of the processor, which what else runs there adds little to. Memory
is that of the whole process of `python test.py --image photo.jpg`, for the boxed counter also with
a photo of 108 megapixels. VGG-19 has random weights, which cost as much.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.measure import benchmark, ratio, time_in_turn
from crowd.count.photos import count_one
from crowd.train.checkpoints import save_checkpoint
from crowd.train.runs import ROOT
from gst.counter import BOXED, annotator, load_counter
from gst.models import build_model

SIZE, LARGE = (1024, 768), (12000, 9000)
# Of the process itself: what its parent reads of it would begin with the parent's own.
PEAK = """
import runpy, sys
from pathlib import Path
try:
    runpy.run_path("test.py", run_name="__main__")
finally:
    print("VmHWM", Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def draw_photo(path: Path, size: tuple[int, int]) -> Path:
    """Write a photo of coloured patches with about as many details as a street has."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(path, quality=90)
    return path


def peak_megabytes(photo: Path, weights: list[str]) -> float:
    """Largest resident memory of the command that counts a photo (Linux)."""
    options = ["--image", str(photo), "--device", "cpu", "--output", str(photo.parent / "counted")]
    line = [sys.executable, "-c", PEAK, *options, *weights]
    done = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    return int(re.search(r"VmHWM (\d+)", done.stdout)[1]) / 1000


def measure(repeats: int) -> dict:
    """Figures for the record."""
    with tempfile.TemporaryDirectory() as folder:
        return measure_in(Path(folder), repeats)


def measure_in(folder: Path, repeats: int) -> dict:
    """Figures for the record, measured with files of a folder."""
    torch.manual_seed(0)
    save_checkpoint(folder / "vgg.pth", **build_model("vgg").state_dict())
    names = {"light": [str(BOXED)], "vgg": [str(folder / "vgg.pth"), "vgg"]}
    photo, large = (draw_photo(folder / f"{size[0]}.jpg", size) for size in (SIZE, LARGE))
    programs = []
    for path, *model in names.values():
        counter = load_counter(path, torch.device("cpu"), *model)
        look, how = annotator(counter), counter.preprocessing
        programs.append(lambda look=look, how=how: count_one(photo, look, how))
    used: list[list[float]] = [[] for _ in programs]
    timings = time_in_turn(
        [partial(spend, *pair) for pair in zip(programs, used, strict=True)], repeats
    )
    options = [[], ["--save-path", names["vgg"][0], "--model-name", "vgg"]]
    figures: dict = {
        name: {
            "seconds": statistics.median(times),
            "cpu_seconds": statistics.median(seconds[1:]),
            "peak_megabytes": peak_megabytes(photo, weights),
        }
        for name, times, seconds, weights in zip(names, timings, used, options, strict=True)
    }
    figures["cpu_ratio"] = ratio(*(seconds[1:] for seconds in used[::-1]))
    return figures | {"light_108_megapixels": {"peak_megabytes": peak_megabytes(large, [])}}


def spend(program: Callable[[], object], used: list[float]) -> None:
    """Run a program, and note the seconds that it takes of the processor."""
    start = time.process_time()
    program()
    used.append(time.process_time() - start)


main = benchmark("counting", __doc__, measure, repeats=5, threads=1)

if __name__ == "__main__":
    main()
