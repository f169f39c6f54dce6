"""Arguments: preset < --config < command line, and unknown keys name the nearest known one.

Options are given with dashes or underscores, and yes/no options in three ways, in every command.
"""

import importlib
import json
import re

import jsonargparse
import pytest

from crowd.io.config import YES_NO, ArgumentParser, save_arguments
from crowd.io.errors import InputError
from tests.conftest import ROOT, python

COMMANDS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for folder in (".", "GS2D", "crowd", "crowd/*", "gst", "mgot", "bench", "experiments")
    for path in ROOT.glob(f"{folder}/*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)


# What takes longer to import than an answer should take.
HEAVY = ("cv2", "matplotlib", "numba", "onnxruntime", "scipy", "sklearn", "timm", "torch")
# Every command answers in a process forked from one that has imported nothing of ours.
ANSWERING = f"""
import contextlib, importlib, io, json, os, sys
import jsonargparse, numpy
sys.path.insert(0, {str(ROOT)!r})
for name in sys.argv[1:]:
    if os.fork() == 0:
        said, codes = io.StringIO(), []
        for option in ("--no-such-option", "--help"):
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                try:
                    importlib.import_module(name).main([option])
                except SystemExit as exit:
                    codes.append(exit.code)
        heavy = [one for one in {HEAVY} if one in sys.modules]
        print(json.dumps([name, codes, heavy, said.getvalue()]), flush=True)
        os._exit(0)
    os.wait()
"""


@pytest.fixture
def parser(tmp_path):
    """A parser whose --dataset chooses a preset in `tmp_path`."""
    presets = {"qnrf": tmp_path / "qnrf.yml"}
    parser = ArgumentParser(preset=lambda known: presets.get(known["dataset"]))
    parser.add_argument("--dataset", type=str, default="none")
    parser.add_argument("--data-dir", "--origin-dir", type=str, default="data")
    parser.add_argument("--crop-size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--visual", action=YES_NO)
    return parser


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_defaults_preset_config_command_line(parser, tmp_path):
    write(tmp_path / "qnrf.yml", "crop_size: 512\nlr: 1e-3\ndata-dir: preset\n")
    config = write(tmp_path / "mine.yml", "lr: 2e-3\nvisual: true\n")
    chosen = write(tmp_path / "chosen.yml", "dataset: qnrf\nlr: 2e-3\n")
    for argv, expected in (
        ([], ("none", 256, 1e-5, "data", False)),
        (["--dataset", "qnrf"], ("qnrf", 512, 1e-3, "preset", False)),
        (["--dataset=qnrf", "--config", config], ("qnrf", 512, 2e-3, "preset", True)),
        (["--dataset", "qnrf", "--config", config, "--lr", "3", "--origin-dir", "a"],
         ("qnrf", 512, 3.0, "a", True)),
        # Of two files the later one wins, key by key.
        (["--config", chosen, "--config", write(tmp_path / "later.yml", "lr: 9\n")],
         ("qnrf", 512, 9.0, "preset", False)),
        (["--config", str(tmp_path / "later.yml"), "--config", chosen],
         ("qnrf", 512, 2e-3, "preset", False)),
        # A config names the preset unless the command line does.
        (["--config", chosen], ("qnrf", 512, 2e-3, "preset", False)),
        (["--config", chosen, "--dataset", "none"], ("none", 256, 2e-3, "data", False)),
        (["--config", chosen, "--crop-size", "7"], ("qnrf", 7, 2e-3, "preset", False)),
        ([], ("none", 256, 1e-5, "data", False)),
    ):  # fmt: skip
        read = parser.read(argv)
        assert (read.dataset, read.crop_size, read.lr, read.data_dir, read.visual) == expected, argv


def test_resolved_arguments_read_back_and_empty_yaml_changes_nothing(parser, tmp_path):
    read = parser.read(["--lr", "0.00001", "--crop-size", "7", "--visual"])
    for text, expected in ((save_arguments(read), read), ("# nothing\n", parser.read([]))):
        again = parser.read(["--config", write(tmp_path / "saved.yml", text)])
        assert vars(again) | {"config": []} == vars(expected)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("crop_sise: 3\n", r"unknown key 'crop_sise'; did you mean 'crop_size'\?"),
        ("cropping: 3\n", "unknown key 'cropping'; known: "),
        ("zzzzzzzz: 3\n", r"unknown key 'zzzzzzzz'; known: .*crop_size.*lr"),
        ("config: other.yml\n", r"unknown key 'config'"),
        ("lr: null\n", r"'lr' has no value: give one, or leave the line out"),
        ("data_dir: 0\n", r"'data_dir': write it in quotes, as it stands in the file"),
        ("data_dir: 2024_05\n", r"'data_dir': write it in quotes, as it stands in the file"),
        ("data_dir: 2024-05-01 10:00:00\n", "'data_dir': write it in quotes"),
        ("data_dir: no\n", "'data_dir': write it in quotes"),
        ("data_dir: [1]\n", r"'data_dir': Expected a .*Got value: \[1\]"),
        ("crop_size: 0123\n", r"\(0123 is a number to the base 8: begin without 0, or quote it\)"),
        ("crop_size: large\n", "'crop_size'|crop_size|crop-size"),
        ("lr: [1, 2\n", "not valid YAML"),
        ("- lr\n", "must hold 'key: value' lines"),
        ("lr: 1\ncrop_size: 3\nlr: 2\n", r"\('lr' is given twice: keep one of them\)"),
        ("data_dir: a\ndata-dir: b\n", "'data_dir' is given twice: keep one of them"),
        ("data_dir: {a: [{b: 1, b: 2}]}\n", r"\('b' is given twice"),
    ],
)
def test_bad_yaml_names_file_and_key(parser, tmp_path, text, says):
    config = write(tmp_path / "mine.yml", text)
    with pytest.raises(InputError, match=says) as raised:
        parser.read(["--config", config])
    assert config in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_yaml_that_is_not_utf_8_is_to_be_saved_so(parser, tmp_path, encoding):
    (tmp_path / "mine.yml").write_text("data_dir: é\n", encoding=encoding)
    with pytest.raises(InputError, match=r"mine\.yml is not readable .*: save it as UTF-8 \(name"):
        parser.read(["--config", str(tmp_path / "mine.yml")])


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--crop-sise", "3"], r"unknown argument '--crop-sise'; did you mean '--crop-size'\?"),
        (["--crop-sise=3"], r"did you mean '--crop-size'\?"),
        (["--crop-siz", "3"], r"unknown argument '--crop-siz'; did you mean '--crop-size'\?"),
        (["--print-it", "3"], r"unknown argument '--print-it'; known: ((?!print_shtab).)*$"),
        (["--crop-size", "3.5"], "crop_size|crop-size"),
        (["--config", "none.yml"], r"none\.yml does not exist"),
    ],
)
def test_bad_command_line(parser, argv, says):
    with pytest.raises(InputError, match=says) as raised:
        parser.read(argv)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", ["[]", "[1]", "[1, 2, 3]"])
