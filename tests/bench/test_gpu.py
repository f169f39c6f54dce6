"""One command on a GPU, rehearsed on a CPU; its crops; and what becomes of stages that fail."""

import copy
import functools
import json
import shutil
import time

import numpy as np
import pytest
import torch

from bench import __main__ as bench
from bench.gpu import command, training
from bench.gpu.crops import DeviceCrops, Drawing, OutOfTime, graphed, most_in_a_crop
from bench.gpu.measures import block_photo
from bench.gpu.stages import Context
from crowd.data.network_input import Preprocessing
from crowd.train.devices import place
from crowd.train.loop import Steps, train_one_epoch
from gst.counter import load_counter
from gst.dataset import Batch, Sample, augment
from gst.heads import Heads
from gst.losses import batch_losses
from gst.models import build_model
from gst.options import TRANSPORT
from tests.test_synchronisation import Answers

CPU = torch.device("cpu")
DEVICES = [pytest.param("cpu"), pytest.param("cuda", marks=pytest.mark.cuda)]
SIDE = 64


def draw_photo(seed, height, width, heads):
    image, points = block_photo(seed, heads, width, height)
    random = np.random.default_rng(seed)
    shapes = [random.uniform(*one) for one in ((3, 9, (heads, 2)), (0, 3, heads), (4, 40, heads))]
    return Sample(image, points, *(shape.astype(np.float32) for shape in shapes))


PHOTOS = {
    "dense": draw_photo(0, 97, 130, 60),
    "empty": draw_photo(1, 140, 100, 0),
    "small": draw_photo(2, 60, 50, 5),
}
DRAWING = Drawing(SIDE, (0.6, 1.3))


class Chosen:
    """Stands for numpy's generator in `augment`, with the numbers that the device drew."""

    def __init__(self, factor, rest, colours):
        self.factor, self.rest, self.colours = factor, rest, colours

    def random(self, _):
        return self.rest

    def uniform(self, low, high, number=None):
        return low + (high - low) * (self.colours if number else self.factor)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("seed", "jitter"), [(0, 0.0), (1, 0.0), (2, 0.3), (3, 0.0), (3, 0.3)])
def test_crops_drawn_in_a_batch_are_those_of_the_augmentation(seed, jitter, device):
    random = torch.rand(8, 3, generator=torch.Generator().manual_seed(seed))
    random[4] = 0.05 if seed == 3 else 1.0
    drawing = DRAWING._replace(colour_jitter=jitter)
    drawn = DeviceCrops(PHOTOS, drawing, 3, torch.device(device)).draw([0, 1, 2], random.to(device))
    heads = Heads(*(array.cpu() for array in drawn.heads))
    batch = Batch(drawn.images.cpu(), heads, drawn.names)
    mean, std = (255 * np.array(values) for values in (Preprocessing.mean, Preprocessing.std))
    for i, (name, sample) in enumerate(PHOTOS.items()):
        factor, top, left, mirror, grey = random[:5, i].double().tolist()
        chosen = Chosen(factor, (grey, left, top, mirror), random[5:, i].double().numpy())
        crop, shares = augment(sample, SIDE, chosen, DRAWING.scale_range, jitter)
        seen = batch.images[i].permute(1, 2, 0).numpy() * std + mean
        # Pillow rounds twice, once more to grey, and after each change of colours, which the next
        # one enlarges by up to 1.3; padding is a rounded colour.
        assert np.abs(seen - crop.image).max() < (6 if jitter else 2)
        mine, theirs = [], [crop.points, crop.scales, crop.rotations, shares]
        for array, expected in zip(batch.heads, theirs, strict=True):
            mine.append(array[i, : len(shares)].numpy())
            np.testing.assert_allclose(mine[-1], expected, rtol=1e-4, atol=2e-3)
        assert not batch.heads.targets[i, len(shares) :].any()
        assert batch.names[i] == name


def test_no_crop_has_more_heads_than_there_is_room_for():
    dense = draw_photo(3, 96, 160, 900)
    most = most_in_a_crop(dense, DRAWING)
    crops = DeviceCrops({"dense": dense}, DRAWING, 1, CPU)
    seen = [int((crops.draw([0], torch.rand(8, 1)).heads.targets > 0).sum()) for _ in range(30)]
    assert max(seen) <= most
    assert 0.3 * most < max(seen)


def test_an_epoch_is_drawn_again_as_it_was_and_not_begun_too_late():
    def epoch(number):
        crops = DeviceCrops(PHOTOS, Drawing(SIDE, (0.6, 1.3), 0.2, rounds=2), 3, CPU)
        crops.batch_sampler.epoch = number
        return crops, list(crops)

    (crops, first), (_, again), (_, other) = epoch(4), epoch(4), epoch(5)
    assert sorted(name for batch in first for name in batch.names) == sorted(2 * list(PHOTOS))
    for mine, theirs in zip(first, again, strict=True):
        assert torch.equal(mine.images, theirs.images)
    assert not torch.equal(first[0].images, other[0].images)
    crops.until = time.time()
    with pytest.raises(OutOfTime):
        list(crops)


@pytest.mark.parametrize("loss", [TRANSPORT, "bayesian"])
def test_neither_drawing_nor_training_waits_for_the_device(loss):
    model = build_model("vgg_small", width=0.25)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    crops = DeviceCrops(PHOTOS, Drawing(SIDE, (0.6, 1.3), 0.2), 3, CPU)
    options = {"device": CPU, "loss": loss, "block_counts": True}
    with Answers() as answers:
        losses_of = functools.partial(batch_losses, **options)
        train_one_epoch(model, crops, losses_of, optimizer, 0, steps=Steps(clip=1.0))
    assert answers.asked == []


