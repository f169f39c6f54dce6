"""The trainings of MGOT: what they start from, how they go on, how their epochs run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from torch.utils.data import DataLoader

from crowd.configuration import save_arguments
from crowd.devices import place
from crowd.distributed import join, leads, leave, parallel, synchronise_norms
from crowd.engine import choose_precision
from crowd.evaluation import errors_table
from crowd.loading import seed_epoch
from crowd.runs import Run
from crowd.training import (
    LAST,
    Training,
    TrainingPhotos,
    describe,
    fingerprint,
    open_folder,
    validates,
)
from mgot.counter import load_counter
from mgot.dataset import FidtCrops, labels_path
from mgot.engine import train_one_epoch
from mgot.evaluation import CountedSet
from mgot.models import build_model
from mgot.photos import Preprocessing

# Arguments that may change between a training and its continuation; of the model, the recipe
# itself tells what may not.
HARMLESS = {
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
        recipe = describe(arguments, model, preprocessing, photos, HARMLESS)
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
    folder, trained = start.folder, parallel(training.model)
    run = Run(folder, save_arguments(arguments), training.epoch)
    print(f"{folder}: epochs {training.epoch} to {arguments.epochs} on {start.device}")
    rows = {}
    for epoch in range(training.epoch, arguments.epochs):
        batches.batch_sampler.epoch = epoch
        seed_epoch(arguments.seed, epoch)
        figures = train_one_epoch(
            trained,
            batches,
            training.optimizer,
            start.device,
            epoch,
            training.average,
            arguments.precision == "bfloat16",
            arguments.ssim_weight,
            folder,
        )
        figures["lr"] = training.scheduler.get_last_lr()[0]
        if validation is None:
            if epoch + 1 == arguments.epochs:
                training.keep(folder)
        elif validates(epoch, arguments.epochs, arguments.validate_from, arguments.validate_every):
            errors = _validate(training, validation, folder, arguments.visual)
            figures |= {
                f"{validation.split}_{name}": value
                for name, value in errors.items()
                if value == value
            }
            rows[f"last, epoch {epoch}"] = errors
        run.log(epoch, **figures)
        training.finish_epoch(folder)
        if epoch % arguments.print_freq == 0 or epoch + 1 == arguments.epochs:
            print(f"epoch {epoch}", *(f"{name} {value:.4g}" for name, value in figures.items()))
    run.close()
    leave()
    _report(rows, training.best, validation)


def _validate(
    training: Training, validation: CountedSet, folder: Path, visual: bool
) -> dict[str, float]:
    found = validation.find(training.evaluated)
    errors = validation.errors(found)
    if training.keep_best(folder, errors) and visual and leads():
        validation.draw(found, folder / "visual")
    return errors


def _report(rows: dict, best: dict, validation: CountedSet | None) -> None:
    if validation is None:
        print("no photos to validate on: best.pth is the last epoch")
        return
    last = dict(list(rows.items())[-1:])
    rows = last | ({f"best, epoch {best['epoch']}": best} if best else {})
    if rows:
        print(f"errors on {len(validation.photos)} photos of {validation.split}")
        print(errors_table(rows))
