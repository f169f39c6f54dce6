"""What a training of GST is known by when it is continued."""

from __future__ import annotations

import numpy as np
from jsonargparse import Namespace

from crowd.train import state
from gst.dataset import CrowdCrops
from gst.photos import Preprocessing


def describe(arguments: Namespace, preprocessing: Preprocessing, crops: CrowdCrops) -> state.Recipe:
    """Make the recipe of a run from train_gs.py's arguments and its training photos."""
    labels = [array for one in crops.heads for array in one]
    photos = state.TrainingPhotos(
        number=len(crops),
        train_median=float(np.median(crops.counts())),
        fingerprint=state.fingerprint(crops.paths, labels),
    )
    model = (arguments.model_name, arguments.model_options)
    return state.describe(arguments, model, preprocessing, photos, {"also_data_dir"})
