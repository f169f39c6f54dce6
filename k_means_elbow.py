"""MGOT 1: how many clusters? The inertia of k-means for k = 2 … 10.

python k_means_elbow.py --config mgot/configs/A2B.yml --domain source
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crowd.io.config import ArgumentParser, Namespace, Seed, documented
from crowd.io.errors import command
from crowd.io.files import write_text
from mgot.transfer import DOCUMENTED_DOMAINS, add_transfer, fill, require_apart

FILES = {"feature_path": "{domain}.features", "elbow_map": "{domain}.elbow"}
KS = range(2, 11)


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--feature_path", type=str, help="features of the patches, h5")
    add("--elbow_map", type=str, help="picture to write; the figures go beside it as JSON")
    add("--seed", type=Seed, default=0, help="of the starts of k-means")
    add_transfer(parser, domain=True)
    return parser


def farthest_from_chord(ks: Sequence[int], inertias: Sequence[float]) -> int:
    """Return the elbow: the k whose point lies farthest below the line from first to last."""
    share = (np.array(ks) - ks[0]) / max(ks[-1] - ks[0], 1)
    chord = inertias[0] + share * (inertias[-1] - inertias[0])
    return ks[int(np.argmax(chord - inertias))]


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line; without any, A2B's both domains)."""
    for one in documented(argv, *DOCUMENTED_DOMAINS):
        run(build_parser().read(one))


def run(arguments: Namespace) -> None:
    """Run the command for one domain."""
    fill(arguments, FILES)
    require_apart(arguments, ["feature_path"], ["elbow_map"], [".json"])
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from crowd.pictures.overlays import picture_kind
    from mgot.clustering import elbow
    from mgot.feature_files import open_features
    from mgot.pictures import draw_elbow

    picture_kind(arguments.elbow_map)  # not after all clusters
    with open_features(arguments.feature_path) as features:
        solutions = elbow(features, KS, arguments.seed, name=arguments.feature_path)
    ks, patches = KS[: len(solutions)], len(solutions[0].labels)
    if len(ks) < len(KS):
        print(f"{ks[-1]} of {patches} patches can be told apart: no k beyond {ks[-1]}")
    inertias = [solution.inertia for solution in solutions]
    best = farthest_from_chord(ks, inertias)
    picture = Path(arguments.elbow_map)
    draw_elbow(picture, ks, inertias, best)
    figures = {
        "features": arguments.feature_path,
        "patches": patches,
        "inertia": dict(zip(ks, inertias, strict=True)),
        "elbow": best,
    }
    write_text(picture.with_suffix(".json"), json.dumps(figures, indent=2) + "\n")
    for k, inertia in figures["inertia"].items():
        print(f"k = {k:2}  inertia {inertia:.6g}")
    print(f"elbow at k = {best}, farthest below the chord; the paper takes 4: {picture}")


if __name__ == "__main__":
    main()