def test_two_values_are_asked_for_by_name(parser, tmp_path, value):
    parser.add_argument("--scale-range", type=float, nargs=2, default=[1.0, 2.0])
    with pytest.raises(InputError, match=r"mine\.yml: 'scale_range' is two values: write it as"):
        parser.read(["--config", write(tmp_path / "mine.yml", f"scale_range: {value}\n")])


@pytest.mark.parametrize("value", ["3", "a", "{b: 1}", "{class_path: os.PathLike}"])
def test_a_list_is_asked_for_by_name(parser, tmp_path, value):
    parser.add_argument("--also-data-dir", type=str, nargs="*", default=[])
    parser.add_argument("--scale-range", type=float, nargs=2, default=[1.0, 2.0])
    for key in ("also_data_dir", "scale_range"):
        with pytest.raises(InputError, match=rf"mine\.yml: '{key}' is a list: write it as \["):
            parser.read(["--config", write(tmp_path / "mine.yml", f"{key}: {value}\n")])
    with pytest.raises(InputError, match=r"mine\.yml: 'also_data_dir' element 2: write it in"):
        parser.read(["--config", write(tmp_path / "mine.yml", "also_data_dir: [a, 2024_05]\n")])
    config = write(tmp_path / "mine.yml", "scale_range: [0.5, 2]\nalso_data_dir: [a, b]\n")
    assert parser.read(["--config", config]).also_data_dir == ["a", "b"]


