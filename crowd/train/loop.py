"""The training loop of both papers: epochs, steps, validation, the best checkpoint, the log."""

import dataclasses
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from crowd.data.images import write_image
from crowd.io.config import Namespace, save_arguments
from crowd.io.errors import InputError
from crowd.io.progress import progress
from crowd.train.checkpoints import save_checkpoint
from crowd.train.distributed import (
    align_statistics,
    all_reduce_sum,
    parallel,
    rank_and_world_size,
    unwrap_model,
)
from crowd.train.loading import seed_epoch
from crowd.train.runs import LAST, run_folder
from crowd.train.state import Training, validates

# Steps whose losses are read together, and whose batches are kept until then.
READ_EVERY = 8


class Named(Protocol):
    """A batch that knows the names of its photos; without names it does not count."""

    names: list[str]


Losses = Callable[[nn.Module, Named], dict[str, Tensor]]
"""Runs a model on a batch and returns its losses by name, scalars."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """How the steps of a training are made."""

    # Of the losses, by name; 1 for a loss that is not named.
    weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    # Whether losses are sums over a batch's photos, not means; the step is on the sum or mean over
    # the photos of all processes.
    summed: bool = False
    clip: float = 0.0  # largest norm of the gradient, to which longer ones are shortened; 0: none
    # What to look at first when a loss or gradient is not finite.
    check: str = "check the photo and its annotation"


def fit(
    training: Training,
    batches: DataLoader,
    losses_of: Losses,
    validate: Callable[[Training], dict[str, float]] | None,
    arguments: Namespace,
    steps: Steps,
    split: str = "val",
    print_every: int = 1,
) -> dict[int, dict[str, float]]:
    """Train to the last epoch; validate, keep the best checkpoint, log, and save after epochs.

    `log.jsonl` gets a line an epoch: the losses before their weights, the learning rate, errors of
    the validation as `SPLIT_NAME`; `times.jsonl` the seconds of its steps, and photos a second.

    Args:
        training: new or resumed.
        batches: of `crowd.train.loading.crop_loader`.
        losses_of: see `Losses`.
        validate: keeps the best and returns errors; None: the last epoch is the best.
        arguments: of the command, as `crowd.train.arguments.add_training` gives them.
        steps: how they are made.
        split: that is validated on.
        print_every: epochs from one printed line to the next.

    Returns the errors by epoch. Raises `InputError` when more epochs are done than are wanted, or
    another process trains in this folder.
    """
    if training.epoch > arguments.epochs:
        raise InputError(
            f"{arguments.save_dir} has {training.epoch} epochs done: let --epochs be no fewer"
        )
    folder, last, errors = Path(arguments.save_dir), arguments.epochs, {}
    with run_folder(folder, save_arguments(arguments), training.epoch) as log:
        model = parallel(training.model)
        print(f"{folder}: epochs {training.epoch} to {last} on {next(model.parameters()).device}")
        for epoch in range(training.epoch, last):
            batches.batch_sampler.epoch = epoch
            seed_epoch(arguments.seed, epoch)
            started = time.monotonic()
            how = training.optimizer, epoch, training.average, steps, folder
            figures = train_one_epoch(model, batches, losses_of, *how)
            took = time.monotonic() - started
            times = {"seconds": took, "photos_per_second": batches.batch_sampler.length / took}
            figures["lr"] = training.scheduler.get_last_lr()[0]
            if validate is None:
                if epoch + 1 == last:
                    training.keep(folder)
            elif validates(epoch, last, arguments.validate_from, arguments.validate_every):
                errors[epoch] = validate(training)
                named = {f"{split}_{name}": value for name, value in errors[epoch].items()}
                figures |= {name: value for name, value in named.items() if value == value}
            log(epoch, figures, times)
            saved = (epoch + 1) % arguments.save_every == 0 or epoch + 1 == last
            training.finish_epoch(folder if saved else None)
            if epoch % print_every == 0 or epoch + 1 == last:
                said = (figures | times).items()
                print(f"epoch {epoch}", *(f"{name} {value:.4g}" for name, value in said))
    return errors


class Figures:
    """Losses of an epoch: every step leaves its own on the device, read every `READ_EVERY` steps.

    `stop` is called with the batch and the losses of a step that are not finite.
    """

    def __init__(self, stop: Callable[[Named, dict[str, float]], NoReturn]):
        self._sums: dict[str, float] = defaultdict(float)
        self._photos = 0.0
        self._unread: list[tuple[Named, list[str], Tensor]] = []
        self._stop = stop

    def add(self, batch: Named, names: list[str], row: Tensor) -> None:
        """Take a step's figures of the n losses `names`, of `_descend`."""
        self._unread.append((batch, names, row))
        if len(self._unread) == READ_EVERY:
            self._read()

    def means(self) -> dict[str, float]:
        """Return the losses by name, means over all photos."""
        self._read()
        return {name: value / self._photos for name, value in self._sums.items()}

    def _read(self) -> None:
        rows = torch.stack([row for *_, row in self._unread]).tolist() if self._unread else []
        for (batch, names, _), row in zip(self._unread, rows, strict=True):
            values = dict(zip(names, row, strict=False))
            costs, photos = row[len(names) : -2], row[-2]
            if all(map(math.isfinite, values.values())) and not all(map(math.isfinite, costs)):
                raise InputError("another process stopped at a loss that is not finite: see there")
            if not all(map(math.isfinite, row)):
                self._stop(batch, values)
            for name, cost in zip(names, costs, strict=True):
                self._sums[name] += cost
            self._photos += photos
        self._unread.clear()


