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
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from bench.measure import benchmark, ratio, time_in_turn
from crowd.count.photos import count_one
from crowd.train.checkpoints import save_checkpoint
from crowd.train.runs import ROOT
from gst.counter import BOXED, Counter, annotator, load_counter
from gst.models import build_model

SIZE, LARGE = (1024, 768), (12000, 9000)
CPU = torch.device("cpu")
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
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        photo, large = (draw_photo(Path(folder, f"{size[0]}.jpg"), size) for size in (SIZE, LARGE))
        vgg = f"{folder}/vgg.pth"
        save_checkpoint(vgg, **build_model("vgg").state_dict())
        counters = {"light": load_counter(BOXED, CPU), "vgg": load_counter(vgg, CPU, "vgg")}
        options = {"light": [], "vgg": ["--save-path", vgg, "--model-name", "vgg"]}
        used: dict[str, list[float]] = {name: [] for name in counters}
        programs = [partial(count, photo, counters[name], used[name]) for name in counters]
        figures: dict = {
            name: {
                "seconds": statistics.median(times),
                "cpu_seconds": statistics.median(used[name][1:]),
                "peak_megabytes": peak_megabytes(photo, options[name]),
            }
            for name, times in zip(counters, time_in_turn(programs, repeats), strict=True)
        }
        figures["cpu_ratio"] = ratio(used["vgg"][1:], used["light"][1:])
        figures["light_108_megapixels"] = {"peak_megabytes": peak_megabytes(large, [])}
    return figures


def count(photo: Path, counter: Counter, used: list[float]) -> None:
    """Count a photo, and note the seconds that it takes of the processor."""
    start = time.process_time()
    count_one(photo, annotator(counter), counter.preprocessing)
    used.append(time.process_time() - start)


main = benchmark("counting", __doc__, measure, repeats=5, threads=1)

if __name__ == "__main__":
    main()
