"""Two processes under torchrun train as one does, and go on when one of them dies."""

import importlib
import os
import shlex
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.optim.swa_utils import AveragedModel

import crowd.io.progress
from crowd.io.errors import InputError
from crowd.train import distributed
from crowd.train.efficientnet import EfficientNetLite0
from crowd.train.runs import read_log
from mgot import features
from mgot.feature_files import open_features
from mgot.patches import write_selection
from tests.conftest import assert_same_run
from tests.distributed import steps
from tests.distributed.conftest import PATIENCE
from tests.gst.conftest import SETTINGS as SMALL
from tests.mgot.conftest import SETTINGS, TINY

GST = f"train_gs.py {SMALL} --batch-size 3 --validate-from 1 --validate-every 2 --ema 0.5"
MGOT = f"{SETTINGS} --batch_size 3 --epochs 3 --ssim_weight 10"


@pytest.mark.parametrize("method", ["gst", "mgot"])
def test_two_processes_step_on_the_gradient_of_one(
    method, write_set, write_fidt_set, succeed, tmp_path
):
    """Batches of 4, 4 and 1 crops: shared evenly, and one that leaves a process without a crop."""
    data = (write_set if method == "gst" else write_fidt_set)(train=(5, 1, 0, 3, 2, 4, 0, 1, 6))
    gradients, figures = steps.run(method, data, 4)
    succeed(Path(steps.__file__), method, data, 4, tmp_path / "two.pt")
    shared, shared_figures = torch.load(tmp_path / "two.pt")
    assert gradients.shape == shared.shape
    assert len(gradients) == 3
    torch.testing.assert_close(shared, gradients, rtol=1e-5, atol=1e-5 * gradients.abs().max())
    assert shared_figures == pytest.approx(figures, rel=1e-5)


def test_mgot_s_trainings_give_the_figures_of_one_process(
    write_fidt_set, write_counter, succeed, tmp_path
):
    data = write_fidt_set(train=(0, 1, 2, 3, 5), val=(2, 0, 4))
    listed = [f"photo{index}.png" for index in (3, 1, 0, 2, 3)]
    files = tmp_path / "names.npy", tmp_path / "weights.npy"
    write_selection(*files, listed, [2.0, 1.0, 1.0, 0.5, 1.0])
    tune = f"train_baseline_weight.py {MGOT} --pre {write_counter()} --val_dir {data} "
    tune += f"--patches {data}/train --selected_result {files[0]} "
    tune += f"--corresponding_weight {files[1]} --save_path"
    train = f"-m mgot.train_baseline {MGOT} --model_name hrnet_small --model_options {TINY} "
    train += f"--data_dir {data} --save_dir"
    for number, words in enumerate((train, tune)):
        names = [tmp_path / f"{number}_{count}" for count in ("one", "two")]
        run_alone(words, names[0])
        assert succeed(*shlex.split(words), names[1]).count("epochs 0 to 3") == 1
        alone, shared = (read_log(name / "log.jsonl") for name in names)
        assert len(alone) == len(shared) == 3
        for first, second in zip(alone, shared, strict=True):
            assert second == pytest.approx(first, rel=1e-3)


def run_alone(words, folder):
    name, *arguments = shlex.split(words.removeprefix("-m "))
    importlib.import_module(name.removesuffix(".py")).main([*arguments, str(folder)])


def test_a_training_whose_process_is_killed_starts_again_and_ends_alike(
    write_set, succeed, torchrun, tmp_path
):
    data = write_set(train=(5, 1, 0, 3, 2, 4, 0))
    words = [*shlex.split(GST), "--epochs", "30", "--resume", "--data-dir", data, "--save-dir"]
    succeed(*words, tmp_path / "whole")
    process = torchrun(*words, tmp_path / "parts", restarts=1)
    wait_for(tmp_path / "parts/last.pth", process)
    kill_rank(process.pid, 1)
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, printed
    assert "epochs 0 to 30" in printed
    assert printed.count(": epochs ") == 2
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


def wait_for(path, process):
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.01)


