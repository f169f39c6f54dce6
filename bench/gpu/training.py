"""Stages h and i: the light counter with GST and the Bayesian loss, and the paper's network.

Each is a training of train_gs.py whose crops are drawn on the device. It goes on with every command
until it has all its epochs; then test.py tests what was best on the validation, where the test
photos are at hand. Its length is decided once, from how fast its steps turn out to be.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from bench.gpu.crops import DeviceCrops, Drawing, OutOfTime, graphed
from bench.gpu.stages import Context
from crowd.count.evaluation import errors_of
from crowd.data.network_input import read_photo
from crowd.io.config import Namespace
from crowd.io.files import write_text
from crowd.synthetic import make_dataset
from crowd.train.arguments import optimisation
from crowd.train.checkpoints import load_checkpoint, save_release
from crowd.train.devices import choose_precision, place
from crowd.train.loading import CountedPhotos
from crowd.train.loop import Steps, fit, train_one_epoch
from crowd.train.runs import BEST, LAST, ROOT, read_log
from crowd.train.state import Training, describe
from GS2D import jobs, process_gaussians
from GS2D.jobs import FitSettings, is_finished, photos_to_fit
from GS2D.store import FOLDER
from gst import build_model
from gst.arguments import build_parser, loss_options, loss_weights, read_arguments
from gst.counter import evaluate
from gst.dataset import CrowdCrops, Sample
from gst.losses import batch_losses
from gst.options import TRANSPORT
from gst.photos import read_preprocessing

PARTS = {"a": "part_A", "b": "part_B"}
SIDE_BY_SIDE = 32
MOST_PASSES = 1300  # over the photos, as small published counters are trained
ROUNDS = 10  # passes an epoch: what is done once an epoch waits for the device
BESIDE = 1.0  # seconds an epoch for checkpoint and log
SHORTEST = 20.0  # seconds that a training is begun for
RESERVE = 30.0  # seconds for the test and the record


class Plan(NamedTuple):
    """One training: the weights to start from, and options of train_gs.py."""

    network: str
    loss: str
    weights: str
    options: Sequence[str]


_LITE0 = "efficientnet_lite0_features.pth"
_WAY = ["--config", str(ROOT / "experiments/gst_light.yml"), "--batch-size", "8"]
_WAY += ["--colour-jitter", "0.2"]
LIGHT = (
    Plan("light", TRANSPORT, _LITE0, [*_WAY, "--block-counts", "4"]),
    Plan("light", "bayesian", _LITE0, _WAY),
)
PAPER = (Plan("vgg", TRANSPORT, "vgg16_features.pth", ["--tile", "2048"]),)


def train_light(context: Context) -> None:
    """(h) The light counter with both losses, on A and then B, as far as they are at hand."""
    _train_all(context, LIGHT)


def train_paper(context: Context) -> None:
    """(i) The paper's network from VGG-16's weights, as far as it goes."""
    _train_all(context, PAPER)


def _train_all(context: Context, plans: tuple[Plan, ...]) -> None:
    if context.rehearsal:
        draw(context.data)
    todo = [(part, plan) for part in PARTS if processed(context, part, "train") for plan in plans]
    if not todo:
        raise RuntimeError("no training photos: name folders that hold part_A/train_data")
    results: dict[str, dict] = {}
    for number, (part, plan) in enumerate(todo):
        job = Job(context, part, plan)
        figures, done = results.setdefault(job.name, {}), job.folder / "finished.json"

        def note(figures=figures, **more: object) -> None:
            figures.update(more)
            context.note(trainings=results)

        until = context.deadline - RESERVE
        seconds = 60 * context.train_minutes / len(todo)
        if not seconds:
            # Those to come get as much each.
            until = time.time() + (until - time.time()) / (len(todo) - number)
        if done.exists():
            note(**json.loads(done.read_text("utf-8")))
        elif until - time.time() < context.pick(SHORTEST, 0):
            note(left="no time for it")
        else:
            job.train(seconds, until, note)
        if figures.get("finished"):
            write_text(done, json.dumps(figures))


class Job:
    """One training in its run folder, and what it takes from the data folders."""

    def __init__(self, context: Context, part: str, plan: Plan):
        self.context, self.part, self.plan = context, part, plan
        self.name = f"{part}_{plan.network}_{plan.loss}"
        self.folder = context.work / "trainings" / self.name
        self.data = processed(context, part, "train")

    def train(self, seconds: float, until: float, note: Callable[..., None]) -> None:
        """Train until `until`, to a length of `seconds` (0: until then) in all; then test.

        A length that the first command decided stays.
        """
        context, plan = self.context, self.plan
        if plan.loss == TRANSPORT:
            note(splatting=fit_gaussians(context, self.data))
        weights = str(context.find(plan.weights) or "none")
        arguments = self._arguments(weights)
        photos = read_preprocessing(self.data, arguments.tile)
        which = [self.data], arguments.crop_size, arguments.seed, photos
        known = CrowdCrops(*which, fitted=plan.loss == TRANSPORT)
        crops = self._crops(arguments, known)
        counted = [
            (image.to(context.device), count, name)
            for image, count, name in CountedPhotos(self.data, "val", photos)
        ]
        amp = choose_precision(context.device, "auto") == "bfloat16"
        losses_of = functools.partial(
            batch_losses, device=context.device, amp=amp, **loss_options(arguments)
        )
        torch.manual_seed(arguments.seed)
        model = place(build_model(arguments.model_name, weights), context.device)

        def count(model: torch.nn.Module) -> dict[str, float]:
            return errors_of(evaluate(model, counted, arguments.tile, "val"))

        epochs = self._length(seconds or until - time.time(), model, crops, losses_of, count)
        arguments.epochs, arguments.validate_from = epochs, max(epochs // 3, 1)
        which = (arguments.model_name, {}), photos, known.described(), ()
        training = Training(model, describe(arguments, *which), **optimisation(arguments))
        if (self.folder / LAST).exists():
            training.resume(self.folder)
        graphs = graphed(model, next(iter(crops)).images, amp, context.work / "graphs_failed")
        passes = epochs * crops.drawing.rounds
        note(start=weights, epochs=epochs, passes=passes, graphs=graphs, amp=amp)

        def validate(training: Training) -> dict[str, float]:
            errors = count(training.evaluated)
            training.keep_best(self.folder, errors)
            return errors

        crops.until = until
        steps = Steps(loss_weights(arguments), clip=arguments.clip_gradient)
        with contextlib.suppress(OutOfTime):
            fit(training, crops, losses_of, validate, arguments, steps)
        log, times = (read_log(self.folder / name) for name in ("log.jsonl", "times.jsonl"))
        note(epoch=training.epoch, best=training.best, log=log, times=times)
        self._test(note)
        note(finished=training.epoch == epochs)

    def _arguments(self, weights: str) -> Namespace:
        """Those of train_gs.py."""
        plan, pick = self.plan, self.context.pick
        words = ["--data-dir", str(self.data), "--model-name", pick(plan.network, "light")]
        words += ["--loss", plan.loss, "--pretrained", weights, "--validate-every", "1"]
        words += ["--save-dir", str(self.folder), *plan.options, "--crop-size", pick("256", "64")]
        return read_arguments(build_parser(), words + pick([], ["--batch-size", "2"]))

    def _crops(self, arguments: Namespace, known: CrowdCrops) -> DeviceCrops:
        """The crops of train_gs.py."""
        samples = {
            path.name: Sample(read_photo(path, known.preprocessing), *heads)
            for path, heads in zip(known.paths, known.heads, strict=True)
        }
        size, rounds = arguments.crop_size, self.context.pick(ROUNDS, 1)
        how = (tuple(arguments.scale_range), arguments.colour_jitter, rounds, arguments.seed)
        return DeviceCrops(samples, Drawing(size, *how), arguments.batch_size, self.context.device)

    def _length(self, seconds: float, model, crops: DeviceCrops, losses_of, count) -> int:
        """Epochs that fit into `seconds`, decided by the first command and kept for the others."""
        path = self.folder / "epochs.json"
        if not path.exists():
            trial, batches = copy.deepcopy(model), iter(crops)
            optimizer = torch.optim.Adam(trial.parameters(), lr=0.0, fused=True)
            few = [next(batches) for _ in range(min(len(crops), 24))]
            step = self.context.seconds(
                lambda: train_one_epoch(trial, few, losses_of, optimizer, 0)
            ) / len(few)
            check = self.context.seconds(lambda: count(trial), warm=False)
            most = self.context.pick(MOST_PASSES // crops.drawing.rounds, 2)
            epochs = max(min(int(seconds / (step * len(crops) + check + BESIDE)), most), 1)
            figures = {"epochs": epochs, "seconds_a_step": step, "validation": check}
            write_text(path, json.dumps(figures) + "\n")
        return json.loads(path.read_text("utf-8"))["epochs"]

    def _test(self, note: Callable[..., None]) -> None:
        """Keep the weights that were best on the validation, and test them by test.py."""
        best, tested = self.folder / BEST, processed(self.context, self.part, "test")
        if not best.exists():
            return
        state = load_checkpoint(best)
        save_release(self.context.output / f"{self.name}.pth", state, state["model"])
        if tested:
            words = ["test.py", "--save-path", str(best), "--data-dir", str(tested)]
            words += ["--output", str(self.folder), "--device", self.context.pick("0", "cpu")]
            subprocess.run([sys.executable, *words], cwd=ROOT, check=True)
            note(test=json.loads((self.folder / "metrics.json").read_text("utf-8")))


def processed(context: Context, part: str, split: str) -> Path | None:
    """The processed set of a part, made where it is not; None when its photos are not at hand."""
    folder = context.work / f"{part}_{split}_processed"
    found = context.find(f"{PARTS[part]}/{split}_data")
    if not (folder / "complete").exists() and found:
        words = ["--layout", "sht", "--input-dataset-path", str(found.parent)]
        words += context.pick(["--workers", "16"], ["--min-size", "96", "--workers", "0"])
        preprocess = importlib.import_module("preprocess_dataset_ucf")
        preprocess.main([*words, "--output-dataset-path", str(folder)])
        write_text(folder / "complete", "")
    return folder if (folder / "complete").exists() else None


def fit_gaussians(context: Context, folder: Path) -> dict:
    """Splat the training photos that are not yet, make deformed Gaussians round; what it took."""
    backend = "gsplat" if context.rehearsal else "auto"
    iterations = context.pick(FitSettings.num_epochs, 3)
    settings = FitSettings(num_epochs=iterations, stop_when_flat=True, backend=backend)
    photos = [one for one in photos_to_fit(folder / "train") if not is_finished(one, settings)]
    started = time.perf_counter()
    jobs.compile_kernels(backend)
    jobs.fit_photos(photos, settings, context.pick(SIDE_BY_SIDE, 2))
    process_gaussians.main(["--folder", str(folder / "train" / FOLDER)])
    return {"photos": len(photos), "seconds": time.perf_counter() - started}


def draw(folders: Sequence[Path]) -> None:
    """Draw a tiny part A for a rehearsal, its halves in two folders as they travel."""
    whole = folders[0].parent / "drawn"
    make_dataset(whole, "sht", images=5, seed=0, domain="a", test_images=2, size=(128, 96))
    for folder, half in zip(folders, ("train_data", "test_data"), strict=True):
        shutil.copytree(whole / half, folder / PARTS["a"] / half, dirs_exist_ok=True)