def train_one_epoch(
    model: nn.Module,
    batches: Iterable[Named],
    losses_of: Losses,
    optimizer: torch.optim.Optimizer,
    epoch: int,
    average: AveragedModel | None = None,
    steps: Steps = Steps(),
    folder: Path | None = None,
) -> dict[str, float]:
    """Train on every batch once, without waiting for the device inside a step.

    A step whose loss or gradient is not finite is skipped on the device, and so are those after it:
    the weights are still those of before it when the figures are read.

    Args:
        model: put into training mode.
        batches: each with the names of its photos.
        losses_of: see `Losses`; the weighted sum is minimised.
        optimizer: one of torch's fused ones, which can skip a step.
        epoch: for the progress bar and messages.
        average: moving average of the weights, updated after every step.
        steps: how they are made.
        folder: of the run, which keeps the batch whose loss or gradient is not finite.

    Returns the losses by name before their weights, means over photos. Raises `InputError` naming
    the photos whose loss or gradient is not finite.
    """
    model.train()
    figures = Figures(lambda batch, losses: stop(batch, epoch, losses, folder, steps.check))
    spoiled = None
    for batch in progress(batches, f"epoch {epoch}", unit="batch", leave=False):
        losses = losses_of(model, batch)
        optimizer.zero_grad(set_to_none=True)
        row = _descend(model, losses, len(batch.names), steps)
        stopped = (~row.isfinite().all()).float()
        spoiled = stopped if spoiled is None else torch.maximum(spoiled, stopped)
        optimizer.found_inf = spoiled
        if steps.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), steps.clip)
        optimizer.step()
        if average is not None:
            follow(average, unwrap_model(model))
        figures.add(batch, list(losses), row)
    align_statistics(model, average)
    return figures.means()


def _descend(model: nn.Module, losses: dict[str, Tensor], photos: int, steps: Steps) -> Tensor:
    """Leave the gradient of all processes' losses in the parameters.

    Returns, on the device, `[2 n + 2]`: the losses; their sums over the photos of all processes;
    the number of these photos; the largest gradient, NaN where one is.
    """
    loss = sum(steps.weights.get(name, 1.0) * value for name, value in losses.items())
    values = torch.stack([value.detach() for value in losses.values()]).double()
    # A batch that does not count costs nothing, however its losses are put together.
    weight = float(photos > 0) if steps.summed else photos
    shared = all_reduce_sum(torch.cat([values * weight, values.new_full((1,), photos)]))
    # Gradients become means over the processes, which are to be sums.
    _, processes = rank_and_world_size()
    whole = 1 if steps.summed else shared[-1].to(loss.dtype)
    (loss * (processes * weight / whole)).backward()
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    largest = torch.nn.utils.get_total_norm(gradients, math.inf)
    return torch.cat([values, shared, largest.to(values)[None]])


@torch.no_grad()
def follow(average: AveragedModel, model: nn.Module) -> None:
    """Update a moving average as its `update_parameters` does, which would wait for the device."""
    pairs = [list(one.parameters()) for one in (average.module, model)]
    if average.n_averaged.numpy() == 0:
        torch._foreach_copy_(*pairs)
    else:
        average.multi_avg_fn(*pairs, average.n_averaged)
    buffers = list(zip(average.module.buffers(), model.buffers(), strict=True))
    for kind in {mine.dtype for mine, _ in buffers}:
        torch._foreach_copy_(*zip(*(two for two in buffers if two[0].dtype == kind), strict=True))
    average.n_averaged += 1


def stop(batch, epoch: int, losses: dict[str, float], folder: Path | None, check: str) -> NoReturn:
    """Raise `InputError` naming a batch's photos, and keep it in the run folder, if there is one.

    `not_finite.pth` is for `load_checkpoint`, `not_finite.png` shows the crops side by side; of
    several processes each writes its own.
    """
    rank, processes = rank_and_world_size()
    what = "gradient" if all(map(math.isfinite, losses.values())) else "loss"
    # A gradient is the mean of all processes'.
    other = "a photo of another process" if what == "gradient" and processes > 1 else ""
    whose = ", or of ".join(filter(None, (", ".join(batch.names), other)))
    kept, again = "", "start again in another folder"
    if folder is not None:
        own = f"not_finite_{rank}" if rank else "not_finite"
        path, picture = folder / f"{own}.pth", folder / f"{own}.png"
        save_checkpoint(path, epoch=epoch, losses=losses, batch=_plain(batch))
        write_image(picture, _side_by_side(batch.images))
        kept = f" (the batch is kept in {path}, its crops in {picture.name})"
        if (folder / LAST).is_file():
            again = f"start in another folder from {folder / LAST} (--pretrained; MGOT: --pre)"
    # Not --resume, which refuses other photos, annotations and rates.
    raise InputError(
        f"the {what} of {whose} is not finite in epoch {epoch}, with losses {losses}{kept}: "
        f"{check} or lower --lr, then {again}"
    )


def _plain(value):
    """The value without types of ours, which a checkpoint may not hold."""
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _side_by_side(images: Tensor) -> np.ndarray:
    """Crops [B, 3, S, S] as one picture, each spread over the range of grey values."""
    images = images.detach().float().cpu().nan_to_num(0, 0, 0)
    low, high = (pick(images, dim=(1, 2, 3), keepdim=True) for pick in (torch.amin, torch.amax))
    images = (images - low) / (high - low).clamp(min=1e-12)
    return np.concatenate(list(images.permute(0, 2, 3, 1).numpy()), axis=1)
