"""The state of a training: what is saved after epochs and found again by `--resume`."""

import dataclasses
import hashlib
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from crowd.data.images import AUTO
from crowd.data.network_input import Preprocessing
from crowd.io.config import Namespace
from crowd.io.errors import InputError
from crowd.io.files import content_hash, short_hash
from crowd.io.progress import progress
from crowd.train.arguments import OPTIMIZERS
from crowd.train.checkpoints import load_checkpoint, load_weights, save_checkpoint
from crowd.train.distributed import is_main_process
from crowd.train.loading import CountedPhotos
from crowd.train.runs import BEST, LAST

# Arguments of any command that may change between a training and its continuation.
RESUME_MAY_CHANGE = {
    *("cache_gib", "config", "data_dir", "dataset", "device", "epochs", "pretrained", "resume"),
    *("save_dir", "save_every", "validate_every", "validate_from", "workers"),
}


def learning_rate_factor(schedule: str, epoch: int, epochs: int) -> float:
    """Factor on the learning rate in `epoch` of `epochs`.

    `constant` is 1 (released code); `cosine` rises linearly over the first 2 % of the epochs (at
    least one) and then falls along half a cosine towards 0.
    """
    if schedule == "constant":
        return 1.0
    warmup = max(round(0.02 * epochs), 1)
    if epoch < warmup:
        return (epoch + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup) / max(epochs - warmup, 1)))


def validates(epoch: int, epochs: int, first: int, every: int) -> bool:
    """Whether the model is validated after `epoch` (0 …): from `first` on, and at the very end."""
    done = epoch + 1
    return done == epochs or (done >= first and (done - first) % every == 0)


def parameter_groups(model: nn.Module, lr: float, backbone_lr: float) -> list[dict]:
    """Parameters for an optimizer; those of `model.features` learn at `backbone_lr` · `lr`.

    A backbone with weights of ImageNet wants a lower rate than layers that start at random.
    """
    if backbone_lr == 1:
        return [{"params": list(model.parameters())}]
    if not hasattr(model, "features"):
        raise InputError("this model has no backbone of its own: leave --backbone-lr out")
    rest = [one for name, one in model.named_parameters() if not name.startswith("features.")]
    return [{"params": rest}, {"params": model.features.parameters(), "lr": backbone_lr * lr}]


@dataclasses.dataclass
class Recipe:
    """What rebuilds the counter from its checkpoint, and what may not change at `--resume`."""

    model_name: str
    model_options: dict  # of the method's `build_model`
    preprocessing: dict  # fields of the method's `Preprocessing`
    # Median count of the training photos, the guess to be beaten; None where what was trained on
    # are no whole photos.
    train_median: float | None
    settings: dict  # arguments that decide the figures, by name


@dataclasses.dataclass(frozen=True)
class TrainingPhotos:
    """What is trained on, as far as a recipe tells: a run cannot be continued on anything else."""

    number: int  # of photos or patches
    train_median: float | None  # as in `Recipe`
    fingerprint: str  # of their names, pixels and labels, from `fingerprint`


def fingerprint(files: Sequence[Path], arrays: Iterable[np.ndarray]) -> str:
    """Return 12 hex digits that change with any name, byte or number of what is trained on.

    Args:
        files: of photos, and of labels that are read crop by crop; one may be listed several times.
        arrays: labels and weights that are in memory.
    """
    contents = {path: content_hash(path) for path in progress(dict.fromkeys(files), "hashing")}
    named = "\0".join(f"{path.name} {contents[path]}" for path in files)
    digest = hashlib.sha256(named.encode(errors="surrogateescape"))  # names may be no text
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


def twice_rmse_plus_mae(errors: dict[str, float]) -> float:
    """Score of a validation, 2·RMSE + MAE (GST's released code)."""
    return 2 * errors["rmse"] + errors["mae"]


def relative_error(errors: dict[str, float]) -> float:
    """Score of a validation, NAE: all photos weigh alike, few heads or thousands.

    Where no photo has heads it is MAE.
    """
    return errors["mae"] if math.isnan(errors["nae"]) else errors["nae"]


