"""The trainings of MGOT: what they start from, their losses, their epochs."""

import functools
import operator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from crowd.count.evaluation import errors_of, errors_table
from crowd.io.config import Namespace
from crowd.train import arguments as common
from crowd.train.devices import mixed_precision, place, to_device
from crowd.train.distributed import is_main_process, leave, synchronise_norms
from crowd.train.loop import Steps, fit
from crowd.train.runs import LAST
from crowd.train.state import Training, TrainingPhotos, describe, fingerprint
from mgot.dataset import Batch, FidtCrops, crop_batches, labels_path
from mgot.evaluation import CountedSet, load_counter
from mgot.fidt import Preprocessing
from mgot.losses import fidt_loss
from mgot.models import build_model
from mgot.transfer import KEYS

# Further arguments that may change between a training and its continuation; of the model, the
# recipe itself tells what may not.
RESUME_MAY_CHANGE = KEYS | {"corresponding_weight", "selected_result", "patches", "pseudo_labels"}
RESUME_MAY_CHANGE |= {"model_options", "pre", "preload_data", "print_freq", "val_dir", "visual"}


def batch_losses(
    model: nn.Module, batch: Batch, device: torch.device, amp: bool = False, **weights: float
) -> dict[str, Tensor]:
    """Run the model on a batch and return its losses by name, of `fidt_loss` with these `weights`.

    With `amp` the model runs in bfloat16, the losses are always float32.
    """
    images = to_device(batch.images, device)
    with mixed_precision(amp, device):
        prediction = model(images)
    maps, samples = (one.to(device, non_blocking=True) for one in (batch.maps, batch.weights))
    return fidt_loss(prediction.float(), maps, batch.heads, weights=samples, **weights)


def train(
    arguments: Namespace,
    preprocessing: Preprocessing,
    crops: FidtCrops,
    validation: CountedSet | None,
    first_epoch: int = 0,
) -> None:
    """Train to the last epoch, validate, keep the best, log; print errors of last and best.

    Args:
        arguments: of a parser with `add_training`.
        preprocessing: of the photos that the counter is for.
        crops: to train on.
        validation: photos to validate on; without them the last epoch is the best.
        first_epoch: number of a new training's first epoch.

    Raises `InputError` where the folder holds a training and `--resume` is not set, there is no
    such device, or `--pre` does not hold a counter of this kind.
    """
    folder, device, resume = common.begin(arguments)
    validated = [validation.photos] if validation else []
    model, recipe = _start(arguments, preprocessing, crops, validated, device, resume)
    batches = crop_batches(
        crops, arguments.batch_size, arguments.workers, pin_memory=device.type == "cuda"
    )
    training = Training(
        model,
        recipe,
        **common.optimisation(arguments),
        score=operator.itemgetter("mae"),  # as released
        first_epoch=first_epoch,
    )
    if resume:
        # Trainings of before it had to stay do not say how they were validated.
        training.resume(folder, {"tile": arguments.tile})
    weights = {name: arguments[name] for name in ("ssim_weight", "detail_weight")}
    how = {"amp": arguments.precision == "bfloat16", **weights}
    errors = fit(
        training,
        batches,
        functools.partial(batch_losses, device=device, **how),
        functools.partial(_validate, validation, folder, arguments.visual) if validation else None,
        arguments,
        Steps(
            {"issim": weights["ssim_weight"], "detail": weights["detail_weight"]},
            summed=True,
            clip=arguments.clip_gradient,
            check="check the photo and its map",
        ),
        validation.split if validation else "val",
        arguments.print_freq,
    )
    leave()
    _report(errors, training.best, validation)


def _start(
    arguments: Namespace, preprocessing: Preprocessing, crops: FidtCrops, validated, device, resume
):
    """Return the model, trained before or not, on the device, and the recipe of the training."""
    name, options, median = arguments.model_name, arguments.get("model_options"), None
    if arguments.pre:
        # A training that is continued needs none of the files that it began with.
        begun = Path(arguments.save_dir) / LAST if resume else arguments.pre
        counter = load_counter(begun, device, name)
        model, name, options = counter.model, counter.name, counter.options
        median = counter.train_median
    else:
        model = build_model(name, "none" if resume else arguments.pretrained, **options)
    photos = TrainingPhotos(
        number=len(crops),
        # Heads of a patch are no guess at those of a photo: the model's own photos go on.
        train_median=median if crops.of_patches else float(np.median(crops.counts)),
        fingerprint=fingerprint([*crops.paths, *map(labels_path, crops.paths)], [crops.weights]),
    )
    how = preprocessing, photos, validated, RESUME_MAY_CHANGE
    recipe = describe(arguments, (name, options), *how)
    return place(synchronise_norms(model), device), recipe


def _validate(
    validation: CountedSet, folder: Path, visual: bool, training: Training
) -> dict[str, float]:
    found = validation.find(training.evaluated)
    errors = errors_of(validation.counts(found))
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
