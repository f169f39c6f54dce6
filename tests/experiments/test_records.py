import json

import pytest

from experiments.__main__ import main
from experiments.records import RECORDED


@pytest.fixture
def write_run(tmp_path):
    """Write what a training and a test leave behind, and more that is no part of a record."""

    def write(name, mae):
        run = tmp_path / name
        for file in (*RECORDED, "best.pth"):
            (run / file).parent.mkdir(parents=True, exist_ok=True)
            (run / file).write_text("weights or figures")
        metrics = {"mae": mae, "rmse": 2 * mae, "nae": mae / 10}
        (run / "test" / "metrics.json").write_text(json.dumps(metrics))
        return run

    return write


def test_records_hold_small_files_and_show_mean_and_deviation(tmp_path, write_run, capsys):
    for seed, mae in ((1, 2.0), (2, 4.0)):
        run = write_run(f"run_{seed}", mae)
        main(["record", str(run), "--output", str(tmp_path / "records" / f"seed_{seed}")])
    kept = sorted(p.name for p in (tmp_path / "records" / "seed_1").rglob("*") if p.is_file())
    assert kept == sorted(name.split("/")[-1] for name in RECORDED)
    main(["show", str(tmp_path / "records")])
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split("  ")[0] == "mean ± std"
    assert "3.00 ± 1.41" in last
    assert "6.00 ± 2.83" in last


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["record", "{run}"], "--output"),
        (["record", "{run}", "{run}", "--output", "x"], "one run"),
        (["show"], "say what to show"),
        (["show", "{run}"], "holds no record"),
        (["show", "{run}/none"], "not a folder"),
        (["shw", "a"], "invalid choice"),
    ],
)
def test_bad_input_is_one_sentence(write_run, capsys, argv, says):
    run = write_run("run", 1.0)
    with pytest.raises(SystemExit) as stopped:
        main([argument.format(run=run) for argument in argv])
    assert stopped.value.code == 2
    error = capsys.readouterr().err.strip()
    assert says in error
    assert len(error.splitlines()) == 1


def test_a_run_that_was_not_tested_is_no_record(tmp_path, write_run, capsys):
    run = write_run("run", 1.0)
    (run / "test" / "metrics.json").unlink()
    with pytest.raises(SystemExit):
        main(["record", str(run), "--output", str(tmp_path / "record")])
    assert "metrics.json" in capsys.readouterr().err
    assert not (tmp_path / "record").exists()
