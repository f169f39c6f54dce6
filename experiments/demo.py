"""The demo: drawn photos, every stage of both papers by the README's commands, tables, pictures."""

import json
import shlex
import shutil
import time
from pathlib import Path

from crowd.count.evaluation import errors_table
from crowd.io.files import atomic_path
from experiments import figures
from experiments.report import write_report
from experiments.runner import run_python
from experiments.transfers import draw_overview

TRANSFER = "mgot/configs/synthetic.yml"
ADAPT = "--config experiments/fidt_light_adapt.yml"
FINE_TUNE = "--epochs 4 --validate_every 2 --resume"
# Rows of MGOT's table -> folders of their tests below `mgot/`.
MGOT_ROWS = {
    "source only": "mgot_synthetic_b/target",
    "pseudo label": "mgot_synthetic/retrained/test",
    "DAOT": "mgot_synthetic/daot/test",
    "MGOT": "mgot_synthetic/finetuned/test",
}


def gst_stages(folder: Path) -> list[str]:
    """The commands of the README's documented order, on a small synthetic set in `folder`."""
    raw, processed, run = folder / "raw", folder / "processed", folder / "gst"
    return [
        f"-m crowd.synthetic --root {raw} --layout qnrf --images 80 --seed 1 --domain a",
        f"preprocess_dataset_ucf.py --layout qnrf --input-dataset-path {raw} "
        f"--output-dataset-path {processed}",
        "2dgs_counting_1gs_gsplat.py --config GS2D/config_synthetic_gsplat.yml "
        f"--root_path {processed}/train --num_epochs 500",
        f"GS2D/process_gaussians.py --folder {processed}/train/gs_params",
        "train_gs.py --model-name vgg_small --dataset synthetic "
        f"--config experiments/gst_synthetic_small.yml --data-dir {processed} --save-dir {run} "
        "--resume",
        f"test.py --save-path {run}/best.pth --data-dir {processed} --output {run}/test",
    ]


def mgot_stages(folder: Path) -> list[str]:
    """The commands of the README's documented order, from the stadiums to the streets."""
    data, runs = folder / "domains", folder / "mgot"
    work, target = runs / "mgot_synthetic", data / "synthetic_a_fidt"
    where = transfer_of(folder)
    daot = f"--selected_result {work}/daot.npy --corresponding_weight {work}/daot_weight.npy"
    synthetic = "-m crowd.synthetic --layout sht --images 60 --seed 1"
    per_domain = [
        f"{stage} {where} --domain {domain}"
        for domain in ("source", "target")
        for stage in ("-m mgot.patches", "-m mgot.features", "k_means_elbow.py", "k_means.py")
    ]
    return [
        f"{synthetic} --domain a --root {data}/synthetic_a",
        f"{synthetic} --domain b --root {data}/synthetic_b",
        *(f"-m mgot.fidt {where} --domain {domain}" for domain in ("source", "target")),
        f"-m mgot.train_baseline {where} --config experiments/fidt_light.yml --domain source "
        "--pretrained weights/light.pth --epochs 16 --validate_every 4 --resume",
        _test(runs / "mgot_synthetic_b/best.pth", target, runs / MGOT_ROWS["source only"]),
        f"-m mgot.pseudo_label {where}",
        f"-m mgot.train_baseline {where} {ADAPT} --domain target --epochs 8 --validate_every 4 "
        "--resume",
        _test(work / "retrained/best.pth", target, runs / MGOT_ROWS["pseudo label"]),
        *per_domain,
        f"k_means_ot_weight.py {where} --alignment daot {daot}",
        f"train_baseline_weight.py {where} {ADAPT} {daot} --save_dir {work}/daot {FINE_TUNE}",
        _test(work / "daot/last.pth", target, runs / MGOT_ROWS["DAOT"]),
        f"k_means_ot_weight.py {where}",
        f"train_baseline_weight.py {where} {ADAPT} {FINE_TUNE}",
        _test(work / "finetuned/last.pth", target, runs / MGOT_ROWS["MGOT"]) + " --visual",
    ]


def transfer_of(folder: Path) -> str:
    """Return the options that say where the stages of the demo's transfer find their files."""
    return f"--config {TRANSFER} --data_root {folder}/domains --runs_root {folder}/mgot"


def _test(checkpoint: Path, data: Path, output: Path) -> str:
    return f"-m mgot.test --save_path {checkpoint} --data_dir {data} --output {output}"


def run(folder: str | Path) -> None:
    """Run every stage into `folder`, then draw its pictures. Raises `InputError` if one fails."""
    folder = Path(folder)
    started = time.monotonic()
    for stage in [*gst_stages(folder), *mgot_stages(folder)]:
        run_python(stage)
    pictures = figures.draw_gst(folder / "processed", folder / "gst", folder / "pictures")
    pictures += collect_mgot(folder / "mgot" / "mgot_synthetic", folder / "pictures")
    pictures.append(folder / "pictures" / "mgot_overview.jpg")
    draw_overview(pictures[-1], shlex.split(transfer_of(folder)))
    print("\nGST, trained and tested on streets")
    metrics = _metrics(folder / "gst" / "test")
    print(errors_table({"GST": metrics, "guessing the training median": metrics["guessing"]}))
    print("\nMGOT, trained on stadiums, tested on streets whose annotations it never saw")
    rows = {name: _metrics(folder / "mgot" / place) for name, place in MGOT_ROWS.items()}
    guessing = {"guessing the source's median": rows["source only"]["guessing"]}
    print(errors_table(rows | guessing))
    report = folder / "report.html"
    runs = [folder / run for run in ("gst", "mgot/mgot_synthetic_b", "mgot/mgot_synthetic")]
    write_report(runs, report)
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes. Pictures:")
    for picture in pictures:
        print(f"  {picture}")
    print(f"All of it on one page, to open in a browser: {report}")


def _metrics(test: Path) -> dict:
    return json.loads((test / "metrics.json").read_text(encoding="utf-8"))


def collect_mgot(work: Path, output: Path) -> list[Path]:
    """Copy the pictures that the stages drew into `output` and return their paths."""
    drawn = {
        "elbow.png": work / "target_elbow.png",
        "clusters.png": work / "target_clusters.png",
        "matches.jpg": work / "synthetic_cluster_ot.jpg",
        "peaks.jpg": min((work / "finetuned" / "test" / "visual").glob("*_peaks.jpg")),
    }
    for name, source in drawn.items():
        with atomic_path(output / f"mgot_{name}") as part:
            shutil.copyfile(source, part)
    return [output / f"mgot_{name}" for name in drawn]
