"""MGOT 2: cluster the patches by their predicted maps.

python k_means.py --config mgot/configs/A2B.yml --domain source --cluster_num 4
"""

from collections.abc import Sequence

from crowd.io.config import ArgumentParser, Namespace, PositiveInt, Seed, documented
from crowd.io.errors import command
from crowd.io.h5 import write_h5
from mgot.feature_files import write_index_lists
from mgot.maps import PATCH_SIDE
from mgot.transfer import DOCUMENTED_DOMAINS, add_transfer, fill, require_apart

FILES = {
    "feature": "{domain}.features",
    "center_cluster": "{domain}.centers",
    "cluster_index": "{domain}.clusters",
    "vis_path": "{domain}.projection",
}


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--feature", type=str, help="features of the patches, h5")
    add("--cluster_num", type=PositiveInt, default=4, help="number of clusters")
    add("--center_cluster", type=str, help="centres to write, h5")
    add("--cluster_index", type=str, help="members to write, npy")
    add("--vis_path", type=str, help="picture of samples and centres to write")
    add("--seed", type=Seed, default=0, help="of the starts of k-means")
    add_transfer(parser, domain=True)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line; without any, A2B's both domains)."""
    for one in documented(argv, *DOCUMENTED_DOMAINS):
        run(build_parser().read(one))


def run(arguments: Namespace) -> None:
    """Run the command for one domain."""
    fill(arguments, FILES)
    read, *written = FILES
    require_apart(arguments, [read], written)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from crowd.pictures.overlays import picture_kind
    from mgot.clustering import in_memory, kmeans
    from mgot.feature_files import CLUSTERED, PAIRED, feature_hash, members_hash, open_features
    from mgot.pictures import draw_clusters, pca_projection

    picture_kind(arguments.vis_path)  # not after the clusters
    with open_features(arguments.feature) as features:
        values = in_memory(features)
        clustering = kmeans(values, arguments.cluster_num, arguments.seed, name=arguments.feature)
        lists = clustering.index_lists
        named = {CLUSTERED: feature_hash(arguments.feature), PAIRED: members_hash(lists)}
        write_index_lists(arguments.cluster_index, lists)
        write_h5(arguments.center_cluster, cluster_center=clustering.centers, **named)
        samples, centers = pca_projection(values, clustering.centers)
    maps = clustering.centers.reshape(-1, PATCH_SIDE, PATCH_SIDE)
    draw_clusters(arguments.vis_path, samples, centers, clustering.labels, maps)
    for number, (members, map_) in enumerate(zip(clustering.index_lists, maps, strict=True)):
        print(f"cluster {number}: {len(members):5} patches, mean of the centre {map_.mean():.4f}")
    print(f"inertia {clustering.inertia:.6g}; {arguments.cluster_index}, {arguments.vis_path}")


if __name__ == "__main__":
    main()
