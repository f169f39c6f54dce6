"""Cheap controls of an adaptation: AdaBN and one factor for all counts; no label of the target.

What moves a source model's figure on the target as far as an adaptation does, for a minute's work.
"""

import os

import torch
from torch import nn

from crowd.data.network_input import photo_tensor, read_photo
from crowd.data.processed import list_split
from crowd.io.errors import InputError
from crowd.io.progress import progress
from mgot.evaluation import CountedSet
from mgot.fidt import Preprocessing, read_preprocessing


def reset_batch_norm(model: nn.Module, data_dir: str | os.PathLike) -> None:
    """Take the statistics of every batch normalisation from a set's training photos (AdaBN).

    Each photo counts alike: the statistics are the mean over photos of each one's mean and
    variance. `train/` needs no annotations. Leaves the model in evaluation mode; raises
    `InputError` where it has no batch normalisation, the set is unfinished, or a photo is missing
    or damaged.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        raise InputError("this network has no batch normalisation: leave --batch_norm_from out")
    read_preprocessing(data_dir)  # which an unfinished set does not have
    paths, how = list_split(data_dir, "train"), Preprocessing()
    device = next(model.parameters()).device
    model.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over what it sees
        norm.train()
    with torch.inference_mode():
        for path in progress(paths, "statistics of train", "photo"):
            model(photo_tensor(read_photo(path, how), how)[None].to(device))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


def count_factor(model: nn.Module, data_dir: str | os.PathLike, tile: int = 0) -> float:
    """Annotated heads per head found on the source's `val`, where points are known.

    `tile` is as for `predict_map`. Raises `InputError` where nothing is found.
    """
    photos = CountedSet(data_dir, "val", tile=tile)
    counts = photos.counts(photos.find(model))
    found = sum(one.predicted for one in counts)
    if not found:
        raise InputError(f"no head is found on val of {data_dir}: there is no factor")
    return sum(one.actual for one in counts) / found