class Training:
    """Model, optimizer, schedule, moving average, epochs done and the best validation so far.

    Adam as in the released codes, or AdamW. With `ema` > 0 the moving average of the weights with
    that decay is what is validated and kept as best. The best epoch has the lowest `score`. Epochs
    are counted from `first_epoch` on.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        *,
        lr: float,
        weight_decay: float,
        epochs: int,
        lr_schedule: str = "constant",
        ema: float = 0.0,
        optimizer: str = "adam",
        backbone_lr: float = 1.0,
        score: Callable[[dict[str, float]], float] = twice_rmse_plus_mae,
        first_epoch: int = 0,
    ):
        if not 0 <= ema < 1:
            raise InputError(f"--ema {ema} is no decay: name a number in [0, 1), such as 0.999")
        self.model, self.recipe, self.score = model, recipe, score
        groups = parameter_groups(model, lr, backbone_lr)
        # Fused: it can skip a step on the device (`crowd.train.loop.train_one_epoch`).
        self.optimizer = OPTIMIZERS[optimizer](groups, lr=lr, weight_decay=weight_decay, fused=True)
        self.scheduler = LambdaLR(
            self.optimizer,
            lambda epoch: learning_rate_factor(lr_schedule, first_epoch + epoch, epochs),
        )
        self.average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(ema)) if ema else None
        self.epoch = first_epoch
        self.best: dict[str, float] = {}

    @property
    def evaluated(self) -> nn.Module:
        """The model to validate: the moving average where there is one."""
        return self.average.module if self.average is not None else self.model

    def keep_best(self, folder: Path, errors: dict[str, float]) -> bool:
        """Write `best.pth` if the score of the validation is the lowest yet."""
        score = self.score(errors)
        if not math.isfinite(score) or score >= self.best.get("score", math.inf):
            return False
        self.keep(folder, score=score, **errors)
        return True

    def keep(self, folder: Path, **figures: float) -> None:
        """Write `best.pth` with the figures that speak for this epoch."""
        self.best = {"epoch": self.epoch, **figures}
        self._save(folder / BEST, model=self.evaluated.state_dict())

    def finish_epoch(self, folder: Path | None) -> None:
        """Step the schedule, count the epoch and write `last.pth`, where there is a folder."""
        self.scheduler.step()
        self.epoch += 1
        if folder is None:
            return
        self._save(
            folder / LAST,
            model=self.model.state_dict(),
            average=self.average.state_dict() if self.average is not None else None,
            optimizer=self.optimizer.state_dict(),
            scheduler=self.scheduler.state_dict(),
            epoch=self.epoch,
        )

    def _save(self, path: Path, **state) -> None:
        if is_main_process():
            recipe = dataclasses.asdict(self.recipe)
            save_checkpoint(path, **state, best=self.best, recipe=recipe)

    def resume(self, folder: Path, earlier: Mapping[str, object] | None = None) -> None:
        """Continue from `last.pth`; raise `InputError` when it was made with other settings.

        `earlier` holds settings that came later, with what trainings of before did.
        """
        path = folder / LAST
        state = load_checkpoint(path)
        saved = state.get("recipe")
        if not saved or "optimizer" not in state:
            raise InputError(f"{path} holds no training to continue: choose another run folder")
        try:
            self._require_same(path, saved, earlier or {})
            load_weights(self.model, state["model"], path)
            if self.average is not None:
                self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scheduler.load_state_dict(state["scheduler"])
            self.epoch, self.best = int(state["epoch"]), dict(state["best"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InputError(
                f"{path} lacks a part or is damaged: choose another run folder"
            ) from error

    def _require_same(self, path: Path, saved: dict, earlier: Mapping[str, object]) -> None:
        now = dataclasses.asdict(self.recipe)
        # Nobody knows these hashes of a training of before they were kept.
        hashes = {name: now["settings"].get(name) for name in ("start", "validation_data")}
        before = {**hashes, **earlier, **saved, **saved["settings"]}
        if hashes["start"] is None:
            before["start"] = None  # the file that it began with may be gone
        # Trainings of before it could be chosen saw no photo that needed it.
        before["preprocessing"] = {"depth": AUTO} | saved["preprocessing"]
        differing = [
            f"{name} {before.get(name)!r} became {value!r}"
            for name, value in {**now, **now["settings"]}.items()
            if name != "settings" and before.get(name) != value
        ]
        if differing:
            raise InputError(
                f"{path} cannot be continued because {', '.join(differing)}: name what it was, "
                "or choose another run folder"
            )


def describe(
    arguments: Namespace,
    model: tuple[str, dict],
    preprocessing: Preprocessing,
    photos: TrainingPhotos,
    validation: Sequence[CountedPhotos],
    may_change: Collection[str],
) -> Recipe:
    """Make the recipe of a run of (name, options) of a model.

    `validation` holds the sets that choose the best epoch; `may_change` names further arguments as
    in `RESUME_MAY_CHANGE`.
    """
    free = RESUME_MAY_CHANGE | set(may_change)
    settings = {name: value for name, value in vars(arguments).items() if name not in free}
    if arguments.lr_schedule == "cosine":
        settings["epochs"] = arguments.epochs
    settings |= {"photos": photos.number, "training_data": photos.fingerprint}
    start = Path(arguments.get("pre") or arguments.get("pretrained") or "")
    settings["start"] = short_hash(start) if start.is_file() else None
    validated = [path for one in validation for path in one.paths]
    labels = (points for one in validation for points in one.points)
    settings["validation_data"] = fingerprint(validated, labels)
    return Recipe(*model, dataclasses.asdict(preprocessing), photos.train_median, settings)
