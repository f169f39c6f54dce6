"""GST 4: test a counter on a processed set, or count the people in photos or a video.

python test.py --save-path runs/gst_qnrf_vgg/best.pth --data-dir data/qnrf_processed
python test.py --save-path runs/gst_qnrf_vgg/best.pth --image photo.jpg
python test.py --save-path runs/gst_qnrf_vgg/best.pth --folder photos --output counted
python test.py --save-path runs/gst_qnrf_vgg/best.pth --video street.mp4
"""

from __future__ import annotations

from pathlib import Path

from crowd.count.counter import with_depth
from crowd.count.evaluation import errors_of, errors_table, guessing_errors, write_results
from crowd.count.photos import count_folder, count_video
from crowd.data.depth import HELP as DEPTH_HELP
from crowd.data.depth import depth_option
from crowd.data.network_input import read_photo
from crowd.data.processed import median_count
from crowd.io.config import YES_NO, ArgumentParser
from crowd.io.errors import InputError, command
from crowd.pictures.drawing import draw_density
from crowd.train.devices import pick_device
from crowd.train.loading import CountedPhotos, photo_loader
from gst.counter import Counter, load_counter
from gst.counting import annotator, density_of
from gst.evaluation import evaluate
from gst.models import MODELS
from gst.photos import require_same
from gst.placement import Placement

SOURCES = ("data_dir", "image", "folder", "video")


def build_parser() -> ArgumentParser:
    """Arguments; exactly one of `SOURCES`."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--save-path", type=str, required=True, help="checkpoint: best.pth, last.pth or weights")
    add("--data-dir", type=str, help="processed set with a folder per split")
    add("--split", choices=("train", "val", "test"), default="test")
    add("--image", type=str, help="count the people in this photo instead")
    add("--folder", type=str, help="count every photo of this folder instead")
    add("--video", type=str, help="count every frame of this video instead")
    add("--output", type=str, help="folder of the results (default: beside the checkpoint)")
    add("--recursive", action=YES_NO, help="count the photos in subfolders of --folder too")
    add("--depth", type=depth_option, help=f"{DEPTH_HELP} (default: as in the training)")
    add("--device", type=str, default="auto", help="a GPU's number, cpu or auto")
    add("--model-name", choices=tuple(MODELS), help="for weights that do not say which model")
    return parser


def count_image(counter: Counter, path: str, output: Path) -> None:
    """Print the count of one photo and draw the density map over it."""
    image = read_photo(path, counter.preprocessing)
    count, density = density_of(counter, image, path)
    picture = output / f"{Path(path).stem}_density.jpg"
    draw_density(picture, image, density, count)
    print(f"{count:.1f} people in {path}; density map: {picture}")


def count_set(counter: Counter, data_dir: str, split: str, output: Path) -> None:
    """Print and write the errors on a split, beside those of guessing the training median."""
    if counter.from_training:
        require_same(data_dir, counter.preprocessing)
    photos = CountedPhotos(data_dir, split, counter.preprocessing)
    loader, placement = photo_loader(photos, 0), Placement(photos)
    counts = evaluate(counter.model, loader, counter.preprocessing.tile, split, placement.add)
    median = counter.train_median
    if median is None:
        median = median_count(data_dir, "train")
    errors = errors_of(counts)
    rows = {f"{counter.name}, {len(counts)} photos of {split}": errors}
    metrics = {"model": counter.name, "split": split, "photos": len(counts), **errors}
    if median is not None:
        guessing = guessing_errors(counts, median)
        rows[f"guessing {median:g}, the training median"] = guessing
        metrics["guessing"] = {"count": median, **guessing}
    shares = placement.shares()
    write_results(output, counts, {**metrics, "density_near_heads": shares})
    print(errors_table(rows))
    near = ", ".join(f"{share:.0%} within {radius}" for radius, share in shares.items())
    print(f"of the predicted density lies near a head: {near}")
    print(f"every photo's count: {output / 'predictions.csv'}")


@command
def main(argv: list[str] | None = None) -> None:
    """Count a split, a photo, a folder or a video."""
    arguments = build_parser().read(argv)
    if sum(arguments[source] is not None for source in SOURCES) != 1:
        raise InputError("name one of --data-dir (a processed set), --image, --folder and --video")
    device = pick_device(arguments.device)
    counter = load_counter(arguments.save_path, device, arguments.model_name)
    counter = with_depth(counter, arguments.depth)
    output = Path(arguments.output or Path(arguments.save_path).parent / arguments.split)
    if arguments.image is not None:
        count_image(counter, arguments.image, output)
    elif arguments.folder is not None:
        look, how = annotator(counter), counter.preprocessing
        print(count_folder(arguments.folder, output, look, how, arguments.recursive))
    elif arguments.video is not None:
        print(count_video(arguments.video, output, annotator(counter), counter.preprocessing))
    else:
        count_set(counter, arguments.data_dir, arguments.split, output)


if __name__ == "__main__":
    main()
