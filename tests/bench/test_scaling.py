"""Hours of a training, worked out from a rate."""

import json

import pytest
import torch

from bench import bench_training, scaling


def test_hours_are_work_over_speed():
    plan = scaling.Plan(train=3600, val=0, crop=512, pixels=0.0, every=600)
    assert scaling.hours(plan, 1.0, 1, 0.5) == pytest.approx(1200)
    assert scaling.hours(plan, 1.0, 8, 0.5) == pytest.approx(300)
    assert scaling.hours(plan._replace(crop=256), 2.0, 1, 0.5) == pytest.approx(150)
    validated = plan._replace(val=3, pixels=512.0**2)
    assert scaling.crops_of_512(validated) == pytest.approx(1200 * 3600 + 2)


def test_the_table_is_made_of_the_record(tmp_path, capsys):
    record = tmp_path / "gpu.json"
    record.write_text(json.dumps({"lines": [{"model": "vgg", "photos_per_s": 10.0}]}))
    scaling.main(["--record", str(record), "--efficiency", "1", "--price", "2"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    expected = scaling.crops_of_512(scaling.PLANS["JHU-Crowd++"]) / 10 / 3600
    assert f"| {expected:,.0f} h, {2 * expected:,.0f} at 2 an hour | " in lines[2]
    assert lines[3].startswith("| NWPU-Crowd | vgg | 10.000 | ")
    with pytest.raises(SystemExit):
        scaling.main(["--record", str(tmp_path / "none.json")])
    assert "run python -m bench training" in capsys.readouterr().err


def test_a_machine_with_one_gpu_has_a_record_too(tmp_path, monkeypatch, capsys):
    record = tmp_path / "gpu.json"
    monkeypatch.setattr(bench_training, "pick_device", lambda _: torch.device("cuda", 0))
    monkeypatch.setattr(bench_training, "photos_a_second", lambda *_: 10.0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    threads = str(torch.get_num_threads())
    bench_training.main(["--threads", threads, "--output", str(record)])
    assert "10.000 photos/s in one process, two need two GPUs" in capsys.readouterr().out
    lines = json.loads(record.read_text())["lines"]
    assert [line["photos_per_s_in_two"] for line in lines] == [None, None]
    scaling.main(["--record", str(record)])
    assert "| vgg | 10.000 | " in capsys.readouterr().out