@pytest.mark.cuda
@pytest.mark.parametrize("amp", [False, True])
def test_graphs_train_as_the_network_does_and_leave_its_evaluation_alone(amp, tmp_path):
    torch.manual_seed(0)
    device = torch.device("cuda")
    model = place(build_model("light"), device)
    crops = DeviceCrops(PHOTOS, Drawing(SIDE, (0.6, 1.3), 0.2, rounds=8), 3, device)
    losses_of = functools.partial(batch_losses, device=device, amp=amp)
    figures = []
    for marker in (None, tmp_path / "graphs"):
        trained = copy.deepcopy(model)
        if marker:
            assert graphed(trained, next(iter(crops)).images, amp, marker)
            assert not marker.exists()
        optimizer = torch.optim.Adam(trained.parameters(), lr=1e-4, fused=True)
        figures.append(train_one_epoch(trained, crops, losses_of, optimizer, 0)["transport"])
        assert trained.eval()(torch.randn(1, 3, 80, 96, device=device)).shape == (1, 1, 10, 12)
    assert figures[1] == pytest.approx(figures[0], rel=0.02)


def test_every_stage_is_rehearsed_and_leaves_its_record(tmp_path):
    bench.main(["gpu", "--rehearse", "--minutes", "30", "--output", str(tmp_path)])
    record = json.loads((tmp_path / "gpu.json").read_text())["stages"]
    assert {name: one["status"] for name, one in record.items()} == dict.fromkeys(record, "passed")
    assert list(record) == list(command.STAGES)
    assert (tmp_path / "table.txt").read_text().count(" passed ") == len(record)
    for loss in ("transport", "bayesian"):
        trained = record["h_light"]["trainings"][f"a_light_{loss}"]
        assert trained["epoch"] == trained["epochs"] == 2
        assert trained["test"]["photos"] == 2
        counter = load_counter(tmp_path / f"a_light_{loss}.pth", CPU)
        assert counter.preprocessing.tile == 2048


def test_a_training_goes_on_with_the_next_command_to_the_same_figures(tmp_path, monkeypatch):
    data = [tmp_path / name for name in command.TRAVELLING]
    training.draw(data)
    where = tmp_path, tmp_path / "out", data
    context = Context("h_light", "", *where, time.time() + 600, True, 0.0)
    job = training.Job(context, "a", training.LIGHT[1])
    stopped, whole, noted = [], {}, {}
    job.train(100.0, time.time() + 300, lambda **more: whole.update(more))
    shutil.rmtree(job.folder)

    class Interrupted(DeviceCrops):
        """A second epoch would end too late, once."""

        def __iter__(self):
            if self.batch_sampler.epoch == 1 and not stopped:
                stopped.append(self)
                raise OutOfTime
            return super().__iter__()

    monkeypatch.setattr(training, "DeviceCrops", Interrupted)
    job.train(100.0, time.time() + 300, lambda **more: noted.update(more))
    assert (noted["epoch"], noted["epochs"], noted["finished"]) == (1, 2, False)
    job.train(100.0, time.time() + 300, lambda **more: noted.update(more))
    assert (noted["epoch"], noted["finished"]) == (2, True)
    assert [line["epoch"] for line in noted["log"]] == [0, 1]
    assert noted["test"] == whole["test"]


STAND_IN = """
import os, time

def fail(context):
    context.note(seen=1)
    raise ValueError("no such luck")

def sleep(context):
    context.note(seen=2)
    time.sleep(60)

def train(context):
    tries = context.work / "tries"
    tries.write_text(tries.read_text() + "I" if tries.exists() else "I")
    context.note(tries=tries.read_text())
    if tries.read_text() == "I":
        os._exit(3)

def succeed(context):
    pass
"""


def test_a_stage_that_fails_or_takes_too_long_stops_no_other(tmp_path, monkeypatch, capsys):
    (tmp_path / "toy.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(command, "SHORTEST", 0.0)
    monkeypatch.setattr(command, "require_gpu", lambda: None)
    stages = {
        "a_fails": ("toy:fail", 60),
        "b_sleeps": ("toy:sleep", 15),
        "c_passes": ("toy:succeed", 60),
        "d_none_left": ("toy:succeed", -1),
        "h_trains": ("toy:train", 0),
    }
    monkeypatch.setattr(command, "STAGES", stages)
    words = ["--output", str(tmp_path / "out"), "--work", str(tmp_path / "work"), "--minutes", "9"]
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 1
    record = json.loads((tmp_path / "out" / "gpu.json").read_text())["stages"]
    outcomes = {name: one["status"] for name, one in record.items()}
    assert outcomes == {
        "a_fails": "failed",
        "b_sleeps": "failed",
        "c_passes": "passed",
        "d_none_left": "left",
        "h_trains": "passed",
    }
    assert record["a_fails"]["error"] == "ValueError: no such luck"
    assert (record["a_fails"]["seen"], record["b_sleeps"]["seen"]) == (1, 2)
    assert record["b_sleeps"]["error"] == "ended for want of time"
    # A training that fails is tried once more, and goes on with every command; others stay.
    assert record["h_trains"]["tries"] == "II"
    with pytest.raises(SystemExit):
        command.main(words)
    record = json.loads((tmp_path / "out" / "gpu.json").read_text())["stages"]
    assert record["h_trains"]["tries"] == "III"
    assert record["b_sleeps"]["status"] == "failed"
    assert "no such luck" in capsys.readouterr().out


@pytest.mark.skipif(torch.cuda.is_available(), reason="a machine with CUDA")
def test_a_machine_without_a_gpu_is_one_sentence(tmp_path, failure):
    assert "add --rehearse" in failure(bench.main, "gpu", "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
