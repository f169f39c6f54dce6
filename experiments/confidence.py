"""How right pseudo labels are, by confidence: the predicted map's value at a head."""

from pathlib import Path

import numpy as np

from crowd.count.evaluation import localization_table
from crowd.data.processed import list_split, read_annotation
from crowd.data.stage import read_record, record_path
from crowd.io.errors import InputError
from crowd.io.h5 import read_h5
from crowd.metrics import localization, pool_localization
from mgot.dataset import labels_path

THRESHOLDS = (0.0, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
RADIUS = 8.0


def confidence_table(labelled: Path, annotated: Path) -> str:
    """F1, precision and recall of the heads of pseudo labels at or above each confidence.

    `labelled` is a set of mgot.pseudo_label, `annotated` one of mgot.fidt with the same photos and
    their true heads. Heads are matched within 8 pixels. Raises `InputError` where a photo of one
    set is not in the other, or its map was redrawn from the heads found: it is 1 at all of them.
    """
    scores = {threshold: [] for threshold in THRESHOLDS}
    annotations = {photo.stem: photo for photo in list_split(annotated, "train")}
    for photo in list_split(labelled, "train"):
        if photo.stem not in annotations:
            raise InputError(f"{annotated} has no {photo.stem}: name the set that was labelled")
        if read_record(record_path(photo)).get("settings", {}).get("redraw"):
            raise InputError(
                f"{labelled} was written with --redraw, which keeps no confidence: name labels "
                "written without"
            )
        confidence = read_h5(labels_path(photo), "fidt_map", "run mgot.pseudo_label again")
        bounds = confidence.shape[::-1]
        found, actual = (
            read_annotation(one, 2, bounds) for one in (photo, annotations[photo.stem])
        )
        columns, rows = np.floor(found).astype(int).T
        sure = confidence[rows, columns]
        for threshold, of_it in scores.items():
            of_it.append(localization(found[sure >= threshold], actual, RADIUS))
    rows = {}
    for threshold, of_it in scores.items():
        pooled = pool_localization(of_it)
        rows[f"{pooled['tp'] + pooled['fp']:.0f} heads of {threshold:g} or more"] = pooled
    return localization_table(rows)
