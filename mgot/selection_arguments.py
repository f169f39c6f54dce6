"""Arguments of k_means_ot_weight.py: the released ones, the transported mass, and ablations."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from crowd.io.config import YES_NO, ArgumentParser
from crowd.io.errors import InputError
from mgot.selection import ALIGNMENTS, MARGINALS
from mgot.ssim_cost import VARIANTS
from mgot.transfer import add_transfer, fill

FILES = {
    "query": "target.features",
    "gallery": "source.features",
    "selected_result": "selection",
    "corresponding_weight": "weights",
}
CLUSTER_FILES = {
    "index_cluster_s": "source.clusters",
    "center_cluster_s": "source.centers",
    "index_cluster_t": "target.clusters",
    "center_cluster_t": "target.centers",
}
PATCH_FOLDERS = {"target_patches": "target.patches", "source_patches": "source.patches"}


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description="Select source patches by optimal transport.")
    add = parser.add_argument
    add("--query", type=str, help="features of the target patches, h5")
    add("--gallery", type=str, help="features of the source patches, h5")
    add("--index_cluster_s", type=str, help="members of the source clusters, npy")
    add("--center_cluster_s", type=str, help="centres of the source clusters, h5")
    add("--index_cluster_t", type=str, help="members of the target clusters, npy")
    add("--center_cluster_t", type=str, help="centres of the target clusters, h5")
    add("--regularization_parameter1", type=float, default=1e-3, help="between clusters")
    add("--regularization_parameter2", type=float, default=1e-3, help="between patches")
    add("--selected_result", type=str, help="names of the selected source patches to write, npy")
    add("--corresponding_weight", type=str, help="their weights to write, npy")
    add("--mass", type=float, default=1.0, help="share of the mass to move; 1 weighs all alike")
    add("--ssim_variant", choices=VARIANTS, default="official")
    add("--alignment", choices=ALIGNMENTS, default="mgot", help="the paper's, or an ablation")
    add("--cluster_marginals", choices=MARGINALS, default="uniform", help="mass of the clusters")
    add("--weights", action=YES_NO, default=True, help="or all of them 1")
    add("--device", type=str, default="auto", help="a GPU's number, cpu or auto; of the SSIM")
    add("--target_patches", type=str, help="folder, to draw target patches beside their maps")
    add("--source_patches", type=str, help="folder, to draw source patches beside their maps")
    add_transfer(parser)
    return parser


def read_arguments(argv: Sequence[str] | None = None) -> Namespace:
    """Read the arguments and complete them by the transfer.

    Raises `InputError` as the parser does, for values that cannot be, and for files not named.
    """
    arguments = build_parser().read(argv)
    _check(arguments)
    fill(arguments, FILES | (CLUSTER_FILES if arguments.alignment == "mgot" else {}))
    if arguments.transfer:
        fill(arguments, PATCH_FOLDERS)
    return arguments


def _check(arguments: Namespace) -> None:
    """Raise `InputError` for values that cannot be, or that the chosen alignment does not use."""
    for name in ("regularization_parameter1", "regularization_parameter2"):
        if not 0 < arguments[name] < float("inf"):
            raise InputError(f"--{name} {arguments[name]:g} must be above 0: the release has 0.001")
    if not 0 < arguments.mass <= 1:
        raise InputError(f"--mass {arguments.mass:g} is no share: choose one above 0, at most 1")
    if arguments.alignment == "daot" and arguments.mass < 1:
        raise InputError("--alignment daot moves all the mass: leave --mass out")
    if arguments.alignment != "mgot" and arguments.cluster_marginals != "uniform":
        raise InputError(f"--alignment {arguments.alignment} has no clusters to weigh by sizes")
