"""Stages h and i: the light counter with GST and the Bayesian loss, and the paper's network.

A training goes on with every command until it has all its epochs; then it is tested, where the
test photos are at hand. Its length is decided once, from how fast its steps turn out to be.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from bench.gpu import photos as data
from bench.gpu.crops import DeviceCrops, Drawing, OutOfTime
from bench.gpu.graphs import graphed
from bench.gpu.stages import Context
from crowd.count.evaluation import errors_of
from crowd.data.network_input import photo_tensor
from crowd.io.files import write_text
from crowd.train.checkpoints import load_checkpoint, load_weights, save_release
from crowd.train.devices import choose_precision, place
from crowd.train.loop import Epochs, Steps, fit, train_one_epoch
from crowd.train.runs import Run, read_log
from crowd.train.state import BEST, LAST, Recipe, Training
from gst import build_model
from gst.counter import evaluate
from gst.losses import batch_losses
from gst.photos import read_preprocessing

MOST_PASSES = 1300  # over the photos, as small published counters are trained
ROUNDS = 10  # passes an epoch: what is done once an epoch waits for the device
SHORTEST = 20.0  # seconds that a training is begun for
RESERVE = 30.0  # seconds for the test and the record
WHOLE_PHOTO = 2048


@dataclasses.dataclass(frozen=True)
class Plan:
    """One training.

    Attributes:
        network: of `gst.build_model`.
        loss: of `gst.losses.batch_losses`.
        weights: names of the file to start from, in a data folder.
        batch_size: crops a step.
        settings: of `crowd.train.state.Training`.
        scale_range: of the crops.
        colours: see `bench.gpu.crops.Drawing`.
        clip: largest norm of a gradient.
        block_counts: whether they stand beside the loss.
        share: of the time, relative to the others.
    """

    network: str
    loss: str
    weights: str
    batch_size: int
    settings: dict
    scale_range: tuple[float, float] = (0.6, 1.3)
    colours: float = 0.2
    clip: float = 1000.0
    block_counts: bool = False
    share: float = 1.0


# The way of experiments/gst_light.yml, in batches of 8.
_WAY = {"lr": 5e-4, "weight_decay": 1e-4, "lr_schedule": "cosine", "ema": 0.99}
_WAY |= {"optimizer": "adamw", "backbone_lr": 0.5}
_LITE0, _VGG16 = "efficientnet_lite0_features.pth", "vgg16_features.pth"
LIGHT = (
    Plan("light", "transport", _LITE0, 8, _WAY, block_counts=True),
    Plan("light", "bayesian", _LITE0, 8, _WAY),
)
# The paper's optimiser, crops and scales.
PAPER = (
    Plan(
        *("vgg", "transport", _VGG16, 1, {"lr": 5e-6, "weight_decay": 1e-5}),
        scale_range=(0.75, 1.25),
        colours=0.0,
        clip=0.0,
    ),
)


def train_light(context: Context) -> None:
    """(h) The light counter with both losses, on A and then B, as far as they are at hand."""
    _train_all(context, LIGHT)


def train_paper(context: Context) -> None:
    """(i) The paper's network from VGG-16's weights, as far as it goes."""
    _train_all(context, PAPER)


def _train_all(context: Context, plans: tuple[Plan, ...]) -> None:
    if context.rehearsal:
        data.draw(context.data)
    jobs = [(part, plan) for part in data.parts_at_hand(context) for plan in plans]
    if not jobs:
        raise RuntimeError("no training photos: name folders that hold part_A/train_data")
    results: dict[str, dict] = {}
    for number, (part, plan) in enumerate(jobs):
        job = Job(context, part, plan)
        figures = results.setdefault(job.name, {})

        def note(figures=figures, **more: object) -> None:
            figures.update(more)
            context.note(trainings=results)

        until = context.deadline - RESERVE
        seconds = 60 * context.train_minutes * plan.share / sum(one.share for _, one in jobs)
        if not seconds:
            # Those to come get as much each.
            until = time.time() + (until - time.time()) / (len(jobs) - number)
        if job.tested.exists():
            note(**json.loads(job.tested.read_text("utf-8")))
        elif until - time.time() < context.pick(SHORTEST, 0):
            note(left="no time for it")
        else:
            job.train(seconds, until, note)


class Job:
    """One training in its run folder, and what it takes from the data folders."""

    def __init__(self, context: Context, part: str, plan: Plan):
        self.context, self.part, self.plan = context, part, plan
        self.network = context.pick(plan.network, "light")
        self.name = f"{part}_{plan.network}_{plan.loss}"
        self.folder = context.work / "trainings" / self.name
        self.tested = self.folder / "tested.json"

    def train(self, seconds: float, until: float, note: Callable[..., None]) -> None:
        """Train until `until`, to a length of `seconds` (0: until then) in all; then test.

        A length that the first command decided stays.
        """
        plan, context = self.plan, self.context
        processed = data.processed(context, self.part, "train")
        if plan.loss == "transport":
            note(splatting=data.fit_gaussians(context, processed))
        self.how = dataclasses.replace(read_preprocessing(processed), tile=WHOLE_PHOTO)
        photos = data.training_photos(processed, plan.loss == "transport")
        drawing = Drawing(
            context.pick(256, 64), plan.scale_range, plan.colours, context.pick(ROUNDS, 1)
        )
        batch_size = context.pick(plan.batch_size, 2)
        crops = DeviceCrops(photos, drawing, batch_size, context.device)
        amp = choose_precision(context.device, "auto") == "bfloat16"
        options = {"device": context.device, "amp": amp, "loss": plan.loss}
        losses_of = functools.partial(batch_losses, block_counts=plan.block_counts, **options)
        model, start = self._model()
        counted = self._on_device("val", processed)
        epochs = self._length(seconds or until - time.time(), model, crops, losses_of, counted)
        median = float(np.median([len(photo.heads) for photo in photos]))
        settings = {"plan": json.loads(json.dumps(dataclasses.asdict(plan))), "epochs": epochs}
        recipe = Recipe(
            *(self.network, {}, dataclasses.asdict(self.how), median), settings | vars(drawing)
        )
        training = Training(model, recipe, epochs=epochs, **plan.settings)
        if (self.folder / LAST).exists():
            training.resume(self.folder)
        how = graphed(model, next(iter(crops)).images, amp, self.folder / "graphs")
        note(start=start, epochs=epochs, passes=epochs * drawing.rounds, graphs=how, amp=amp)
        started, first = time.time(), training.epoch
        crops.until = until
        self._fit(training, crops, losses_of, counted, epochs)
        seconds, done = time.time() - started, training.epoch - first
        rate = done * crops.batch_sampler.length / seconds
        note(epoch=training.epoch, seconds=seconds, photos_a_second=rate, best=training.best)
        note(log=read_log(self.folder / "log.jsonl"))
        self._test(training.epoch == epochs, note)

    def _model(self) -> tuple[torch.nn.Module, str]:
        """The network and what it starts from: a file of weights where one is at hand."""
        torch.manual_seed(4073)
        weights = self.context.find(self.plan.weights)
        start = str(weights or "none")
        return place(build_model(self.network, start), self.context.device), start

    def _on_device(self, split: str, folder: Path) -> list[tuple]:
        """Photos of a split as the network takes them, in the device's memory."""
        return [
            (photo_tensor(image, self.how).to(self.context.device), count, name)
            for image, count, name in data.counted_photos(folder, split, self.how)
        ]

    def _length(self, seconds, model, crops, losses_of, counted) -> int:
        """Epochs that fit into `seconds`, decided by the first command and kept for the others."""
        path = self.folder / "epochs.json"
        if path.exists():
            return json.loads(path.read_text("utf-8"))["epochs"]
        copy = place(build_model(self.network), self.context.device)
        optimizer = torch.optim.Adam(copy.parameters(), lr=0.0, fused=True)
        batches = iter(crops)
        few = [next(batches) for _ in range(min(len(crops), 24))]
        step = self.context.seconds(lambda: train_one_epoch(copy, few, losses_of, optimizer, 0))
        check = self.context.seconds(lambda: evaluate(model, counted, WHOLE_PHOTO), warm=False)
        # Graphs make it faster, checkpoints and logs slower.
        an_epoch = step / len(few) * len(crops) + check + 1.0
        most = self.context.pick(MOST_PASSES // crops.drawing.rounds, 2)
        epochs = max(min(int(seconds / an_epoch), most), 1)
        figures = {"epochs": epochs, "seconds_a_step": step / len(few), "validation": check}
        write_text(path, json.dumps(figures) + "\n")
        return epochs

    def _fit(self, training, crops, losses_of, counted, epochs: int) -> None:
        """Epoch after epoch until the last one, or until the next would end too late."""

        def validate(training: Training) -> dict[str, float]:
            errors = errors_of(evaluate(training.evaluated, counted, WHOLE_PHOTO, "val"))
            training.keep_best(self.folder, errors)
            return errors

        run = Run(self.folder, json.dumps(training.recipe.settings), training.epoch)
        when = Epochs(crops.drawing.seed, epochs, max(epochs // 3, 1), 1)
        with contextlib.suppress(OutOfTime):
            fit(training, crops, losses_of, validate, run, when, Steps(clip=self.plan.clip))

    def _test(self, finished: bool, note: Callable[..., None]) -> None:
        """Test the best of the validation, and keep its weights in half precision."""
        if not (self.folder / BEST).exists():
            return
        state = load_checkpoint(self.folder / BEST)
        save_release(self.context.output / f"{self.name}.pth", state, state["model"])
        folder = data.processed(self.context, self.part, "test")
        if folder is None:
            return
        model = build_model(self.network)
        load_weights(model, state["model"], self.folder / BEST)
        photos = self._on_device("test", folder)
        counts = evaluate(place(model, self.context.device), photos, WHOLE_PHOTO)
        bias = float(np.mean([count.predicted - count.actual for count in counts]))
        figures = {"test": errors_of(counts) | {"bias": bias, "photos": len(counts)}}
        figures["counts"] = [[one.name, one.actual, round(one.predicted, 2)] for one in counts]
        note(**figures, finished=finished)
        if finished:
            figures |= {"best": state["best"], "log": read_log(self.folder / "log.jsonl")}
            write_text(self.tested, json.dumps(figures, default=str))
