"""What a training of GST is known by when it is continued."""

from __future__ import annotations

import numpy as np
from jsonargparse import Namespace

from crowd.train import state as training
from gst.dataset import CrowdCrops
from gst.photos import Preprocessing

# Arguments that may change between a training and its continuation.
RESUME_MAY_CHANGE = {
    "also_data_dir",
    "cache_gib",
    "config",
    "data_dir",
    "dataset",
    "device",
    "epochs",
    "pretrained",
    "resume",
    "save_dir",
    "validate_every",
    "validate_from",
    "workers",
}


def describe(
    arguments: Namespace, preprocessing: Preprocessing, crops: CrowdCrops
) -> training.Recipe:
    """Make the recipe of a run from train_gs.py's arguments and its training photos."""
    model = (arguments.model_name, arguments.model_options)
    photos = training.TrainingPhotos(
        number=len(crops),
        train_median=float(np.median(crops.counts())),
        fingerprint=training.fingerprint(
            crops.paths, [array for one in crops.heads for array in one]
        ),
    )
    return training.describe(arguments, model, preprocessing, photos, RESUME_MAY_CHANGE)
