"""The trainings of MGOT: what they start from, how they go on, how their epochs run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from torch.utils.data import DataLoader

from crowd.count.evaluation import errors_table
from crowd.io.config import save_arguments
from crowd.train.devices import place
from crowd.train.distributed import is_main_process, join, leave, synchronise_norms
from crowd.train.loop import Epochs, Steps, choose_precision, fit
from crowd.train.runs import Run
from crowd.train.state import (
    LAST,
    Training,
    TrainingPhotos,
    describe,
    fingerprint,
    open_folder,
)
from mgot.counter import load_counter
from mgot.dataset import FidtCrops, labels_path
from mgot.engine import batch_losses
from mgot.evaluation import CountedSet
from mgot.models import build_model
from mgot.photos import Preprocessing

# Arguments that may change between a training and its continuation; of the model, the recipe
# itself tells what may not.
RESUME_MAY_CHANGE = {
    "cache_gib",
    "config",
    "corresponding_weight",
    "data_dir",
    "data_root",
    "dataset",
    "device",
    "domain",
    "epochs",
    "model_name",
    "model_options",
    "patches",
    "pre",
    "preload_data",
    "pretrained",
    "print_freq",
    "resume",
    "runs_root",
    "save_dir",
    "selected_result",
    "source",
    "target",
    "target_size",
    "tile",
    "transfer",
    "val_dir",
    "validate_every",
    "validate_from",
    "visual",
    "workers",
}


def mean_absolute_error(errors: dict[str, float]) -> float:
    """Score of a validation, MAE (released code)."""
    return errors["mae"]


class Start:
    """Where a training begins: its folder, device and model, trained before or not.

    A training that is continued needs none of the files that it began with: `last.pth` says which
    model it is. `arguments.precision` becomes what it stands for on the device.

    Args:
        arguments: of `mgot.arguments`.

    Raises:
        InputError: the folder holds a training and `--resume` is not set, there is no such
            device, or `--pre` does not hold a counter of this kind.
    """

    def __init__(self, arguments: Namespace):
        self.folder = Path(arguments.save_dir)
        self.device = join(arguments.device)
        arguments.precision = choose_precision(self.device, arguments.precision)
        self.resume = open_folder(self.folder, arguments.resume)
        torch.manual_seed(arguments.seed)
        if arguments.pre:
            begun = self.folder / LAST if self.resume else arguments.pre
            counter = load_counter(begun, self.device, arguments.model_name)
            self.model, self.name, self.options = counter.model, counter.name, counter.options
            self.train_median = counter.train_median
        else:
            self.name, self.options = arguments.model_name, arguments.model_options
            pretrained = "none" if self.resume else arguments.pretrained
            self.model = build_model(self.name, pretrained, **self.options)
            self.train_median = None
        self.model = place(synchronise_norms(self.model), self.device)

    def training(
        self,
        arguments: Namespace,
        preprocessing: Preprocessing,
        crops: FidtCrops,
        first_epoch: int = 0,
    ) -> Training:
        """Return the training's state: new, or continued from `last.pth`.

        Args:
            arguments: of `mgot.arguments`.
            preprocessing: of the photos that the counter is for.
            crops: to train on.
            first_epoch: number of a new training's first epoch.
        """
        model = (self.name, self.options)
        photos = TrainingPhotos(
            number=len(crops),
            # Heads of a patch are no guess at those of a photo: the model's own photos go on.
            train_median=self.train_median if crops.of_patches else float(np.median(crops.counts)),
            fingerprint=fingerprint(
                [*crops.paths, *map(labels_path, crops.paths)], [crops.weights]
            ),
        )
        recipe = describe(arguments, model, preprocessing, photos, RESUME_MAY_CHANGE)
        training = Training(
            self.model,
            recipe,
            lr=arguments.lr,
            weight_decay=arguments.weight_decay,
            epochs=arguments.epochs,
            lr_schedule=arguments.lr_schedule,
            ema=arguments.ema,
            score=mean_absolute_error,
            first_epoch=first_epoch,
        )
        if self.resume:
            training.resume(self.folder)
        return training


def run_epochs(
    arguments: Namespace,
    start: Start,
    training: Training,
    batches: DataLoader,
    validation: CountedSet | None,
) -> None:
    """Train to the last epoch, validate, keep the best, log; print errors of last and best.

    Without photos to validate on, the last epoch is the best.
    """
    folder, device, amp = start.folder, start.device, arguments.precision == "bfloat16"
    weight = arguments.ssim_weight

    def validate(training: Training) -> dict[str, float]:
        return _validate(training, validation, folder, arguments.visual)

    errors = fit(
        training,
        batches,
        lambda model, batch: batch_losses(model, batch, device, amp, weight),
        validate if validation else None,
        Run(folder, save_arguments(arguments), training.epoch),
        Epochs.of(arguments, arguments.print_freq),
        Steps({"issim": weight}, summed=True, check="check the photo and its map"),
        validation.split if validation else "val",
    )
    leave()
    _report(errors, training.best, validation)


def _validate(
    training: Training, validation: CountedSet, folder: Path, visual: bool
) -> dict[str, float]:
    found = validation.find(training.evaluated)
    errors = validation.errors(found)
    if training.keep_best(folder, errors) and visual and is_main_process():
        validation.draw(found, folder / "visual")
    return errors


def _report(errors: dict[int, dict], best: dict, validation: CountedSet | None) -> None:
    if validation is None:
        print("no photos to validate on: best.pth is the last epoch")
        return
    rows = {f"last, epoch {epoch}": one for epoch, one in list(errors.items())[-1:]}
    rows |= {f"best, epoch {best['epoch']}": best} if best else {}
    if rows:
        print(f"errors on {len(validation.photos)} photos of {validation.split}")
        print(errors_table(rows))
