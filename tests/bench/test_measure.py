"""The benchmarks' own tools: order of the runs, ratios, the record, and what may be named."""

import json

from bench import __main__ as bench
from bench.measure import ratio, read_arguments, time_in_turn, write_record


def test_programs_run_in_alternation_after_one_run_to_warm_up():
    order = []
    timings = time_in_turn([lambda: order.append("a"), lambda: order.append("b")], 3)
    assert "".join(order) == "ab" + "ababab"
    assert [len(times) for times in timings] == [3, 3]
    assert all(second > 0 for times in timings for second in times)


def test_ratio_is_the_median_of_the_turns():
    assert ratio((4.0, 30.0, 9.0), (2.0, 3.0, 3.0)) == 3.0


def test_record_holds_figures_and_machine(tmp_path):
    write_record(tmp_path / "a.json", lines=[{"ratio": 2.5}])
    record = json.loads((tmp_path / "a.json").read_text())
    assert record["lines"] == [{"ratio": 2.5}]
    assert {"commit", "machine", "processor", "threads", "torch"} <= set(record["environment"])


def test_record_is_named_after_the_benchmark(root, monkeypatch):
    monkeypatch.setattr("torch.set_num_threads", lambda number: None)
    arguments = read_arguments("splatting", "", [])
    assert arguments.output == str(root / "bench" / "results" / "splatting.json")


def test_an_unknown_benchmark_is_refused(failure):
    assert "splatting" in failure(bench.main, "splating")
