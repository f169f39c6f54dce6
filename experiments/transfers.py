"""What became of a transfer of MGOT, in one picture, and how right its pseudo labels are."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.patches import Rectangle

from crowd.count.evaluation import localization_table
from crowd.data.images import open_image
from crowd.data.processed import list_split, read_annotation
from crowd.data.stage import read_record, record_path
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError
from crowd.io.h5 import read_h5
from crowd.metrics import localization, pool_localization
from crowd.pictures.drawing import PALETTE
from crowd.pictures.overlays import write_figure
from mgot.dataset import labels_path
from mgot.feature_files import open_features, read_clusters
from mgot.maps import PATCH_SIDE
from mgot.patches import locate_patches, parse_size, patches_of, read_patch
from mgot.pictures import figure_of, show_map
from mgot.selection import Alignment, align
from mgot.transfer import add_transfer, files_of

SIZE, TEXT = (13.0, 3.3), 11
EXAMPLES = 4  # matched patches
CONFIDENCES = (0.0, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
RADIUS = 8.0  # pixels


def draw_overview(path: Path, options: Sequence[str]) -> None:
    """Draw a target photo's patches by cluster, matched clusters, matched patches in one row.

    They are what MGOT 1 to 3 left in the files of a transfer; `options` say which, as
    `--config mgot/configs/A2B.yml` does. The photo is the one whose patches fall into most
    clusters. The alignment is computed anew, as k_means_ot_weight.py does without options, for the
    pairs. Raises `InputError` where a stage has not run.
    """
    parser = ArgumentParser()
    add_transfer(parser)
    transfer = parser.read(options)
    files = files_of(transfer)
    in_target, in_source = (files[f"{name}.features"] for name in ("target", "source"))
    with open_features(in_target) as target, open_features(in_source) as source:
        clusters, patches = [], []
        for name, features in (("target", target), ("source", source)):
            where = files[f"{name}.centers"], files[f"{name}.clusters"]
            clusters.append(read_clusters(*where, len(features), features.path))
            patches.append(locate_patches(features.names, files[f"{name}.patches"]))
        alignment = align("mgot", target, source, tuple(clusters))
    figure = figure_of(*SIZE)
    widths = [2.7, len(clusters[0].members), EXAMPLES]
    left, middle, right = figure.subfigures(1, 3, width_ratios=widths, wspace=0.02)
    cluster_of = {
        patches[0][index]: number
        for number, members in enumerate(clusters[0].members)
        for index in members
    }
    photos = list_split(files["target.fidt"], "train")
    _most_clusters(left, photos, cluster_of, parse_size(transfer.target_size))
    _matched_clusters(middle, clusters, alignment)
    _matched_patches(right, patches, alignment)
    write_figure(path, figure)


def _most_clusters(panel, photos: list[Path], cluster_of: dict[Path, int], size) -> None:
    panel.suptitle("target photo: its patches, by cluster", fontsize=TEXT)
    folder = next(iter(cluster_of)).parent
    cut = [patches_of(photo, folder, size) for photo in photos]
    kinds = [len({cluster_of.get(patch) for patch in patches}) for patches in cut]
    best = int(np.argmax(kinds))
    image = open_image(photos[best])
    axis = panel.subplots()
    axis.imshow(np.asarray(image.resize(size) if size else image))
    axis.set_axis_off()
    for patch, (rows, columns) in cut[best].items():
        colour = PALETTE[cluster_of[patch] % len(PALETTE)]
        corner, side = (columns.start + 8, rows.start + 8), columns.stop - columns.start - 16
        axis.add_patch(Rectangle(corner, side, side, fill=False, lw=4, ec=colour))


def _matched_clusters(panel, clusters: list, alignment: Alignment) -> None:
    panel.suptitle("clusters of predicted maps, matched", fontsize=TEXT)
    axes = panel.subplots(2, len(alignment.groups), squeeze=False)
    centers = [side.centers.reshape(-1, PATCH_SIDE, PATCH_SIDE) for side in clusters]
    top = max(float(side.max()) for side in centers)
    for group, pair in zip(alignment.groups, axes.T, strict=True):
        number, partner = group["target_cluster"], group["source_cluster"]
        maps = centers[0][number], centers[1][partner]
        for axis, center, side in zip(pair, maps, ("target", "source"), strict=True):
            show_map(axis, center, top)
            axis.set_title(f"{group[f'{side}_patches']} patches", fontsize=TEXT - 2)
            _frame(axis, number)
    axes[0, 0].set_ylabel("target", fontsize=TEXT)
    axes[1, 0].set_ylabel("source", fontsize=TEXT)


def _matched_patches(panel, patches: list, alignment: Alignment) -> None:
    panel.suptitle("patches of matched clusters, matched", fontsize=TEXT)
    axes = panel.subplots(2, EXAMPLES, squeeze=False)
    # Of each cluster in turn the pair in the middle, by cost.
    for number, pair in zip(np.resize(np.unique(alignment.group), EXAMPLES), axes.T, strict=True):
        members = np.flatnonzero(alignment.group == number)
        pick = members[np.argsort(alignment.cost[members], kind="stable")][len(members) // 2]
        pair[0].imshow(read_patch(patches[0][alignment.target[pick]]))
        pair[1].imshow(read_patch(patches[1][alignment.source[pick]]))
        pair[0].set_title(f"cost {alignment.cost[pick]:.3f}", fontsize=TEXT - 2)
        pair[1].set_title(f"weight {alignment.weight[pick]:.2f}", fontsize=TEXT - 2)
        for axis in pair:
            _frame(axis, number)


def _frame(axis, number: int) -> None:
    axis.set(xticks=[], yticks=[])
    for side in axis.spines.values():
        side.set(color=PALETTE[number % len(PALETTE)], linewidth=3)


def confidence_table(labelled: Path, annotated: Path) -> str:
    """F1, precision and recall of the heads of pseudo labels at or above each confidence.

    That is the predicted map's value at a head. `labelled` is a set of mgot.pseudo_label,
    `annotated` one of mgot.fidt with the same photos and their true heads. Heads are matched within
    8 pixels. Raises `InputError` where a photo of one set is not in the other, or its map was
    redrawn from the heads found: it is 1 at all of them.
    """
    scores = {threshold: [] for threshold in CONFIDENCES}
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
