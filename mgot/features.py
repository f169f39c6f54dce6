"""Features: the predicted map of every patch, which MGOT clusters and matches.

    python -m mgot.features --config mgot/configs/A2B.yml --domain source

Source patches are seen by the source model, target patches by the model retrained on pseudo labels.
The file holds `features [n, 1, 1, 224, 224]` and `paths`, the patches' file names in ascending
order, relative to their folder, so that data may be moved; the authors' files, which hold whole
paths, are read too. Run again, the command goes on where it stopped. Several GPUs: start it with
torchrun, one process a GPU.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from crowd.data.layouts.annotation import read_json
from crowd.data.network_input import Preprocessing, photo_tensor
from crowd.data.stage import origin
from crowd.io.config import YES_NO, ArgumentParser, PositiveInt
from crowd.io.errors import InputError, command
from crowd.io.files import (
    atomic_path,
    content_hash,
    is_refusal,
    read_array,
    unreadable,
    write_array,
)
from crowd.io.h5 import open_h5
from crowd.io.locks import alone
from crowd.io.progress import progress
from mgot.feature_files import REMEDY, SHAPE, Features, names_in
from mgot.maps import PATCH_SIDE, check_maps
from mgot.patches import list_patches, locate_patches, read_patch
from mgot.transfer import add_transfer, fill, require_apart

if TYPE_CHECKING:
    import torch

FILES = {
    "patches": "{domain}.patches",
    "save_path": "{domain}.checkpoint",
    "output": "{domain}.features",
}


def write_features(
    path: str | os.PathLike,
    names: Sequence[str],
    recipe: str,
    compute: Callable[[int, int], np.ndarray],
    block: int = 16,
) -> int:
    """Compute and write features block by block; memory holds one block.

    Each block is a file in the folder `path` + ".parts" until all are there: a killed process
    leaves those from which the next one continues, and those of torchrun write side by side.

    Args:
        path: file to write.
        names: of the patches.
        recipe: what the values depend on beside the names; blocks and files of another recipe are
            not continued.
        compute: from `first, last` to the values of these patches, 224 × 224 each.
        block: patches at a time.

    Returns the number of patches computed by all processes, 0 when the file was there already.
    Raises `InputError` when it cannot be written, another process writes it, or a model puts out
    values far outside a FIDT map's range.
    """
    import torch

    from crowd.train import distributed

    path = Path(path)
    folder = path.with_name(f"{path.name}.parts")
    (rank, size), computed = distributed.rank_and_world_size(), 0
    if _is_whole(path, names, recipe):
        if rank == 0 and folder.is_dir():
            # Left by a process that was killed as it tidied, unless another one writes there.
            with contextlib.suppress(InputError), alone(folder, path):
                shutil.rmtree(folder, ignore_errors=True)
        return 0
    key = hashlib.sha256("\n".join([recipe, str(block), *names]).encode(errors="replace"))
    blocks = folder / key.hexdigest()[:16]
    parts = {first: blocks / f"{first}.npy" for first in range(0, len(names), block)}
    lock = alone(folder, path) if rank == 0 else contextlib.nullcontext()
    with lock:
        for first, part in progress(list(parts.items())[rank::size], "features", "block"):
            if not part.is_file():
                listed = names[first : first + block]
                values = np.asarray(compute(first, first + len(listed)), "<f4").reshape(-1, *SHAPE)
                check_maps(values, listed, "the model puts out")
                write_array(part, values)
                computed += len(listed)
        computed = int(distributed.all_reduce_sum(torch.tensor(computed)))  # waits for all
        if rank == 0:
            _join(path, names, recipe, parts)
            shutil.rmtree(folder)
    distributed.wait_for_all()
    return computed


def _is_whole(path: Path, names: Sequence[str], recipe: str) -> bool:
    """Whether the file is there and of these patches and this recipe."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            fits = file.attrs.get("recipe") == recipe and names_in(file) == list(names)
            return fits and file["features"].shape == (len(names), *SHAPE)
    except Exception as error:  # h5py's answer to a damaged structure may be any
        if is_refusal(error):  # it is not to be computed again
            raise unreadable(path, error, "") from error
        return False


def _join(path: Path, names: Sequence[str], recipe: str, parts: dict[int, Path]) -> None:
    with atomic_path(path) as whole, h5py.File(whole, "w", locking=False) as file:
        file.attrs["recipe"] = recipe
        file["paths"] = np.array([os.fsencode(name) for name in names])
        shape = (len(names), *SHAPE)
        values = file.create_dataset("features", shape, "<f4", fill_time="never")
        values[-1] = 0.0  # lays the file out
        file.flush()
        if hasattr(os, "posix_fallocate"):  # macOS has none
            # Where the disk is full, closing a file that is not written yet crashes Python.
            with open(whole, "r+b") as room:
                os.posix_fallocate(room.fileno(), 0, os.path.getsize(whole))
        for first, part in parts.items():
            block = read_array(part, "remove it and run the command again")
            values[first : first + len(block)] = block


