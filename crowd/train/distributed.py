"""One training in several processes, started by torchrun: gloo on CPUs, NCCL on GPUs.

Alone, without torchrun, every function here changes nothing, so that no caller needs to ask.
"""

import atexit
import datetime
import gc
import os
import sys
from typing import TypeVar

import torch
from torch import distributed, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import crowd.io.progress
from crowd.io.errors import InputError
from crowd.train.devices import pick_device

# How long processes wait for one that reads its photos, or validates, more slowly.
PATIENCE = datetime.timedelta(hours=2)
Item = TypeVar("Item")


def rank_and_size() -> tuple[int, int]:
    """Which of how many processes this is: torchrun starts several, otherwise there is one."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def join(device: str) -> torch.device:
    """Join the processes that torchrun started with this one, and return this one's device.

    Only the first process prints from here on, and it alone writes (`is_main_process`).

    Args:
        device: `--device`. Each process has a GPU of its own, so that under torchrun none is named.

    Raises:
        InputError: there is no such device, or processes would share a GPU.
    """
    rank, size = rank_and_size()
    if size == 1:
        return pick_device(device)
    if device not in ("auto", "cpu"):
        raise InputError(f"--device {device} is one GPU for {size} processes: leave it out")
    chosen = take_gpu() if device == "auto" and torch.cuda.is_available() else pick_device("cpu")
    store, *_ = next(rendezvous("env://", rank, size))
    # Processes that were started again would else find the addresses of those that died.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    distributed.init_process_group(
        "nccl" if chosen.type == "cuda" else "gloo",
        store=distributed.PrefixStore(f"attempt_{attempt}", store),
        rank=rank,
        world_size=size,
        timeout=PATIENCE,
    )
    # The group's threads must end before Python does, which aborts one that it finds at work; they
    # do once the wrapped model, part of a cycle, is gone.
    atexit.register(gc.collect)
    if rank:
        crowd.io.progress.silent = True
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process lives
    return chosen


def take_gpu() -> torch.device:
    """Return the GPU of this process's number, and make it the one that "cuda" means here.

    Raises `InputError` when torchrun started more processes than this machine has GPUs.
    """
    number, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if number >= gpus:
        raise InputError(
            f"torchrun started more processes than this machine has GPUs ({gpus}): give it "
            f"--nproc-per-node {gpus}, or leave the GPUs alone (--device cpu; fit: --backend cpu)"
        )
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


def wait_for_all() -> None:
    """Wait until all processes have come this far."""
    if distributed.is_initialized():
        distributed.barrier()


def leave() -> None:
    """Part from the other processes once all of them have come to the end of their work."""
    wait_for_all()
    if distributed.is_initialized():
        distributed.destroy_process_group()


def rank_and_world_size() -> tuple[int, int]:
    """Return the rank of this process, and how many train together."""
    if not distributed.is_initialized():
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def is_main_process() -> bool:
    """Whether this process is the one that writes files."""
    return rank_and_world_size()[0] == 0


def parallel(model: nn.Module) -> nn.Module:
    """Wrap a model so that its gradients are means over all processes; alone it stays as it is."""
    if rank_and_world_size()[1] == 1:
        return model
    device = next(model.parameters()).device
    return DistributedDataParallel(model, [device] if device.type == "cuda" else None)


def unwrap_model(model: nn.Module) -> nn.Module:
    """The model inside the wrapper of `parallel`."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def synchronise_norms(model: nn.Module) -> nn.Module:
    """Let batch normalisation see the whole batch on GPUs; CPUs lack such a layer in torch.

    There each process normalises by its own crops, and the first one's running statistics are kept.
    """
    if rank_and_world_size()[1] > 1 and distributed.get_backend() == "nccl":
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return model


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """Sum each value over all processes (all_reduce), on the device where they share values."""
    if rank_and_world_size()[1] == 1:
        return values
    sums = values.to("cuda" if distributed.get_backend() == "nccl" else "cpu", copy=True)
    distributed.all_reduce(sums)
    return sums


def all_gather(items: list[Item]) -> list[Item]:
    """Join the lists of all processes, of which each did every size-th item, in their order."""
    _, size = rank_and_world_size()
    if size == 1:
        return items
    parts: list[list[Item]] = [[]] * size
    distributed.all_gather_object(parts, items)
    return [parts[index % size][index // size] for index in range(sum(map(len, parts)))]


def align_statistics(model: nn.Module, average: AveragedModel | None) -> None:
    """Give all processes the first one's running statistics, with which they validate."""
    if rank_and_world_size()[1] > 1:
        # The average's own count of steps stays on the CPU, where NCCL shares nothing.
        for module in (model,) if average is None else (model, average.module):
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)
