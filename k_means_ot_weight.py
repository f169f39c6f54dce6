"""MGOT 3: match clusters, then patches, by optimal transport; weigh the selected source patches.

python k_means_ot_weight.py --config mgot/configs/A2B.yml
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.io.config import documented
from crowd.io.errors import command
from crowd.io.files import write_text
from crowd.train.devices import pick_device
from mgot.cluster_files import read_clusters
from mgot.feature_files import Features, open_features
from mgot.index_lists import write_selection
from mgot.patches import locate_patches
from mgot.selection import Alignment, align_clusters, align_daot, align_patches
from mgot.selection_arguments import read_arguments
from mgot.selection_summary import describe, draw_examples, summarise
from mgot.transfer import DOCUMENTED


def align(arguments, target: Features, source: Features) -> Alignment:
    """Select source patches by the alignment that the arguments name."""
    reg, variant = arguments.regularization_parameter2, arguments.ssim_variant
    device = pick_device(arguments.device)
    if arguments.alignment == "daot":
        return align_daot(target, source, reg, variant, device)
    if arguments.alignment == "no-clusters":
        return align_patches(target, source, reg, arguments.mass, variant, device)
    return align_clusters(
        target,
        source,
        read_clusters(arguments.center_cluster_t, arguments.index_cluster_t, len(target)),
        read_clusters(arguments.center_cluster_s, arguments.index_cluster_s, len(source)),
        arguments.regularization_parameter1,
        reg,
        arguments.mass,
        arguments.cluster_marginals,
        variant,
        device,
    )


def photos_of(features: Features, folder: str | None) -> list[Path] | None:
    """Return the patches that the features are of, or None where no folder is named."""
    return locate_patches(features.names, folder) if folder else None


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    (argv,) = documented(argv, DOCUMENTED)
    arguments = read_arguments(argv)
    selected = Path(arguments.selected_result)
    with open_features(arguments.query) as target, open_features(arguments.gallery) as source:
        target_photos = photos_of(target, arguments.target_patches)
        source_photos = photos_of(source, arguments.source_patches)
        alignment = align(arguments, target, source)
        weights = alignment.weight if arguments.weights else np.ones(len(alignment.source))
        names = [source.names[index] for index in alignment.source]
        write_selection(selected, arguments.corresponding_weight, names, weights)
        picture = selected.with_suffix(".jpg")
        draw_examples(picture, alignment, weights, target, source, target_photos, source_photos)
    summary = {"arguments": vars(arguments), **summarise(alignment, weights)}
    write_text(selected.with_suffix(".json"), json.dumps(summary, indent=2) + "\n")
    print(describe(summary))
    print(f"{selected}, {arguments.corresponding_weight}, {picture}")


if __name__ == "__main__":
    main()