def extract_features(
    model: Callable[[torch.Tensor], torch.Tensor],
    patches: str | os.PathLike,
    output: str | os.PathLike,
    recipe: dict,
    preprocessing: Preprocessing,
    device: torch.device | str = "cpu",
    batch_size: int = 16,
    bgr: bool = False,
) -> tuple[int, int]:
    """Write the model's map of every patch of a folder, resumable, one batch in memory.

    Args:
        model: from `[B, 3, 224, 224]` to `[B, 1, 224, 224]`, in evaluation mode.
        patches: folder of pictures.
        output: h5 file to write.
        recipe: identifies the model; a file of another recipe is begun again.
        preprocessing: holds the mean and standard deviation that the model was trained with.
        device: where the model is.
        batch_size: patches at a time.
        bgr: swap red and blue, and normalise them by each other's constants, as the release does.

    Returns the number of patches, and how many of them were computed now. Raises `InputError` for
    no patches or a part of them, a damaged one, values that are not finite, a full disk.
    """
    import torch

    paths = list_patches(patches)
    if not paths:
        raise InputError(f"{patches} holds no patches: run python -m mgot.patches first")
    made_from = hash_of(paths)

    @torch.inference_mode()
    def compute(first: int, last: int) -> np.ndarray:
        pixels = [read_patch(path)[..., :: -1 if bgr else 1] for path in paths[first:last]]
        batch = torch.stack([photo_tensor(values, preprocessing) for values in pixels])
        maps = model(batch.to(device)).float()
        if maps.shape != (len(batch), 1, PATCH_SIDE, PATCH_SIDE):
            raise InputError(
                f"the model puts out {list(maps.shape[1:])}, not a map of its input's size: name "
                "a checkpoint of mgot"
            )
        return maps.cpu().numpy()

    recipe = json.dumps({**recipe, "bgr": bgr, "patches": made_from}, sort_keys=True)
    names = [path.name for path in paths]
    return len(paths), write_features(output, names, recipe, compute, batch_size)


def hash_of(paths: Sequence[Path]) -> str:
    """SHA-256 of patches, names and contents."""
    contents = json.dumps(origin({}, progress(paths, "hashing", "patch")))
    return hashlib.sha256(contents.encode()).hexdigest()


def known_patches(features: Features) -> str | None:
    """The `hash_of` the patches that a feature file was made from; None where it is not ours."""
    with open_h5(features.path, REMEDY) as file:
        recipe = file.attrs.get("recipe")
    with contextlib.suppress(TypeError, ValueError, AttributeError):
        return json.loads(recipe).get("patches")
    return None


def require_same_patches(selection: str | os.PathLike, patches: str | os.PathLike) -> None:
    """Raise `InputError` where the .json beside a selection names other patches than lie there.

    The authors' selections have none beside them.
    """
    told = Path(selection).with_suffix(".json")
    known = read_json(told, "run k_means_ot_weight.py again") if told.is_file() else None
    known = known.get("patches") if isinstance(known, dict) else None
    _require_same(known, patches, selection, "k_means.py and k_means_ot_weight.py again")


def locate_sources(features: Features, patches: str | os.PathLike) -> list[Path]:
    """Return where the patches of a feature file lie, as `locate_patches` does.

    Raises `InputError` where a file of ours was made from other patches of these names.
    """
    paths = locate_patches(features.names, patches)
    _require_same(
        known_patches(features), patches, features.path, "k_means.py and this command again"
    )
    return paths


def _require_same(known: str | None, patches: str | os.PathLike, path, again: str) -> None:
    """Raise `InputError` where `patches` has another hash by now than `known`, if that is known."""
    if known and known != hash_of(list_patches(patches)):
        raise InputError(
            f"{path} is not of the patches that {patches} holds by now: run python -m "
            f"mgot.features, {again}"
        )


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(prog="python -m mgot.features", description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--patches", type=str, help="folder of patches")
    add("--save_path", type=str, help="checkpoint of the model that sees them")
    add("--output", type=str, help="h5 file to write")
    add("--batch_size", type=PositiveInt, default=16)
    add("--bgr", action=YES_NO, help="swap red and blue, as the released code does")
    add("--device", "--gpu_id", type=str, default="auto", help="a GPU's number, cpu or auto")
    add_transfer(parser, domain=True)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    fill(arguments, FILES)
    require_apart(arguments, ["patches", "save_path"], ["output"])
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from crowd.train.distributed import join, leave
    from mgot.evaluation import load_counter

    device = join(arguments.device)
    counter = load_counter(arguments.save_path, device, arguments.model_name)
    recipe = {"checkpoint": content_hash(arguments.save_path)}
    total, computed = extract_features(
        *(counter.model, arguments.patches, arguments.output, recipe, counter.preprocessing),
        *(device, arguments.batch_size, arguments.bgr),
    )
    print(f"{arguments.output}: {total} patches, {computed} of them computed now")
    leave()


if __name__ == "__main__":
    main()
