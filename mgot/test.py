"""Count the people of a set, of photos or of a video by the peaks of the predicted FIDT map.

python -m mgot.test --save_path runs/mgot_A2B/finetuned/best.pth --data_dir data/shb_fidt
python -m mgot.test --save_path runs/mgot_A2B/finetuned/best.pth --image photo.jpg
python -m mgot.test --save_path runs/mgot_A2B/finetuned/best.pth --folder photos --output counted
python -m mgot.test --save_path runs/mgot_A2B/finetuned/best.pth --video street.mp4
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse.typing import NonNegativeInt, PositiveFloat

from crowd.count.counter import with_depth
from crowd.count.evaluation import errors_of, errors_table, guessing_errors, write_results
from crowd.count.photos import count_folder, count_video
from crowd.data.depth import HELP as DEPTH_HELP
from crowd.data.depth import depth_option
from crowd.data.network_input import read_photo
from crowd.io.config import YES_NO, ArgumentParser
from crowd.io.errors import InputError, command
from crowd.train.devices import pick_device
from mgot.counter import Counter, load_counter
from mgot.counting import annotator, heads_of
from mgot.evaluation import TILE_HELP, CountedSet
from mgot.localization import localization_table
from mgot.models import MODELS
from mgot.pictures import draw_peaks
from mgot.point_files import write_points_file

SOURCES = ("data_dir", "image", "folder", "video")


def build_parser() -> ArgumentParser:
    """Arguments; exactly one of `SOURCES`."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--save_path", type=str, required=True, help="checkpoint: best.pth, last.pth or weights")
    add("--data_dir", type=str, help="set of mgot.fidt with a folder per split")
    add("--split", choices=("train", "val", "test"), default="test")
    add("--image", type=str, help="count the people in this photo instead")
    add("--folder", type=str, help="count every photo of this folder instead")
    add("--video", type=str, help="count every frame of this video instead")
    add("--output", type=str, help="folder of the results (default: beside the checkpoint)")
    add("--radii", type=PositiveFloat, nargs="+", default=[4.0, 8.0], help="of localisation, px")
    add("--visual", action=YES_NO, default=False, help="draw every photo")
    add("--tile", type=NonNegativeInt, default=0, help=TILE_HELP)
    add("--workers", type=NonNegativeInt, default=0, help="processes that read photos")
    add("--recursive", action=YES_NO, help="count the photos in subfolders of --folder too")
    add("--depth", type=depth_option, help=f"{DEPTH_HELP} (default: as in the training)")
    add("--device", "--gpu_id", type=str, default="auto", help="a GPU's number, cpu or auto")
    add("--model_name", choices=tuple(MODELS), help="for weights that do not say which model")
    return parser


def count_image(counter: Counter, path: str, output: Path, tile: int) -> None:
    """Print the count of one photo and draw the heads found over it."""
    image = read_photo(path, counter.preprocessing)
    heads = heads_of(counter, image, path, tile)
    picture = output / f"{Path(path).stem}_peaks.jpg"
    draw_peaks(picture, image, heads)
    print(f"{len(heads)} people in {path}; where: {picture}")


def count_set(counter: Counter, counted: CountedSet, arguments, output: Path) -> None:
    """Print and write the errors on a split, beside those of guessing the training median."""
    found = counted.find(counter.model)
    counts = counted.counts(found)
    errors = errors_of(counts)
    rows = {f"{counter.name}, {len(counts)} photos of {counted.split}": errors}
    metrics = {"model": counter.name, "split": counted.split, "photos": len(counts), **errors}
    if counter.train_median is not None:
        guessing = guessing_errors(counts, counter.train_median)
        rows[f"guessing {counter.train_median:g}, the training median"] = guessing
        metrics["guessing"] = {"count": counter.train_median, **guessing}
    scores = {f"{radius:g} px": counted.localization(found, radius) for radius in arguments.radii}
    write_results(output, counts, {**metrics, "localization": scores})
    write_points_file(output / "predicted_points.txt", found)
    if arguments.visual:
        counted.draw(found, output / "visual", limit=len(found))
    print(errors_table(rows))
    print(localization_table(scores))
    print(f"every photo's count: {output / 'predictions.csv'}")


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Count a split, a photo, a folder or a video."""
    arguments = build_parser().read(argv)
    if sum(arguments[source] is not None for source in SOURCES) != 1:
        raise InputError("name one of --data_dir (a set), --image, --folder and --video")
    device = pick_device(arguments.device)
    counter = load_counter(arguments.save_path, device, arguments.model_name)
    counter = with_depth(counter, arguments.depth)
    output = Path(arguments.output or Path(arguments.save_path).parent / arguments.split)
    if arguments.image is not None:
        count_image(counter, arguments.image, output, arguments.tile)
    elif arguments.folder is not None:
        look, how = annotator(counter, arguments.tile), counter.preprocessing
        print(count_folder(arguments.folder, output, look, how, arguments.recursive))
    elif arguments.video is not None:
        look = annotator(counter, arguments.tile)
        print(count_video(arguments.video, output, look, counter.preprocessing))
    else:
        where = (arguments.data_dir, arguments.split, arguments.workers, arguments.tile)
        count_set(counter, CountedSet(*where), arguments, output)


if __name__ == "__main__":
    main()
