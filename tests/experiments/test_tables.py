"""Tables as data: read, run, recorded and shown."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from experiments import records, runner, tables
from experiments.__main__ import main

ROOT = Path(tables.__file__).parent.parent
TRAIN = """
import json, pathlib, sys
run = pathlib.Path(sys.argv[1]); mae = float(sys.argv[2])
(run / "test").mkdir(parents=True, exist_ok=True)
for name in ("config.yml", "environment.json", "starts.jsonl", "log.jsonl", "best.pth"):
    (run / name).write_text("{}")
(run / "test" / "predictions.csv").write_text("name,actual,predicted")
(run / "test" / "metrics.json").write_text(json.dumps({"mae": mae, "deep": {"f1": 0.5}}))
with open("calls.txt", "a") as calls: calls.write(f"{run.name} {mae}\\n")
"""


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Write a table of two rows, the second after the first, into an empty folder; go there."""
    folder = tmp_path / "tables"
    (tmp_path / "train.py").write_text(TRAIN)
    values = {
        "title": "Toy",
        "protocol": "No photo was harmed.",
        "columns": {"MAE": "mae", "F1": "deep.f1"},
        "repeats": {"seed": [1, 2]},
    }
    rows = {
        "first": {
            "title": "First",
            "place": 1,
            "run": "{work}/first",
            "result": "{work}/first/test",
            "stages": ["train.py {work}/first {repeat}"],
            "paper": {"MAE": 76.2, "source": "Table 9"},
        },
        "second": {
            "title": "Second",
            "place": 2,
            "run": "{work}/second",
            "after": ["first"],
            "stages": ["train.py {work}/second 1{repeat}"],
        },
    }

    def write(name="toy", table=(), **changes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(values | dict(table), sort_keys=False)
        (folder / name / "table.yml").write_text(text)
        for row, contents in rows.items():
            contents = contents | changes.get(row, {})
            (folder / name / f"{row}.yml").write_text(yaml.safe_dump(contents))

    write()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tables, "FOLDER", folder)
    return write


def calls():
    return Path("calls.txt").read_text().splitlines()


def test_a_row_runs_what_comes_before_it_and_nothing_twice(table, capsys):
    main(["run", "toy/second"])
    assert calls() == ["first 1.0", "second 11.0", "first 2.0", "second 12.0"]
    main(["run", "toy"])
    assert len(calls()) == 4
    names = sorted(p.as_posix() for p in Path("results/toy/first/seed_2").rglob("*") if p.is_file())
    expected = [*runner.OF_RUN, "stages.jsonl", *(f"test/{n}" for n in runner.OF_RESULT)]
    assert names == sorted(f"results/toy/first/seed_2/{name}" for name in expected)
    lines = Path("results/toy/second/seed_1/stages.jsonl").read_text().splitlines()
    folders = [json.loads(line)["command"].split()[1] for line in lines]
    assert folders == ["runs/toy/seed_1/first", "runs/toy/seed_1/second"]


def test_a_row_whose_run_was_removed_runs_again(table):
    table(second={"stages": ["train.py {work}/other 5", "train.py {work}/second 6"]})
    log, both = Path("runs/toy/seed_1/stages.jsonl"), ["other 5.0", "second 6.0"]

    def run():
        Path("calls.txt").write_text("")
        main(["run", "toy/second", "--only", "1"])
        return calls()

    assert run() == ["first 1.0", *both]
    shutil.rmtree("runs/toy/seed_1/second")
    assert run() == both
    # Stopped before its last command, it goes on with that one.
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:-1]))
    shutil.rmtree("runs/toy/seed_1/second")
    assert run() == both[1:]


def test_a_finished_row_s_record_stays_whatever_was_tested_by_hand(table):
    run, record = Path("runs/toy/seed_1/first/test"), Path("results/toy/first/seed_1/test")
    main(["run", "toy/first", "--only", "1"])
    whole = (record / "metrics.json").read_text()
    (run / "metrics.json").write_text('{"mae": 3}')  # of another checkpoint
    main(["run", "toy/first", "--only", "1"])
    assert (record / "metrics.json").read_text() == whole
    (record / "metrics.json").unlink()
    main(["run", "toy/first", "--only", "1"])
    assert (record / "metrics.json").read_text() == '{"mae": 3}'
    shutil.rmtree("runs/toy/seed_1/first")
    main(["run", "toy/first", "--only", "1"])
    assert (record / "metrics.json").read_text() == whole


def test_a_training_whose_folder_was_removed_before_its_test_runs_again(table):
    stages = ["train.py {work}/second 5", "test.py {work}/second/best.pth"]
    table(second={"stages": stages})
    with pytest.raises(SystemExit):
        main(["run", "toy/second", "--only", "1"])
    before = calls()
    shutil.rmtree("runs/toy/seed_1/second")
    with pytest.raises(SystemExit):
        main(["run", "toy/second", "--only", "1"])
    assert calls() == [*before, "second 5.0"]


def test_what_follows_an_edited_command_runs_again(table):
    """In its row and in those after it, with every seed that it concerns, however often edited."""

    def run(value, prepare="pass", row="second"):
        stages = [f"train.py {{work}}/first {value}{{repeat}}"]
        table(table={"prepare": [f"-c {prepare}"]}, first={"stages": stages})
        Path("calls.txt").write_text("")
        main(["run", f"toy/{row}"])
        return [call for call in calls() if call]

    both = ["first 31.0", "second 11.0", "first 32.0", "second 12.0"]
    assert run(3) == both
    assert run(4, row="first") == ["first 41.0", "first 42.0"]
    assert run(4) == ["second 11.0", "second 12.0"]
    assert run(3) == both
    assert run(3, prepare="0") == both
    assert run(3, prepare="0") == []


