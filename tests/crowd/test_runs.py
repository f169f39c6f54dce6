"""What a run folder says of where its figures come from."""

import subprocess

import pytest

from crowd.train import runs


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A repository with a program and a record, all committed; stands for this one."""

    def git(*arguments):
        subprocess.run(["git", "-C", str(tmp_path), *arguments], check=True, capture_output=True)

    git("init")
    git("config", "user.name", "someone")
    git("config", "user.email", "someone@example.org")
    for name in ("train.py", "results/brt/metrics.json", "bench/results/loss.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1\n")
    git("add", ".")
    git("commit", "-m", "all")
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ([], False),
        (["results/brt/metrics.json", "bench/results/loss.json"], False),
        (["train.py"], True),
        (["results/brt/metrics.json", "train.py"], True),
    ],
)
def test_a_changed_program_is_told_and_records_of_other_runs_are_not(checkout, changed, expected):
    for name in changed:
        (checkout / name).write_text("2\n")
    environment = runs.environment()
    assert len(environment["commit"]) == 40
    assert environment["uncommitted_changes"] is expected


def test_outside_a_repository_the_commit_is_unknown(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "ROOT", tmp_path)
    environment = runs.environment()
    assert (environment["commit"], environment["uncommitted_changes"]) == ("unknown", False)
