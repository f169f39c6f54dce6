"""Arguments: preset < --config < command line, and unknown keys name the nearest known one."""

import pytest

from crowd.io.config import ArgumentParser, save_arguments
from crowd.io.errors import InputError


@pytest.fixture
def parser(tmp_path):
    """A parser whose --dataset chooses a preset in `tmp_path`."""
    presets = {"qnrf": tmp_path / "qnrf.yml"}
    parser = ArgumentParser(preset=lambda known: presets.get(known["dataset"]))
    parser.add_argument("--dataset", type=str, default="none")
    parser.add_argument("--data-dir", "--origin-dir", type=str, default="data")
    parser.add_argument("--crop-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--visual", action="store_true")
    return parser


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults_preset_config_command_line(parser, tmp_path):
    write(tmp_path / "qnrf.yml", "crop_size: 512\nlr: 1e-3\ndata-dir: preset\n")
    config = write(tmp_path / "mine.yml", "lr: 2e-3\nvisual: true\n")
    assert vars(parser.read([])) | {"config": None} == {
        "config": None,
        "dataset": "none",
        "data_dir": "data",
        "crop_size": 256,
        "lr": 1e-5,
        "visual": False,
    }
    read = parser.read(["--dataset", "qnrf"])
    assert (read.crop_size, read.lr, read.data_dir, read.visual) == (512, 1e-3, "preset", False)
    read = parser.read(["--dataset=qnrf", "--config", config])
    assert (read.crop_size, read.lr, read.visual) == (512, 2e-3, True)
    read = parser.read(["--dataset", "qnrf", "--config", config, "--lr", "3", "--origin-dir", "a"])
    assert (read.crop_size, read.lr, read.data_dir, read.visual) == (512, 3.0, "a", True)
    assert parser.read([]).lr == 1e-5


def test_a_config_names_the_preset_unless_the_command_line_does(parser, tmp_path):
    write(tmp_path / "qnrf.yml", "crop_size: 512\nlr: 1e-3\n")
    config = write(tmp_path / "mine.yml", "dataset: qnrf\nlr: 2e-3\n")
    read = parser.read(["--config", config])
    assert (read.dataset, read.crop_size, read.lr) == ("qnrf", 512, 2e-3)
    read = parser.read(["--config", config, "--dataset", "none"])
    assert (read.dataset, read.crop_size, read.lr) == ("none", 256, 2e-3)
    read = parser.read(["--config", config, "--crop-size", "7"])
    assert (read.dataset, read.crop_size, read.lr) == ("qnrf", 7, 2e-3)


@pytest.mark.parametrize("text", ["", "# nothing is set here\n"])
def test_empty_yaml_changes_nothing(parser, tmp_path, text):
    read = parser.read(["--config", write(tmp_path / "mine.yml", text)])
    assert vars(read) | {"config": None} == vars(parser.read([]))


def test_resolved_arguments_read_back(parser, tmp_path):
    read = parser.read(["--lr", "0.00001", "--crop-size", "7", "--visual"])
    config = write(tmp_path / "saved.yml", save_arguments(read))
    again = parser.read(["--config", config])
    again.config = None
    read.config = None
    assert vars(again) == vars(read)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("crop_sise: 3\n", r"unknown key 'crop_sise'; did you mean 'crop_size'\?"),
        ("zzzzzzzz: 3\n", r"unknown key 'zzzzzzzz'; known: .*crop_size.*lr"),
        ("config: other.yml\n", r"unknown key 'config'"),
        ("crop_size: large\n", "'crop_size'|crop_size|crop-size"),
        ("lr: [1, 2\n", "not valid YAML"),
        ("- lr\n", "must hold 'key: value' lines"),
    ],
)
def test_bad_yaml_names_file_and_key(parser, tmp_path, text, says):
    config = write(tmp_path / "mine.yml", text)
    with pytest.raises(InputError, match=says) as raised:
        parser.read(["--config", config])
    assert config in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--crop-sise", "3"], r"unknown argument '--crop-sise'; did you mean '--crop-size'\?"),
        (["--crop-sise=3"], r"did you mean '--crop-size'\?"),
        (["--crop-siz", "3"], r"unknown argument '--crop-siz'; did you mean '--crop-size'\?"),
        (["--crop-size", "3.5"], "crop_size|crop-size"),
        (["--config", "none.yml"], r"none\.yml does not exist"),
    ],
)
def test_bad_command_line(parser, argv, says):
    with pytest.raises(InputError, match=says) as raised:
        parser.read(argv)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", ["3", "a", "{b: 1}", "{class_path: os.PathLike}"])
def test_a_list_is_asked_for_by_name(parser, tmp_path, value):
    parser.add_argument("--also-data-dir", type=str, nargs="*", default=[])
    parser.add_argument("--scale-range", type=float, nargs=2, default=[1.0, 2.0])
    for key in ("also_data_dir", "scale_range"):
        with pytest.raises(InputError, match=rf"mine\.yml: '{key}' is a list: write it as \["):
            parser.read(["--config", write(tmp_path / "mine.yml", f"{key}: {value}\n")])
    assert parser.read(
        ["--config", write(tmp_path / "mine.yml", "scale_range: [0.5, 2]\nalso_data_dir: [a, b]\n")]
    ).also_data_dir == ["a", "b"]
