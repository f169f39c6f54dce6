"""The YAML files of the transfers: alike, complete, and accepted by every stage."""

import importlib
from pathlib import Path

import pytest
import yaml

from crowd.annotations import LAYOUTS as KNOWN_LAYOUTS
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError
from k_means_ot_weight import read_arguments as read_selection
from mgot.models import MODELS
from mgot.patches import parse_size
from mgot.patches import read_arguments as read_patches
from mgot.transfer import LAYOUTS, add_transfer, files_of, fill

CONFIGS = Path(importlib.import_module("mgot").__file__).parent / "configs"
FILES = sorted(CONFIGS.glob("*.yml"))
TRANSFERS = {
    "A2B", "A2Q", "N2A", "B2A", "B2Q", "Q2A", "Q2B", "N2B", "N2Q", "J2A", "J2B", "J2Q",
    "BRT2UCF", "UCF2BRT", "synthetic",
}  # fmt: skip
LETTERS = {"A": "sha", "B": "shb", "Q": "qnrf", "N": "nwpu", "J": "jhu"}
# Which function of which module makes each stage's parser.
STAGES = {
    "mgot.fidt": "mgot.fidt:build_parser",
    "mgot.train_baseline": "mgot.train_baseline:build_parser",
    "mgot.pseudo_label": "mgot.pseudo_label:build_parser",
    "mgot.patches": "mgot.patches:build_parser",
    "mgot.features": "mgot.features:build_parser",
    "k_means_elbow.py": "k_means_elbow:build_parser",
    "k_means.py": "k_means:build_parser",
    "k_means_ot_weight.py": "k_means_ot_weight:build_parser",
    "train_baseline_weight.py": "train_baseline_weight:build_parser",
}


@pytest.fixture
def read():
    """Parse arguments of the transfer alone, and one more."""

    def read(*argv, domain=True):
        parser = ArgumentParser()
        parser.add_argument("--feature")
        add_transfer(parser, domain)
        return parser.read(argv)

    return read


def config(name):
    return "--config", str(CONFIGS / f"{name}.yml")


def test_every_transfer_has_its_file_with_the_same_keys():
    assert {file.stem for file in FILES} == TRANSFERS
    values = [yaml.safe_load(file.read_text()) for file in FILES]
    assert len({tuple(value) for value in values}) == 1
    for file, value in zip(FILES, values, strict=True):
        assert value["transfer"] == file.stem
        assert value["source"] != value["target"]
        assert {value["source"], value["target"]} <= set(LAYOUTS)
        assert value["model_name"] in MODELS
        assert parse_size(value["target_size"])
        if "2" in file.stem and len(file.stem) == 3:
            sides = (LETTERS[letter] for letter in file.stem.split("2"))
            assert (value["source"], value["target"]) == tuple(sides)


def test_every_data_set_has_a_layout_that_can_be_read():
    assert set(LAYOUTS.values()) <= set(KNOWN_LAYOUTS)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_stage_accepts_every_transfer(stage, file):
    module, function = STAGES[stage].split(":")
    parser = getattr(importlib.import_module(module), function)()
    arguments = parser.read(["--config", str(file)])
    assert arguments.transfer == file.stem
    assert files_of(arguments)


def test_no_two_things_of_the_transfers_lie_at_one_place(read):
    places = []
    for name in ("A2B", "A2Q", "B2A"):
        files = files_of(read(*config(name)))
        shared = ("source.run", "source.checkpoint", "raw", "fidt", "layout")
        own = [path for kind, path in files.items() if not kind.endswith(shared)]
        assert len(own) == 18
        assert all(path.startswith(f"runs/mgot_{name}/") for path in own)
        places += own
    assert len(set(places)) == len(places)


def test_one_source_training_serves_all_transfers_from_it(read):
    first, second, other = (files_of(read(*config(name))) for name in ("A2B", "A2Q", "B2A"))
    checkpoints = [one["source.checkpoint"] for one in (first, second, other)]
    assert checkpoints[0] == checkpoints[1] != checkpoints[2]
    assert first["target.fidt"] == other["source.fidt"] == "data/shb_fidt"
    assert first["source.layout"] == "sht"


def test_the_roots_move_everything(read):
    files = files_of(read(*config("A2B"), "--data_root", "/d", "--runs_root", "/r"))
    assert files["source.raw"] == "/d/sha"
    assert files["target.fidt"] == "/d/shb_fidt"
    assert files["source.checkpoint"] == "/r/mgot_sha/best.pth"
    assert files["selection"] == "/r/mgot_A2B/A2B_cluster_ot.npy"
    assert files["weights"] == "/r/mgot_A2B/A2B_cluster_ot_weight.npy"


def test_only_what_was_left_out_is_filled(read):
    files = {"feature": "{domain}.features"}
    arguments = read(*config("A2B"), "--domain", "target")
    fill(arguments, files)
    assert arguments.feature == "runs/mgot_A2B/target_features.h5"
    arguments = read(*config("A2B"), "--feature", "mine.h5")
    fill(arguments, files)
    assert arguments.feature == "mine.h5"


def test_what_is_missing_is_said(read):
    files = {"feature": "{domain}.features"}
    with pytest.raises(InputError, match="--feature, or a transfer"):
        fill(read(), files)
    with pytest.raises(InputError, match="add --domain"):
        fill(read(*config("A2B")), files)
    with pytest.raises(InputError, match="A2B has no target"):
        files_of(read("--transfer", "A2B", "--source", "sha"))
    with pytest.raises(InputError, match="source"):
        read("--source", "nobody")


def test_the_stages_take_their_files_from_the_transfer():
    source = read_patches([*config("A2B"), "--domain", "source"])
    assert (source.data_dir, source.output) == ("data/sha_fidt", "runs/mgot_A2B/source_patches")
    assert not source.unlabelled
    assert source.resize is None
    target = read_patches([*config("A2B"), "--domain", "target"])
    assert target.unlabelled
    assert target.resize == "1024x768"
    arguments = read_selection(list(config("A2B")))
    assert arguments.query == "runs/mgot_A2B/target_features.h5"
    assert arguments.gallery == "runs/mgot_A2B/source_features.h5"
    assert arguments.index_cluster_s == "runs/mgot_A2B/source_clusters.npy"
    assert arguments.center_cluster_t == "runs/mgot_A2B/target_centers.h5"
    assert arguments.corresponding_weight == "runs/mgot_A2B/A2B_cluster_ot_weight.npy"
    assert (arguments.mass, arguments.weights) == (1.0, True)
    assert read_selection([*config("A2B"), "--alignment", "daot"]).index_cluster_s is None