def kill_rank(launcher, rank):
    """Send SIGKILL to the process of that rank which torchrun, `launcher`, started."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    for child in children:
        if f"\0RANK={rank}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
            os.kill(int(child), signal.SIGKILL)
            return
    raise AssertionError(f"no process of rank {rank} among {children}")


def test_a_batch_too_small_for_all_processes_is_one_sentence(write_set, torchrun, tmp_path):
    words = [*shlex.split(GST), "--batch-size", "1", "--data-dir", write_set()]
    process = torchrun(*words, "--save-dir", tmp_path / "run")
    printed, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "error: a batch of 1 leaves some of 2 processes without a crop" in printed
    assert not (tmp_path / "run").exists()


def test_more_processes_than_gpus_are_one_sentence_unless_they_use_the_cpu(one_gpu, monkeypatch):
    started = []
    monkeypatch.setattr(distributed, "rendezvous", lambda *_: iter([(None,)]))
    monkeypatch.setattr(distributed.distributed, "PrefixStore", lambda *_: None)
    monkeypatch.setattr(
        distributed.distributed, "init_process_group", lambda backend, **_: started.append(backend)
    )
    monkeypatch.setattr(crowd.io.progress, "silent", False)
    monkeypatch.setattr("sys.stdout", None)
    assert distributed.rank_and_size() == (1, 2)
    assert distributed.join("cpu") == torch.device("cpu")
    assert (started, one_gpu) == (["gloo"], [])
    with pytest.raises(InputError, match=r"more processes .* \(1\): .* --nproc-per-node 1"):
        distributed.join("auto")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert distributed.join("auto") == torch.device("cuda", 0)
    assert (started, one_gpu) == (["gloo", "nccl"], [0])


def test_processes_on_the_cpu_keep_norms_that_cpus_have(one_gpu, monkeypatch):
    monkeypatch.setattr(distributed, "rank_and_world_size", lambda: (1, 2))
    for backend, kind in (("gloo", torch.nn.BatchNorm2d), ("nccl", torch.nn.SyncBatchNorm)):
        monkeypatch.setattr(distributed.distributed, "get_backend", lambda name=backend: name)
        assert type(distributed.synchronise_norms(torch.nn.BatchNorm2d(2))) is kind


def test_the_light_backbone_computes_the_same_with_the_norms_of_several_gpus():
    backbone, images = EfficientNetLite0().eval(), torch.rand(1, 3, 64, 64)
    expected = backbone(images)
    shared = torch.nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
    torch.testing.assert_close(shared(images), expected, rtol=0, atol=0)


def test_only_what_lies_on_the_gpu_is_broadcast(monkeypatch):
    shared, model = [], torch.nn.BatchNorm2d(2)
    monkeypatch.setattr(distributed, "rank_and_world_size", lambda: (1, 2))
    monkeypatch.setattr(distributed.distributed, "broadcast", lambda one, _: shared.append(one))
    average = AveragedModel(model)
    distributed.align_statistics(model, average)
    expected = [*model.buffers(), *average.module.buffers()]
    assert list(map(id, shared)) == list(map(id, expected))
    distributed.align_statistics(model, None)
    assert len(shared) == 1.5 * len(expected)


def test_shared_features_are_those_of_one_process(write_fidt_set, write_counter, succeed, tmp_path):
    patches = write_fidt_set(train=(1,) * 7, val=(), test=(), size=(256, 256)) / "train"
    words = ["--patches", patches, "--save_path", write_counter(), "--device", "cpu"]
    words += ["--batch_size", "2", "--output"]
    features.main([*map(str, words), str(tmp_path / "one.h5")])
    printed = succeed("-m", "mgot.features", *words, tmp_path / "two.h5")
    assert "7 patches, 7 of them computed now" in printed
    with open_features(tmp_path / "one.h5") as one, open_features(tmp_path / "two.h5") as two:
        assert one.names == two.names
        first, second = one.read(range(7)), two.read(range(7))
        np.testing.assert_array_equal(first, second)
        assert first.std() > 0
    assert not list(tmp_path.glob("two*part"))