def test_a_tilde_is_the_home_folder(parser, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    parser.add_argument("--also-data-dir", type=str, nargs="*", default=[])
    text = "data_dir: ~/runs\nalso_data_dir: ['~', ~/a, a/~/b, ~a]\n"
    read = parser.read(["--config", write(tmp_path / "mine.yml", text)])
    assert read.data_dir == "/home/me/runs"
    assert read.also_data_dir == ["/home/me", "/home/me/a", "a/~/b", "~a"]


def test_help_and_a_wrong_option_are_answered_without_torch():
    # Benchmarks are run by `python -m bench`, which stands for them.
    names = [name for name in COMMANDS if not name.startswith("bench.bench_")]
    answers = [json.loads(line) for line in python(ANSWERING, *names).stdout.splitlines()]
    assert [name for name, *_ in answers] == names
    for name, codes, heavy, said in answers:
        assert (name, codes, heavy) == (name, [2, 0], []), said
        assert "unknown argument '--no-such-option'" in said
        assert f"usage: {f'python -m {name} ' if name.endswith('.export') else ''}" in said
        assert not re.search(r"<function|<class|null|\(\)", said), said


@pytest.fixture
def parser_of(monkeypatch):
    """Return a command's parser: what its `main` is about to read, or what it asks for help."""

    class Caught(Exception):
        pass

    def read(parser, argv=None):
        raise Caught(parser)

    def catch(name):
        main = importlib.import_module(name).main
        with monkeypatch.context() as patched:
            patched.setattr(ArgumentParser, "read", read)
            with pytest.raises(Caught) as caught:
                main(["--help"])
        return caught.value.args[0]

    return catch


def outcome(parser, argv):
    """What the parser makes of arguments, where it may lack others and dislike the values."""
    needed = []
    for action in (action for action in parser._actions if action.required):
        needed += [*action.option_strings[:1], action.choices[0] if action.choices else "x"]
    try:
        return vars(parser.read([*needed, *argv]))
    except InputError as error:
        return str(error)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_of_every_command_is_spelt_both_ways(parser_of, command):
    parser = parser_of(command)
    assert "unknown argument" in outcome(parser, ["--no-such-option"])
    options = {
        (flag, action.option_strings[0], isinstance(action, jsonargparse.ActionYesNo))
        for action in parser._actions
        for flag in action.option_strings
        if flag.startswith("--")
        and action.dest not in ("help", "config", "print_shtab", *parser.unused)
    }
    for flag, first, yes_no in options:
        assert "_" not in flag
        value = [] if yes_no else ["1"]
        read = outcome(parser, [flag, *value])
        assert "unknown argument" not in read
        assert outcome(parser, ["--" + flag[2:].replace("-", "_"), *value]) == read
        if yes_no:
            for flag, words in ((first, "true yes True"), (f"--no-{first[2:]}", "false no False")):
                for word in words.split():
                    assert outcome(parser, [first, word]) == outcome(parser, [f"{first}={word}"])
                    assert outcome(parser, [first, word]) == outcome(parser, [flag])
            assert outcome(parser, [first]) != outcome(parser, [first, "false"])
