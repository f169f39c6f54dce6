"""The YAML files of the transfers: alike, complete, and accepted by every stage."""

import importlib

import pytest
import yaml

import train_baseline_weight
from crowd.annotations import LAYOUTS as KNOWN_LAYOUTS
from crowd.io.config import ArgumentParser
from crowd.io.errors import InputError
from k_means_ot_weight import read_arguments as read_selection
from mgot import train_baseline
from mgot.fidt import read_arguments as read_fidt
from mgot.models import MODELS
from mgot.patches import parse_size
from mgot.patches import read_arguments as read_patches
from mgot.transfer import CONFIGS, LAYOUTS, TRANSFERS, add_transfer, files_of, fill

NAMES = "A2B A2Q N2A B2A B2Q Q2A Q2B N2B N2Q J2A J2B J2Q BRT2UCF UCF2BRT synthetic"
LETTERS = {"A": "sha", "B": "shb", "Q": "qnrf", "N": "nwpu", "J": "jhu"}
STAGES = "mgot.fidt mgot.train_baseline mgot.pseudo_label mgot.patches mgot.features "
STAGES += "k_means_elbow k_means k_means_ot_weight train_baseline_weight"


@pytest.fixture
def read():
    """Parse arguments of the transfer alone, and one more."""

    def read(*argv):
        parser = ArgumentParser()
        parser.add_argument("--feature")
        add_transfer(parser, domain=True)
        return parser.read(argv)

    return read


def config(name):
    return "--config", str(CONFIGS / f"{name}.yml")


def test_every_transfer_has_its_file_with_the_same_keys():
    assert set(TRANSFERS) == set(NAMES.split())
    values = [yaml.safe_load((CONFIGS / f"{name}.yml").read_text()) for name in TRANSFERS]
    assert len({tuple(key for key in value if key != "model_name") for value in values}) == 1
    for name, value in zip(TRANSFERS, values, strict=True):
        assert value["transfer"] == name
        assert value["source"] != value["target"]
        assert {LAYOUTS[value[side]] for side in ("source", "target")} <= set(KNOWN_LAYOUTS)
        # The papers' transfers name no network: training has a default, a checkpoint knows its own.
        assert ("model_name" in value) == (len(name) != 3)
        assert value.get("model_name", train_baseline.DEFAULT_MODEL) in MODELS
        assert parse_size(value["target_size"])
        if len(name) == 3:
            assert [value["source"], value["target"]] == [LETTERS[x] for x in name.split("2")]


@pytest.mark.parametrize("stage", STAGES.split())
def test_every_stage_accepts_every_transfer(stage):
    parser = importlib.import_module(stage).build_parser()
    for name in TRANSFERS:
        arguments = parser.read(config(name))
        assert arguments.transfer == name
        assert files_of(arguments)


def test_transfers_share_their_sources_trainings_and_nothing_else(read):
    files = [files_of(read(*config(name))) for name in ("A2B", "A2Q", "B2A")]
    checkpoints = [one["source.checkpoint"] for one in files]
    assert checkpoints == [f"runs/mgot_{name}/best.pth" for name in ("sha", "sha", "shb")]
    assert files[0]["target.fidt"] == files[2]["source.fidt"] == "data/shb_fidt"
    shared = ("source.run", "source.checkpoint", "raw", "fidt", "layout")
    own = [path for one in files for kind, path in one.items() if not kind.endswith(shared)]
    assert len(set(own)) == len(own) == 3 * 18
    moved = files_of(read(*config("A2B"), "--data_root", "/d", "--runs_root", "/r"))
    assert moved["source.raw"] == "/d/sha"
    assert moved["weights"] == "/r/mgot_A2B/A2B_cluster_ot_weight.npy"


def test_what_was_left_out_is_filled_and_what_is_missing_said(read):
    files = {"feature": "{domain}.features"}
    arguments = read(*config("A2B"), "--domain", "target")
    fill(arguments, files)
    assert arguments.feature == "runs/mgot_A2B/target_features.h5"
    arguments = read(*config("A2B"), "--feature", "mine.h5")
    fill(arguments, files)
    assert arguments.feature == "mine.h5"
    with pytest.raises(InputError, match="--feature, or a transfer"):
        fill(read(), files)
    with pytest.raises(InputError, match="add --domain"):
        fill(read(*config("A2B")), files)
    with pytest.raises(InputError, match="A2B has no target"):
        files_of(read("--transfer", "A2B", "--source", "sha"))


def read_stage(stage, *words):
    """The arguments of a stage of A2B, completed."""
    module, words = importlib.import_module(stage), [*config("A2B"), *words]
    if hasattr(module, "read_arguments"):
        return module.read_arguments(words)
    arguments = module.build_parser().read(words)
    fill(arguments, module.FILES)
    return arguments


