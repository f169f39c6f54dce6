"""Predict the map of every patch: the features that MGOT clusters and matches.

    python -m mgot.features --config mgot/configs/A2B.yml --domain source

Source patches are seen by the source model, target patches by the model retrained on pseudo labels.
Features keep the order of the patches' names. Run again, the command goes on where it stopped.
Several GPUs: start it with torchrun, one process a GPU.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from crowd.data.folders import list_images
from crowd.data.images import open_image
from crowd.data.network_input import Preprocessing, photo_tensor
from crowd.data.stage import origin
from crowd.io.config import YES_NO, ArgumentParser, PositiveInt
from crowd.io.errors import InputError, command
from crowd.io.files import content_hash, require_folder
from crowd.io.progress import progress
from mgot.options import PATCH_SIDE
from mgot.transfer import add_transfer, fill

if TYPE_CHECKING:
    import torch

RESIZED = 256
# The transfer's files for arguments that are left out.
FILES = {
    "patches": "{domain}.patches",
    "save_path": "{domain}.checkpoint",
    "output": "{domain}.features",
}


def read_patch(path: str | os.PathLike) -> np.ndarray:
    """Read what the network sees of a patch: its middle, uint8 `[224, 224, 3]` (released code).

    A patch of another size than 256 × 256 is resized to that first. Raises `InputError` for no
    picture or a truncated one.
    """
    image = open_image(path)
    if image.size != (RESIZED, RESIZED):
        image = image.resize((RESIZED, RESIZED), Image.Resampling.BILINEAR)
    margin = (RESIZED - PATCH_SIDE) // 2
    return np.asarray(image)[margin:-margin, margin:-margin]


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
        output: h5 file, see `mgot.feature_files`.
        recipe: identifies the model; a file of another recipe is begun again.
        preprocessing: holds the mean and standard deviation that the model was trained with.
        device: where the model is.
        batch_size: patches at a time.
        bgr: swap red and blue, and normalise them by each other's constants, as the release does.

    Returns:
        The number of patches, and how many of them were computed now.

    Raises:
        InputError: no patches, a damaged one, values that are not finite, a full disk.
    """
    import torch

    from mgot.feature_files import write_features

    paths = list_images(require_folder(patches, "run python -m mgot.patches first"))
    if not paths:
        raise InputError(f"{patches} holds no patches: run python -m mgot.patches first")
    contents = json.dumps(origin({}, progress(paths, "hashing", "patch")))
    made_from = hashlib.sha256(contents.encode()).hexdigest()

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


def build_parser() -> ArgumentParser:
    """Return the command's arguments."""
    parser = ArgumentParser(description=__doc__.split("\n", 1)[0])
    add = parser.add_argument
    add("--patches", type=str, help="folder of patches")
    add("--save_path", type=str, help="checkpoint of the model that sees them")
    add("--output", type=str, help="h5 file to write")
    add("--batch_size", type=PositiveInt, default=16)
    add("--bgr", action=YES_NO, help="swap red and blue, as the released code does")
    add("--device", type=str, default="auto", help="a GPU's number, cpu or auto")
    add_transfer(parser, domain=True)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command with `argv` (default: the command line)."""
    arguments = build_parser().read(argv)
    fill(arguments, FILES)
    # Imported once the arguments are read: --help and a wrong one are answered without torch.
    from crowd.train.distributed import join, leave
    from mgot.counter import load_counter

    device = join(arguments.device)
    counter = load_counter(arguments.save_path, device, arguments.model_name)
    recipe = {"checkpoint": content_hash(arguments.save_path)}
    places, how = (arguments.patches, arguments.output), (arguments.batch_size, arguments.bgr)
    total, computed = extract_features(
        counter.model, *places, recipe, counter.preprocessing, device, *how
    )
    print(f"{arguments.output}: {total} patches, {computed} of them computed now")
    leave()


if __name__ == "__main__":
    main()
