"""Every command that the documents, the demo and the tables give is accepted by its own parser."""

import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from experiments import demo, runner, tables

ROOT = Path(demo.__file__).parent.parent
# Packages that are commands.
PACKAGES = ("experiments", "crowd.synthetic", "crowd.page")


def load(name):
    """Import a module by its dotted name, or a script whose name Python could not import."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        path = ROOT / f"{name.replace('.', '/')}.py"
        spec = importlib.util.spec_from_file_location(name.replace(".", "_"), path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def accept(words):
    """Parse `-m module …` or `script.py …` as the command itself would, and return the result."""
    if words[0] == "-m":
        name, arguments = words[1], words[2:]
    else:
        name, arguments = words[0].removesuffix(".py").replace("/", "."), words[1:]
    module = load(f"{name}.__main__" if name in PACKAGES else name)
    return module.build_parser().read(arguments)


def documents():
    pages = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if len(words) > 1 and words[0] == "python":
                yield " ".join(map(shlex.quote, words[1:]))


def rows():
    for name in tables.table_names():
        for row in tables.read_table(name)[1]:
            for stage in runner.stages_of(row):
                yield runner.fill_in(stage, row, row.repeat_values[0])


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_a_wrong_command_is_not_accepted():
    with pytest.raises(Exception, match="unknown argument"):
        accept(shlex.split("k_means.py --no"))


@pytest.mark.parametrize(
    "command",
    sorted({*documents(), *rows(), *demo.gst_stages(Path("d")), *demo.mgot_stages(Path("d"))}),
)
def test_commands_are_accepted(command):
    accept(shlex.split(command))


def test_the_demo_s_trainings_continue_when_it_is_given_again():
    stages = [*demo.gst_stages(Path("d")), *demo.mgot_stages(Path("d"))]
    resumed = [getattr(accept(shlex.split(stage)), "resume", None) for stage in stages]
    assert resumed.count(True) == 5
    assert False not in resumed


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("GS2D.process_gaussians", r"data/qnrf_processed is not a folder"),
        ("k_means_elbow", r"runs/mgot_A2B/source_features\.h5 does not exist"),
        ("k_means", r"runs/mgot_A2B/source_features\.h5 does not exist"),
        ("k_means_ot_weight", r"runs/mgot_A2B/target_features\.h5 does not exist"),
        ("train_baseline_weight", r"runs/mgot_A2B/A2B_cluster_ot\.npy does not exist"),
    ],
)
def test_without_arguments_a_command_is_the_documented_one(name, remedy, monkeypatch, capsys):
    """As both papers' pages write them; what is missing then are the stages before."""
    monkeypatch.setattr("sys.argv", [name])
    with pytest.raises(SystemExit):
        load(name).main()
    printed = capsys.readouterr()
    assert printed.out.startswith("no arguments, so as documented: --config ")
    assert re.search(remedy, printed.err)


def test_without_arguments_both_domains_follow_each_other(monkeypatch, capsys):
    module = load("k_means")
    monkeypatch.setattr("sys.argv", ["k_means.py"])
    seen = []
    monkeypatch.setattr(module, "run", lambda arguments: seen.append(arguments.domain))
    module.main()
    assert seen == ["source", "target"]
    assert "--domain source; then --config" in capsys.readouterr().out