def test_each_stage_reads_what_those_before_it_wrote():
    once = "mgot.pseudo_label k_means_ot_weight train_baseline_weight"
    labels, matched, tuned = map(read_stage, once.split())
    sides = "mgot.fidt mgot.train_baseline mgot.patches mgot.features k_means_elbow k_means"
    for side, features in (("source", matched.gallery), ("target", matched.query)):
        stages = (read_stage(stage, "--domain", side) for stage in sides.split())
        photos, trained, cut, seen, elbow, clusters = stages
        checkpoint = f"{trained.save_dir}/best.pth"
        assert cut.data_dir == photos.output_dataset_path
        assert (seen.patches, seen.save_path) == (cut.output, checkpoint)
        assert features == elbow.feature_path == clusters.feature == seen.output
        assert matched[f"center_cluster_{side[0]}"] == clusters.center_cluster
        assert matched[f"index_cluster_{side[0]}"] == clusters.cluster_index
        assert matched[f"{side}_patches"] == cut.output
        if side == "source":
            assert (tuned.patches, labels.save_path) == (cut.output, checkpoint)
    assert (labels.data_dir, labels.output) == (photos.output_dataset_path, trained.data_dir)


def test_a_set_of_one_s_own_has_any_name_and_only_its_layout_is_asked_for(read):
    hall = (*config("A2B"), "--transfer", "A2hall", "--target", "hall")
    assert read_patches([*hall, "--domain", "target"]).data_dir == "data/hall_fidt"
    assert read_selection(list(hall)).query == "runs/mgot_A2hall/target_features.h5"
    with pytest.raises(InputError, match=r"hall is a data set of your own: say how .* --layout"):
        read_fidt([*hall, "--domain", "target"])
    made = read_fidt([*hall, "--domain", "target", "--layout", "csv"])
    assert (made.input_dataset_path, made.layout, made.min_size) == ("data/hall", "csv", 512)
    assert read_fidt([*hall, "--domain", "source"]).layout == "sht"
    with pytest.raises(InputError, match="A2B has no target"):
        files_of(read(*config("A2B"), "--target", ""))


def test_the_stages_take_their_files_from_the_transfer(tmp_path):
    work = "runs/mgot_A2B"
    sides = [[*config("A2B"), "--domain", side] for side in ("source", "target")]
    source, target = map(read_patches, sides)
    assert (source.data_dir, source.output) == ("data/sha_fidt", f"{work}/source_patches")
    assert (source.unlabelled, source.resize) == (False, None)
    assert (target.unlabelled, target.resize) == (True, "1024x768")
    assert read_patches([*sides[1], "--resize", "512x256"]).resize == "512x256"
    source, target = map(read_fidt, sides)
    assert (source.input_dataset_path, source.output_dataset_path) == ("data/sha", "data/sha_fidt")
    assert target.layout == "sht"
    source, target = map(train_baseline.read_arguments, sides)
    assert (source.data_dir, source.save_dir) == ("data/sha_fidt", "runs/mgot_sha")
    assert (source.pre, source.lr, source.epochs, source.batch_size) == (None, 1e-4, 3000, 16)
    assert (source.seed, source.validate_from, source.validate_every) == (1, 1, 10)
    assert source.model_name == "hrnet_w48"
    assert target.data_dir == f"{work}/pseudo_labels"
    assert target.pre == "runs/mgot_sha/best.pth"
    assert (target.lr, target.epochs, target.crop_size) == (1e-5, 1200, 256)
    arguments = read_selection(list(config("A2B")))
    assert arguments.query == f"{work}/target_features.h5"
    assert arguments.gallery == f"{work}/source_features.h5"
    assert arguments.index_cluster_s == f"{work}/source_clusters.npy"
    assert arguments.center_cluster_t == f"{work}/target_centers.h5"
    assert (arguments.mass, arguments.weights) == (1.0, True)
    assert read_selection([*config("A2B"), "--alignment", "daot"]).index_cluster_s is None
    (tmp_path / "mine.yml").write_text("dataset: A2B\n")
    named = ["--dataset", "A2B"], ["--config", str(tmp_path / "mine.yml")]
    for tuned in map(train_baseline_weight.read_arguments, (config("A2B"), *named)):
        assert tuned.pre == f"{work}/retrained/best.pth"
        assert tuned.selected_result == f"{work}/A2B_cluster_ot.npy"
        assert tuned.corresponding_weight == f"{work}/A2B_cluster_ot_weight.npy"
        assert tuned.val_dir == "data/shb_fidt"
        assert (tuned.lr, tuned.epochs, tuned.weight_decay) == (1e-5, 2000, 5e-4)
        assert (tuned.crop_size, tuned.batch_size) == (256, 16)
    assert train_baseline_weight.read_arguments([*named[0], "--lr", "0.5"]).lr == 0.5
