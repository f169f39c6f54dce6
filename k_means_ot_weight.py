"""MGOT 3: match clusters, then patches, by optimal transport; weigh the selected source patches.

python k_means_ot_weight.py --config mgot/configs/A2B.yml
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.io.config import YES_NO, ArgumentParser, Namespace, PositiveFloat, Seed, documented
from crowd.io.config import restricted_number_type as restricted
from crowd.io.errors import InputError, command
from crowd.io.files import write_text
from mgot.feature_files import read_clusters
from mgot.options import ALIGNMENTS, MARGINALS, VARIANTS, AlignmentOptions, SsimCost
from mgot.patches import write_selection
from mgot.transfer import DOCUMENTED, add_transfer, fill, require_apart

Share = restricted("Share", float, [(">", 0), ("<=", 1)])
FILES = {
    "query": "target.features",
    "gallery": "source.features",
    "selected_result": "selection",
    "corresponding_weight": "weights",
}
CLUSTER_FILES = {
    "center_cluster_t": "target.centers",
    "index_cluster_t": "target.clusters",
    "center_cluster_s": "source.centers",
    "index_cluster_s": "source.clusters",
}
PATCH_FOLDERS = {"target_patches": "target.patches", "source_patches": "source.patches"}


def build_parser() -> ArgumentParser:
    """Return the command's arguments: the released ones, the transported mass, and ablations."""
    parser = ArgumentParser(description="Select source patches by optimal transport.")
    add = parser.add_argument
    add("--query", type=str, help="features of the target patches, h5")
    add("--gallery", type=str, help="features of the source patches, h5")
    for side in ("source", "target"):
        add(f"--index_cluster_{side[0]}", type=str, help=f"members of the {side} clusters, npy")
        add(f"--center_cluster_{side[0]}", type=str, help=f"centres of the {side} clusters, h5")
        add(f"--{side}_patches", type=str, help=f"folder, to draw {side} patches beside their maps")
    reg, options = "--regularization_parameter", AlignmentOptions
    add(f"{reg}1", type=PositiveFloat, default=options.cluster_reg, help="between clusters")
    add(f"{reg}2", type=PositiveFloat, default=options.patch_reg, help="between patches")
    add("--selected_result", type=str, help="names of the selected source patches to write, npy")
    add("--corresponding_weight", type=str, help="their weights to write, npy")
    add("--mass", type=Share, default=options.mass, help="share to move; 1: equal weights")
    add("--ssim_variant", choices=VARIANTS, default=SsimCost.variant)
    add("--alignment", choices=ALIGNMENTS, default="mgot", help="the paper's, or an ablation")
    add("--seed", type=Seed, default=0, help="of --alignment random")
    add("--cluster_marginals", choices=MARGINALS, default=MARGINALS[0], help="mass of the clusters")
    add("--weights", action=YES_NO, default=True, help="or all of them 1")
    add("--device", "--gpu_id", type=str, default="auto", help="of SSIM: GPU's number, cpu, auto")
    add_transfer(parser)
    return parser


def read_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """Read the arguments, refuse what does not fit together, and complete them by the transfer."""
    arguments = build_parser().read(argv)
    if arguments.alignment in ("daot", "all") and arguments.mass < 1:
        raise InputError(f"--alignment {arguments.alignment} moves all the mass: leave --mass out")
    clustered = arguments.alignment in ("mgot", "random")
    if not clustered and arguments.cluster_marginals != "uniform":
        raise InputError(f"--alignment {arguments.alignment} has no clusters to weigh by sizes")
    fill(arguments, FILES | (CLUSTER_FILES if clustered else {}))
    fill(arguments, PATCH_FOLDERS if arguments.transfer else {})
    query, gallery, *written = FILES
    require_apart(arguments, [query, gallery, *CLUSTER_FILES], written, [".jpg", ".json"])
    return arguments


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = read_arguments(*documented(argv, DOCUMENTED))
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from crowd.train.devices import pick_device
    from mgot.feature_files import open_features
    from mgot.features import known_patches, locate_sources
    from mgot.pictures import draw_matches
    from mgot.selection import align, describe, summarise

    selected = Path(arguments.selected_result)
    with open_features(arguments.query) as target, open_features(arguments.gallery) as source:
        sides = (target, arguments.target_patches), (source, arguments.source_patches)
        photos = [locate_sources(side, at) if at else None for side, at in sides]
        clusters, files = None, [arguments[name] for name in CLUSTER_FILES]
        if arguments.alignment in ("mgot", "random"):
            pairs = ((files[:2], target), (files[2:], source))
            clusters = tuple(read_clusters(*paths, len(side), side.path) for paths, side in pairs)
        cost = SsimCost(arguments.ssim_variant, pick_device(arguments.device))
        regs = arguments.regularization_parameter1, arguments.regularization_parameter2
        options = AlignmentOptions(cost, *regs, arguments.mass, arguments.cluster_marginals)
        alignment = align(arguments.alignment, target, source, clusters, options, arguments.seed)
        weights = alignment.weight if arguments.weights else np.ones(len(alignment.source))
        names = [source.names[index] for index in alignment.source]
        picture, told = selected.with_suffix(".jpg"), selected.with_suffix(".json")
        for other in (picture, told):  # of another alignment
            other.unlink(missing_ok=True)
        write_selection(selected, arguments.corresponding_weight, names, weights)
        written = [selected, arguments.corresponding_weight]
        if alignment.groups:
            written.append(picture)
            draw_matches(picture, alignment, weights, (target, source), photos)
    summary = {"arguments": vars(arguments), "patches": known_patches(source)}
    summary |= summarise(alignment, weights, len(source))
    write_text(told, json.dumps(summary, indent=2) + "\n")
    why_all_1 = ", as always at --mass 1" if arguments.mass == 1 else ""
    print(describe(summary, why_all_1 if arguments.weights else " (--no-weights)"))
    print(*written, sep=", ")


if __name__ == "__main__":
    main()
