"""GST 4: test a counter on a processed set, or count the people in one photo.

python test.py --save-path runs/gst_qnrf_vgg/best.pth --data-dir data/qnrf_processed
python test.py --save-path runs/gst_qnrf_vgg/best.pth --image photo.jpg
"""

from __future__ import annotations

from pathlib import Path

import torch

from crowd.configuration import ArgumentParser
from crowd.devices import pick_device
from crowd.errors import InputError, command
from crowd.evaluation import errors_of, errors_table, guessing_errors, write_results
from crowd.loading import CountedPhotos, photo_loader
from crowd.photos import photo_tensor, read_photo
from crowd.pictures import draw_density
from crowd.processed import median_count
from gst.counter import Counter, load_counter
from gst.evaluation import evaluate, predict_density
from gst.models import MODELS


def build_parser() -> ArgumentParser:
    """Arguments; exactly one of `--data-dir` and `--image`."""
    parser = ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--save-path", type=str, required=True, help="checkpoint: best.pth, last.pth or weights")
    add("--data-dir", type=str, help="processed set with a folder per split")
    add("--split", choices=("train", "val", "test"), default="test")
    add("--image", type=str, help="count the people in this photo instead")
    add("--output", type=str, help="folder of the results (default: test/ beside the checkpoint)")
    add("--device", type=str, default="auto", help="a GPU's number, cpu or auto")
    add("--model-name", choices=tuple(MODELS), help="for weights that do not say which model")
    return parser


def count_image(counter: Counter, path: str, output: Path) -> None:
    """Print the count of one photo and draw the density map over it."""
    image = read_photo(path, counter.preprocessing)
    tensor = photo_tensor(image, counter.preprocessing)
    density = predict_density(counter.model, tensor, counter.preprocessing.tile)
    count = density.sum(dtype=torch.float64).item()
    picture = output / f"{Path(path).stem}_density.jpg"
    draw_density(picture, image, density.numpy(), count)
    print(f"{count:.1f} people in {path}; density map: {picture}")


def count_set(counter: Counter, data_dir: str, split: str, output: Path) -> None:
    """Print and write the errors on a split, beside those of guessing the training median."""
    photos = CountedPhotos(data_dir, split, counter.preprocessing)
    counts = evaluate(counter.model, photo_loader(photos, 0), counter.preprocessing.tile, split)
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
    write_results(output, counts, metrics)
    print(errors_table(rows))
    print(f"every photo's count: {output / 'predictions.csv'}")


@command
def main(argv: list[str] | None = None) -> None:
    """Count one photo, or a split."""
    arguments = build_parser().read(argv)
    if (arguments.image is None) == (arguments.data_dir is None):
        raise InputError("name either a processed set with --data-dir or a photo with --image")
    device = pick_device(arguments.device)
    counter = load_counter(arguments.save_path, device, arguments.model_name)
    output = Path(arguments.output or Path(arguments.save_path).parent / "test")
    if arguments.image is not None:
        count_image(counter, arguments.image, output)
    else:
        count_set(counter, arguments.data_dir, arguments.split, output)


if __name__ == "__main__":
    main()
