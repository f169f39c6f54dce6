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

from __future__ import annotations

import dataclasses
from operator import attrgetter
from pathlib import Path

from jsonargparse import Namespace

from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError
from mgot.models import MODELS

# Layout in which the readers know each data set.
LAYOUTS = {
    "sha": "sht",
    "shb": "sht",
    "qnrf": "qnrf",
    "jhu": "jhu",
    "nwpu": "nwpu",
    "ucf_cc_50": "ucf_cc_50",
    "brt": "brt",
    "synthetic_a": "sht",
    "synthetic_b": "sht",
}
DOMAINS = ("source", "target")
# What the papers' page means by a command without arguments.
DOCUMENTED = "--config mgot/configs/A2B.yml"
DOCUMENTED_DOMAINS = [f"{DOCUMENTED} --domain {domain}" for domain in DOMAINS]


@dataclasses.dataclass(frozen=True)
class Domain:
    """Files of one side of a transfer.

    Attributes:
        dataset: name of the data set, a key of `LAYOUTS`.
        role: "source" or "target".
        raw: the data set as its authors publish it.
        fidt: photos, points and FIDT maps, with a folder per split.
        run: run folder of the model that sees this domain's patches: φ_s, trained on the source,
            or φ_t0, retrained on pseudo labels of the target.
        work: folder of the transfer.
    """

    dataset: str
    role: str
    raw: Path
    fidt: Path
    run: Path
    work: Path

    @property
    def layout(self) -> str:
        """Layout of `raw`."""
        return LAYOUTS[self.dataset]

    @property
    def checkpoint(self) -> Path:
        """The model that sees this domain's patches."""
        return self.run / "best.pth"

    @property
    def patches(self) -> Path:
        """Folder of the patches."""
        return self.work / f"{self.role}_patches"

    @property
    def features(self) -> Path:
        """Predicted maps of the patches, h5."""
        return self.work / f"{self.role}_features.h5"

    @property
    def elbow(self) -> Path:
        """Picture of the inertia over the number of clusters."""
        return self.work / f"{self.role}_elbow.png"

    @property
    def centers(self) -> Path:
        """Cluster centres, h5."""
        return self.work / f"{self.role}_centers.h5"

    @property
    def clusters(self) -> Path:
        """Members of the clusters, npy."""
        return self.work / f"{self.role}_clusters.npy"

    @property
    def projection(self) -> Path:
        """Picture of samples and centres."""
        return self.work / f"{self.role}_clusters.png"


@dataclasses.dataclass(frozen=True)
class Transfer:
    """From a labelled source to an unlabelled target.

    Attributes:
        name: such as A2B.
        source: files of the source.
        target: files of the target.
        work: folder of what belongs to this transfer alone.
    """

    name: str
    source: Domain
    target: Domain
    work: Path

    @property
    def pseudo_labels(self) -> Path:
        """The source model's maps and peaks of the target's training photos."""
        return self.work / "pseudo_labels"

    @property
    def selection(self) -> Path:
        """Names of the selected source patches."""
        return self.work / f"{self.name}_cluster_ot.npy"

    @property
    def weights(self) -> Path:
        """Weights of the selected source patches."""
        return self.work / f"{self.name}_cluster_ot_weight.npy"

    @property
    def finetuned(self) -> Path:
        """Run folder of the last training."""
        return self.work / "finetuned"


def add_transfer(parser: ArgumentParser, domain: bool = False) -> None:
    """Add the keys of `mgot/configs/*.yml` to a stage's arguments; no stage needs all of them.

    Args:
        parser: of the stage.
        domain: whether the stage runs once a domain, and so needs `--domain`.
    """
    add = parser.add_argument_group("transfer").add_argument
    add("--transfer", type=str, help="name of the transfer, such as A2B")
    add("--source", choices=tuple(LAYOUTS), help="labelled data set")
    add("--target", choices=tuple(LAYOUTS), help="data set without labels")
    add("--data_root", type=str, default="data", help="folder of the data sets")
    add("--runs_root", type=str, default="runs", help="folder of the runs")
    add("--target_size", type=str, default="1024x768", help="of target photos before cutting")
    add("--model_name", choices=tuple(MODELS), help="network; a run's checkpoint knows its own")
    if domain:
        add("--domain", choices=DOMAINS, help="side of the transfer that this run is about")


def transfer_of(arguments: Namespace) -> Transfer | None:
    """Return the transfer that the arguments name, or None when they name none.

    Raises `InputError` when one of its two data sets is missing.
    """
    if arguments.transfer is None:
        return None
    for role in DOMAINS:
        if arguments[role] is None:
            raise InputError(f"transfer {arguments.transfer} has no {role}: name the data set")
    data, runs = Path(arguments.data_root), Path(arguments.runs_root)
    work = runs / f"mgot_{arguments.transfer}"
    run = {"source": runs / f"mgot_{arguments.source}", "target": work / "retrained"}
    source, target = (
        Domain(
            dataset=arguments[role],
            role=role,
            raw=data / arguments[role],
            fidt=data / f"{arguments[role]}_fidt",
            run=run[role],
            work=work,
        )
        for role in DOMAINS
    )
    return Transfer(arguments.transfer, source, target, work)


def fill(arguments: Namespace, files: dict[str, str], parser: ArgumentParser | None = None) -> None:
    """Set the arguments that were left out to the transfer's files.

    Args:
        arguments: of a parser with `add_transfer`; changed in place.
        files: for each argument the attribute of `Transfer` that it stands for, such as
            "target.features"; "{domain}" is replaced by `--domain`.
        parser: of the arguments, where its options are not spelt as the arguments are named.

    Raises:
        InputError: an argument was left out and no transfer, or no domain, is named.
    """
    transfer = transfer_of(arguments)
    for name, attribute in files.items():
        if arguments[name] is not None:
            continue
        if transfer is None:
            option = _option(parser, name) if parser else f"--{name}"
            raise InputError(f"name {option}, or a transfer: --config mgot/configs/A2B.yml")
        if "{domain}" in attribute:
            if arguments.domain is None:
                raise InputError(f"transfer {transfer.name} has two sides: add --domain")
            attribute = attribute.format(domain=arguments.domain)
        arguments[name] = str(attrgetter(attribute)(transfer))


def _option(parser: ArgumentParser, name: str) -> str:
    return next(action.option_strings[0] for action in parser._actions if action.dest == name)
