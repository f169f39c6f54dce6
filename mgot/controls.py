"""Cheap controls of an adaptation: AdaBN and one factor for all counts; neither needs a label.

What moves a source model's figure on the target as far as an adaptation does, for a minute's work.
"""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from crowd.count.evaluation import for_each_photo
from crowd.io.errors import InputError
from crowd.train.loading import CountedPhotos, photo_loader
from mgot.evaluation import CountedSet
from mgot.fidt import Preprocessing


def reset_batch_norm(model: nn.Module, data_dir: str | os.PathLike) -> None:
    """Take the statistics of every batch normalisation from a set's training photos (AdaBN).

    Each photo counts alike: the statistics are the mean over photos of each one's mean and
    variance. The annotation is not looked at. Raises `InputError` where the model has none.
    """
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)]
    if not norms:
        raise InputError("this network has no batch normalisation: leave --batch_norm_from out")
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over what it sees
    loader = photo_loader(CountedPhotos(data_dir, "train", Preprocessing()), 0)
    device = next(model.parameters()).device

    @torch.inference_mode()
    def see(image: Tensor, *_) -> None:
        for norm in norms:
            norm.train()
        model(image[None].to(device))

    for_each_photo(model, loader, see, "statistics of train")
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
