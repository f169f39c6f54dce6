"""Every command that the documents, the demo and the tables give is accepted by its own parser."""

import importlib
import re
import shlex
from pathlib import Path

import pytest

from experiments import demo, runner, tables

ROOT = Path(demo.__file__).parent.parent
# The steps of both papers, as the README gives them and each of them itself.
STEPS = ("preprocess_dataset_ucf.py", "2dgs_counting_1gs_gsplat.py", "GS2D/process_gaussians.py",
         "train_gs.py", "test.py", "-m mgot.fidt", "-m mgot.train_baseline", "-m mgot.pseudo_label",
         "train_baseline_weight.py", "-m mgot.test")  # fmt: skip
# Packages that are commands.
PACKAGES = ("experiments", "crowd.synthetic", "crowd.page")


def module_of(words):
    """The module of `-m module …` or `script.py …`, and its arguments."""
    if words[0] == "-m":
        name, arguments = words[1], words[2:]
    else:
        name, arguments = words[0].removesuffix(".py").replace("/", "."), words[1:]
    return importlib.import_module(f"{name}.__main__" if name in PACKAGES else name), arguments


def accept(words):
    """Parse a command as it would itself, and return the result."""
    module, arguments = module_of(words)
    read = getattr(module, "read_arguments", None)
    if read and read.__module__ == module.__name__:
        return read(arguments)
    return module.build_parser().read(arguments)


def commands_in(text):
    """Yield what follows `python` in the lines that begin with it."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip().startswith("python "):
            yield shlex.join(shlex.split(line, comments=True)[1:])


def documents():
    pages = (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    for block in re.findall(r"^```[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        yield from commands_in(block)


def rows():
    for name in tables.table_names():
        for row in tables.read_rows(name):
            for stage in runner.stages_of(row):
                yield runner.fill_in(stage, row, row.repeat_values[0])


@pytest.fixture(autouse=True)
def in_root(monkeypatch):
    monkeypatch.chdir(ROOT)


@pytest.mark.parametrize(
    "command",
    sorted({*documents(), *rows(), *demo.gst_stages(Path("d")), *demo.mgot_stages(Path("d"))}),
)
def test_commands_are_accepted(command):
    accept(shlex.split(command))


def test_no_two_rows_fit_the_photos_of_one_folder_by_other_options():
    """The second would stop at the Gaussians of the first."""
    fits = {stage for stage in rows() if stage.startswith("2dgs_")}
    folders = [accept(shlex.split(fit)).root_path for fit in fits]
    assert len(folders) == len(set(folders)) > 0


@pytest.mark.parametrize("step", STEPS)
def test_commands_in_a_step_s_own_description_are_accepted(step):
    assert f"python {step} " in (ROOT / "README.md").read_text(encoding="utf-8")
    module = module_of(step.split())[0]
    commands = list(commands_in(module.__doc__))
    assert commands
    if step.startswith("-m"):
        assert module.build_parser().prog == f"python {step}"
    for command in commands:
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
        importlib.import_module(name).main()
    printed = capsys.readouterr()
    assert printed.out.startswith("no arguments, so as documented: --config ")
    assert re.search(remedy, printed.err)


def test_without_arguments_both_domains_follow_each_other(monkeypatch, capsys):
    module = importlib.import_module("k_means")
    monkeypatch.setattr("sys.argv", ["k_means.py"])
    seen = []
    monkeypatch.setattr(module, "run", lambda arguments: seen.append(arguments.domain))
    module.main()
    assert seen == ["source", "target"]
    assert "--domain source; then --config" in capsys.readouterr().out