def test_show_gives_mean_and_deviation_beside_the_paper(table, capsys):
    main(["run", "toy/first"])
    capsys.readouterr()
    main(["show", "toy"])
    out = capsys.readouterr().out
    assert re.search(r"First +1\.50 ± 0\.71 +0\.500 ± 0\.000 +2 of 2", out)
    assert re.search(r"published +76\.2 +Table 9", out)
    assert "python -m experiments run toy/second" in out
    assert "No photo was harmed." in out
    main(["show", "toy/first"])
    assert re.search(r"seed_2 +2\.00 +0\.500", capsys.readouterr().out)


def test_a_column_may_come_from_another_file_that_not_all_records_have(table, capsys):
    best = {"also": {"best/metrics.json": "{work}/first/test/metrics.json"}}
    table(table={"columns": {"MAE": "mae", "best": "best/metrics.json:deep.f1"}}, first=best)
    main(["run", "toy"])
    capsys.readouterr()
    main(["show", "toy"])
    out = capsys.readouterr().out
    assert re.search(r"First +1\.50 ± 0\.71 +0\.500 ± 0\.000 +2 of 2", out)
    assert re.search(r"Second +11\.50 ± 0\.71 +2 of 2", out)
    Path("results/toy/first/seed_2/best/metrics.json").unlink()
    main(["show", "toy/first"])
    shown = capsys.readouterr().out
    assert re.search(r"First +1\.50 ± 0\.71 +0\.500 \(1 of 2\) +2 of 2", shown)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("environment.json", '{"uncommitted_changes": true}'),
        ("starts.jsonl", '{"uncommitted_changes": true}\n{"uncommitted_changes": false}\n'),
    ],
)
def test_show_marks_rows_whose_program_is_in_no_commit(table, capsys, name, text):
    main(["run", "toy"])
    Path("results/toy/first/seed_2", name).write_text(text)
    capsys.readouterr()
    main(["show", "toy"])
    out = capsys.readouterr().out
    assert re.search(r"First .* 2 of 2 †", out)
    assert "† First: seed_2 ran with changes that its commit does not hold" in out
    assert "Second" in out
    assert out.count("†") == 2


def test_a_reader_that_leaves_ends_the_table_quietly():
    command = [sys.executable, "-m", "experiments", "show"]
    shown = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    shown.stdout.close()
    assert shown.stderr.read() == b""
    assert shown.wait() == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_under_the_output_is_one_sentence():
    command = [sys.executable, "-m", "experiments", "show"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "No space left on device: make room" in done.stderr


def test_one_seed_can_be_run_alone(table):
    main(["run", "toy/first", "--only", "2"])
    assert calls() == ["first 2.0"]
    assert len(records.read_records(Path("results/toy/first"), {"MAE": "mae"})) == 1


def test_rows_that_run_beside_each_other_keep_each_other_s_lines(table, monkeypatch):
    table(second={"after": []})
    run = subprocess.run

    def beside(command, **options):
        monkeypatch.setattr(runner.subprocess, "run", run)
        main(["run", "toy/second", "--only", "1"])
        return run(command, **options)

    monkeypatch.setattr(runner.subprocess, "run", beside)
    main(["run", "toy/first", "--only", "1"])
    main(["run", "toy", "--only", "1"])
    assert sorted(calls()) == ["first 1.0", "second 11.0"]


def test_a_failed_command_leaves_no_record_and_is_repeated(table, capsys):
    table(first={"stages": ["-c 'raise SystemExit(3)'"]})
    for _ in range(2):
        with pytest.raises(SystemExit) as stopped:
            main(["run", "toy/first"])
        assert stopped.value.code == 2
    assert not Path("results").exists()
    table()
    main(["run", "toy/first"])
    assert Path("results/toy/first/seed_1/test/metrics.json").is_file()


def test_missing_data_is_named_with_its_remedy(table, capsys, failure):
    table(table={"data": {"data/moon": "download it from the moon to data/moon"}})
    assert re.search("data/moon.*from the moon", failure(main, "run", "toy/first"))
    main(["show", "toy"])
    assert "from the moon" in capsys.readouterr().out


def test_a_row_may_need_data_of_its_own(table, failure):
    table(second={"data": {"data/sun": "fly there by night"}})
    main(["run", "toy/first"])
    assert re.search(r"toy/second needs data/sun.*by night", failure(main, "run", "toy/second"))
    Path("data/sun").mkdir(parents=True)
    main(["run", "toy/second"])
    assert Path("results/toy/second/seed_2").is_dir()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["run"], "say what to run"),
        (["run", "toi"], "did you mean 'toy'"),
        (["run", "toy/third"], "first, second"),
        (["run", "toy/first", "--only", "7"], "has no seed 7"),
        (["shw"], "invalid choice"),
    ],
)
def test_bad_input_is_one_sentence(table, failure, argv, says):
    assert says in failure(main, *argv)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"first": {"colour": 1}}, "unknown key 'colour'"),
        ({"first": {"after": ["third"]}}, "comes after 'third'"),
        ({"first": {"after": ["second"]}}, "comes after itself"),
        ({"first": {"run": "", "result": ""}}, "give 'run', 'result' or both"),
    ],
)
def test_a_wrong_file_is_named(table, failure, changes, says):
    table(**changes)
    assert says in failure(main, "run", "toy/first")


@pytest.mark.parametrize("name", tables.table_names())
def test_every_table_of_ours_can_be_read(name):
    """That its commands can be given is tested with all others in `test_commands`."""
    rows = tables.read_rows(name)
    assert rows
    assert [row.place for row in rows] == list(range(1, len(rows) + 1))
    for row in rows:
        assert "source" in row.paper or not row.paper
        assert set(row.paper) - {"source"} <= set(row.table.columns)
