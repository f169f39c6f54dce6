"""Alignment of the size of ShanghaiTech A to B, as commands: seconds and peak memory of each.

    python -m bench alignment

4800 target and 1962 source patches, FIDT maps of random heads in four densities, are written to
feature files in a temporary folder. k_means.py clusters both sides; k_means_ot_weight.py then
aligns clusters of the released sizes, matched as the released ones are (3.68 million pairs), and,
for comparison, all patches at once (DAOT, 9.4 million pairs).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bench.measure import benchmark, random_map
from crowd.io.errors import InputError
from crowd.io.h5 import write_h5
from crowd.train.runs import ROOT
from mgot.feature_files import write_index_lists
from mgot.features import write_features
from mgot.maps import PATCH_SIDE

# Patches of each cluster of the authors' files, and the density (`bench.measure.HEADS`) of its
# patches, so that the clusters are matched as theirs are.
TARGET = {"sizes": (219, 714, 3582, 285), "kinds": (0, 2, 1, 3)}
SOURCE = {"sizes": (277, 877, 577, 231), "kinds": (3, 1, 2, 0)}


def write_domain(folder: Path, side: str, clusters: dict) -> None:
    """Features of one side, and cluster files of them."""
    random = np.random.default_rng(len(side))
    sizes = clusters["sizes"]
    labels = random.permutation(np.repeat(np.arange(len(sizes)), sizes))
    sums = np.zeros((len(sizes), PATCH_SIDE**2))

    def compute(first: int, last: int) -> np.ndarray:
        maps = [random_map(clusters["kinds"][label], random) for label in labels[first:last]]
        for label, values in zip(labels[first:last], maps, strict=True):
            sums[label] += values.ravel()
        return np.stack(maps)

    names = [f"{side}_{index:05d}.jpg" for index in range(len(labels))]
    write_features(folder / f"{side}.h5", names, "", compute, block=256)
    centers = (sums / np.array(sizes)[:, None]).astype(np.float32)
    write_h5(folder / f"{side}_centers.h5", cluster_center=centers)
    lists = [np.flatnonzero(labels == number).tolist() for number in range(len(sizes))]
    write_index_lists(folder / f"{side}_clusters.npy", lists)


def run(folder: Path, *argv: str) -> dict:
    """Run a script in `folder`; its seconds and peak memory in GB."""
    start = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    with open(folder / "output.txt", "w+", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / argv[0]), *argv[1:]],
            cwd=folder,
            stdout=output,
            stderr=output,
            env=environment,
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        if process.returncode:
            raise InputError(f"{argv[0]} stopped: {output.read()[-500:]}")
    used = usage.ru_utime + usage.ru_stime
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": used, "peak_gb": usage.ru_maxrss * 1024 / 1e9}


def align(folder: Path, *argv: str) -> dict:
    """Run k_means_ot_weight.py with the clusters written beforehand; also the pairs compared."""
    options = ["--query", "target.h5", "--gallery", "source.h5", "--device", "cpu"]
    for letter, side in (("t", "target"), ("s", "source")):
        options += [f"--center_cluster_{letter}", f"{side}_centers.h5"]
        options += [f"--index_cluster_{letter}", f"{side}_clusters.npy"]
    options += ["--selected_result", "selected.npy", "--corresponding_weight", "weights.npy"]
    figures = run(folder, "k_means_ot_weight.py", *options, *argv)
    groups = json.loads((folder / "selected.json").read_text("utf-8"))["groups"]
    pairs = sum(group["target_patches"] * group["source_patches"] for group in groups)
    return figures | {"pairs": pairs, "residual": max(group["residual"] for group in groups)}


def measure_all() -> dict:
    """Figures for the record."""
    stages = {}
    # What k_means.py writes is not used afterwards.
    files = ("--center_cluster", "c.h5", "--cluster_index", "c.npy", "--vis_path", "c.png")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for side, clusters in (("target", TARGET), ("source", SOURCE)):
            write_domain(folder, side, clusters)
        for side in ("source", "target"):
            cluster = ("k_means.py", "--feature", f"{side}.h5", *files)
            stages[f"k_means.py, {side}"] = run(folder, *cluster)
        stages["k_means_ot_weight.py"] = align(folder)
        stages["k_means_ot_weight.py --alignment daot"] = align(folder, "--alignment", "daot")
    *clustered, daot = stages.values()
    totals = {
        "clustered_seconds": sum(stage["seconds"] for stage in clustered),
        "daot_seconds": daot["seconds"],
        "peak_gb": max(stage["peak_gb"] for stage in stages.values()),
    }
    return {"stages": stages, **totals}


main = benchmark("alignment", __doc__, measure_all)

if __name__ == "__main__":
    main()
