"""The commands of trained counters: test one on a set, count people in photos, export it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING

from crowd.data.images import DEPTH_HELP, depth_option
from crowd.io.config import YES_NO, ArgumentParser, Namespace
from crowd.io.errors import InputError
from crowd.io.files import read_yaml

if TYPE_CHECKING:
    import torch

    from crowd.count.counter import Counter
    from crowd.count.photos import Annotate

SOURCES = ("data_dir", "image", "folder", "video")
COUNTED = "counted"  # folder of what is counted and not tested


def add_checkpoint(
    parser: ArgumentParser, models: Collection[str], boxed: Path | None = None
) -> None:
    """Add the arguments that name a counter; `boxed` is counted with when none is named."""
    add = parser.add_argument
    what = "checkpoint: best.pth, last.pth or weights"
    add("--save-path", type=str, required=boxed is None, default=boxed and str(boxed), help=what)
    add("--model-name", choices=tuple(models), help="for weights that do not say which model")


def add_counting(
    parser: ArgumentParser, models: Collection[str], boxed: Path | None = None
) -> None:
    """Add a command's arguments: the counter, and exactly one of `SOURCES`."""
    add_checkpoint(parser, models, boxed)
    add = parser.add_argument
    add("--data-dir", type=str, help="prepared set with a folder per split")
    add("--split", choices=("train", "val", "test"), default="test")
    add("--image", type=str, help="count the people in this photo instead")
    add("--folder", type=str, help="count every photo of this folder instead")
    add("--video", type=str, help="count every frame of this video instead")
    output = f"folder of the results; default: beside the checkpoint, SPLIT/ or {COUNTED}/"
    add("--output", type=str, help=output)
    add("--recursive", action=YES_NO, help="count the photos in subfolders of --folder too")
    add(
        "--region",
        type=str,
        help="polygons (JSON) or a mask picture: count the people inside, too (docs/FORMATS.md)",
    )
    add_seeing(parser)


def add_seeing(parser: ArgumentParser) -> None:
    """Add the arguments that say how photos are read, and where they are counted."""
    add = parser.add_argument
    add("--depth", type=depth_option, help=f"{DEPTH_HELP} (default: as in the training)")
    add("--device", "--gpu-id", type=str, default="auto", help="a GPU's number, cpu or auto")


def add_export(parser: ArgumentParser, models: Collection[str], boxed: Path | None = None) -> None:
    """Add the arguments of a command that exports."""
    add_checkpoint(parser, models, boxed)
    parser.add_argument("--output", type=str, required=True, help="file to write")
    parser.add_argument(
        "--size", type=str, default="512x512", help="WIDTHxHEIGHT to trace for ONNX, px"
    )


def about_counter(save_path: str) -> str:
    """What the page beside a counter that others are given says of it; empty without a page."""
    page = Path(save_path).with_suffix(".yml")
    if not page.is_file():
        return ""
    return f"{page.stem}: {read_yaml(page, 'copy it again').get('about', '')}"


def count(
    arguments: Namespace,
    load_counter: Callable[[str, torch.device, str | None], Counter],
    annotator: Callable[[Counter], Annotate],
    count_set: Callable[[Counter, Path], None],
) -> None:
    """Count the source that the arguments of `add_counting` name.

    `annotator` makes of a counter what counts a photo and draws in it, `count_set` prints and
    writes the errors on `--data-dir`. Raises `InputError` when no source or several are named.
    """
    if sum(arguments[source] is not None for source in SOURCES) != 1:
        raise InputError("name one of --data-dir (a prepared set), --image, --folder and --video")
    if arguments.recursive and arguments.folder is None:
        raise InputError("--recursive takes subfolders of a --folder: name one, or leave it out")
    if arguments.region is not None and arguments.data_dir is not None:
        raise InputError(
            "--region is of a photo, a folder's photos or a video: a --data-dir is counted whole, "
            "for its errors"
        )
    from crowd.count.counter import with_depth
    from crowd.count.photos import count_folder, count_photo
    from crowd.count.region import read_region
    from crowd.count.video import count_video
    from crowd.train.devices import pick_device

    region = read_region(arguments.region) if arguments.region is not None else None
    counter = load_counter(arguments.save_path, pick_device(arguments.device), arguments.model_name)
    counter = with_depth(counter, arguments.depth)
    how = counter.preprocessing
    about = about_counter(arguments.save_path)
    place = COUNTED if arguments.data_dir is None else arguments.split
    output = Path(arguments.save_path).parent / place
    if about:  # a counter that others are given: nothing is put beside it
        print(about)
        output = Path(COUNTED) / (arguments.split if arguments.data_dir else "")
    output = Path(arguments.output or output)
    if arguments.data_dir is not None:
        count_set(counter, output)
        return
    look = annotator(counter)
    if arguments.image is not None:
        print(count_photo(arguments.image, output, look, how, region))
    elif arguments.folder is not None:
        print(count_folder(arguments.folder, output, look, how, arguments.recursive, region))
    else:
        print(count_video(arguments.video, output, look, how, region))
