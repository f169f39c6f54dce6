"""A transfer between two data sets: where each stage of MGOT finds and leaves its files.

`mgot/configs/A2B.yml` and its like name the two data sets; every stage takes such a file with
`--config` and fills in the paths that the command line leaves out:

    data/sha, data/shb                      raw sets (`data_root`)
    data/sha_fidt, data/shb_fidt            photos, points and FIDT maps
    runs/mgot_sha                           training of the source model (`runs_root`)
    runs/mgot_A2B/pseudo_labels             the source model's maps of target photos
    runs/mgot_A2B/retrained                 training on them: the first target model
    runs/mgot_A2B/{source,target}_patches   patches, and from here on their
    runs/mgot_A2B/{source,target}_*         features, elbow, clusters, projection
    runs/mgot_A2B/A2B_cluster_ot.npy        selected source patches, …_weight.npy their weights
    runs/mgot_A2B/finetuned                 training on them: the adapted model
"""

from collections.abc import Sequence
from pathlib import Path

from crowd.io.config import ArgumentParser, Namespace
from crowd.io.errors import InputError
from mgot.models import MODELS

CONFIGS = Path(__file__).parent / "configs"
TRANSFERS = tuple(sorted(path.stem for path in CONFIGS.glob("*.yml")))
# Layout in which the readers know each data set.
LAYOUTS = {"sha": "sht", "shb": "sht", "synthetic_a": "sht", "synthetic_b": "sht"}
LAYOUTS |= {name: name for name in ("qnrf", "jhu", "nwpu", "ucf_cc_50", "brt")}
DOMAINS = ("source", "target")
# Endings of the files that are about the patches of a side.
OF_PATCHES = {
    "patches": "patches",
    "features": "features.h5",
    "elbow": "elbow.png",
    "centers": "centers.h5",
    "clusters": "clusters.npy",
    "projection": "clusters.png",
}
TILE_HELP = "side of tiles, px; 0: whole photos; tiles change counts a little (hrnet_small: more)"
# What the papers' page means by a command without arguments.
DOCUMENTED = "--config mgot/configs/A2B.yml"
DOCUMENTED_DOMAINS = [f"{DOCUMENTED} --domain {domain}" for domain in DOMAINS]


# The keys of `mgot/configs/*.yml`, and the side that a stage is about.
KEYS = {"transfer", "source", "target", "domain"}
KEYS |= {"data_root", "runs_root", "target_size", "model_name"}


def add_transfer(parser: ArgumentParser, domain: bool = False) -> None:
    """Add the keys of `mgot/configs/*.yml` to a stage's arguments; no stage needs all of them.

    With `domain` the stage runs once a domain, and so needs `--domain`.
    """
    add = parser.add_argument_group("transfer").add_argument
    add("--transfer", type=str, help="name of the transfer, such as A2B")
    names = f"{', '.join(LAYOUTS)}, or the name of your own"
    add("--source", type=str, help=f"labelled data set: {names}")
    add("--target", type=str, help="data set without labels, as --source")
    add("--data_root", type=str, default="data", help="folder of the data sets")
    add("--runs_root", type=str, default="runs", help="folder of the runs")
    add("--target_size", type=str, default="1024x768", help="of target photos before cutting")
    add("--model_name", choices=tuple(MODELS), help="network; a run's checkpoint knows its own")
    if domain:
        add("--domain", choices=DOMAINS, help="side of the transfer that this run is about")


def files_of(arguments: Namespace) -> dict[str, str]:
    """Return where the files of a transfer lie: `pseudo_labels`, `source.features`, ….

    A model of a side, `source.run` and `source.checkpoint`, is the one that sees its patches: φ_s,
    trained on the source, or φ_t0, retrained on pseudo labels of the target. `source.layout` of a
    set that is none of `LAYOUTS` is empty.

    Raises `InputError` when one of its two data sets is missing.
    """
    name = arguments.transfer
    for role in DOMAINS:
        if not arguments[role]:
            raise InputError(f"transfer {name} has no {role}: name the data set")
    data, runs = Path(arguments.data_root), Path(arguments.runs_root)
    work = runs / f"mgot_{name}"
    files = {
        "pseudo_labels": work / "pseudo_labels",
        "selection": work / f"{name}_cluster_ot.npy",
        "weights": work / f"{name}_cluster_ot_weight.npy",
        "finetuned": work / "finetuned",
        "source.run": runs / f"mgot_{arguments.source}",
        "target.run": work / "retrained",
    }
    for role in DOMAINS:
        dataset = arguments[role]
        side = {"raw": data / dataset, "fidt": data / f"{dataset}_fidt"}
        side |= {"layout": LAYOUTS.get(dataset, "")}
        side |= {"checkpoint": files[f"{role}.run"] / "best.pth"}
        side |= {kind: work / f"{role}_{ending}" for kind, ending in OF_PATCHES.items()}
        files |= {f"{role}.{kind}": path for kind, path in side.items()}
    return {key: str(path) for key, path in files.items()}


def fill(arguments: Namespace, files: dict[str, str]) -> None:
    """Set the arguments that were left out to the transfer's files, in place.

    `files` has for each argument the name in `files_of` that it stands for, such as
    "target.features"; "{domain}" is replaced by `--domain`. Raises `InputError` where an argument
    was left out and no transfer, or no domain, is named.
    """
    known = {} if arguments.transfer is None else files_of(arguments)
    for name, file in files.items():
        if arguments[name] is not None:
            continue
        if not known:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"name {option}, or a transfer: --config mgot/configs/A2B.yml")
        if "{domain}" in file and arguments.domain is None:
            raise InputError(f"transfer {arguments.transfer} has two sides: add --domain")
        arguments[name] = known[file.format(domain=arguments.get("domain"))]


def require_apart(
    arguments: Namespace, read: Sequence[str], written: Sequence[str], beside: Sequence[str] = ()
) -> None:
    """Raise `InputError` where a file to write is another one of the command, and would replace it.

    `read` and `written` name arguments, of which some may be None; `beside` are the endings of what
    is written beside the first of `written`.
    """

    def flags(names: Sequence[str]) -> dict[str, str]:
        known = {name: arguments[name] for name in names if arguments[name] is not None}
        return {f"--{name.replace('_', '-')}": path for name, path in known.items()}

    taken = {Path(path).resolve(): flag for flag, path in flags(read).items()}
    outputs = flags(written)
    flag, first = next(iter(outputs.items()))
    outputs |= {f"the {end} beside {flag}": Path(first).with_suffix(end) for end in beside}
    for name, path in outputs.items():
        other = taken.setdefault(Path(path).resolve(), name)
        if other != name:
            raise InputError(f"{path} would be {other} and {name} in one: name another file")
