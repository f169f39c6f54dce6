"""Pictures of a GST run: fitted Gaussians, the kernel, predictions and the training curve."""

from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image, ImageOps

from crowd.count.evaluation import PhotoCount
from crowd.data.images import read_image
from crowd.data.network_input import photo_tensor, read_photo
from crowd.data.processed import read_annotation, split_photos
from crowd.io.progress import progress
from crowd.pictures import drawing as pictures
from crowd.pictures.drawing import faded
from crowd.pictures.overlays import density_overlay, gaussians_overlay, heads_overlay
from crowd.train.checkpoints import load_checkpoint
from crowd.train.runs import read_log
from GS2D import rasterize
from GS2D.store import gaussians_path, read_gaussians
from gst import transport_kernel
from gst.counter import Counter, density_of, load_counter
from mgot.evaluation import load_counter as load_fidt_counter
from mgot.evaluation import peak_centers, predict_map
from mgot.models import MODELS as FIDT_MODELS

OVERVIEW_SIDE = 256  # pixels
CELL = np.ones((8, 8, 1))
SHEET_SIZE, SHEET_COLUMNS = (160, 120), 5  # of one half, pixels
SHEET_WIDTH, EXTREMES = 240, 10  # pixels; photos counted worst, and best


def draw_gst(processed: Path, run: Path, output: Path) -> list[Path]:
    """Draw pictures of a folder of train_gs.py into `output`, and return their paths.

    `processed` is the set that it was trained on, with Gaussians in `train/gs_params`.
    """
    names = ("gaussians.jpg", "kernel.jpg", "density.jpg", "training.png")
    drawn = [output / f"gst_{name}" for name in names]
    photo, seen = (busy_photo(split_photos(processed, split)) for split in ("train", "test"))
    draw_fit(drawn[0], photo)
    draw_kernel(drawn[1], photo)
    draw_count(drawn[2], seen, load_counter(run / "best.pth", torch.device("cpu")))
    log = read_log(run / "log.jsonl")
    pictures.draw_curve(drawn[3], log, ["transport", "val_mae", "val_rmse"], "Training")
    return drawn


def draw_fit(path: Path, photo: Path) -> None:
    """Draw the fitted Gaussians of a photo, as ellipses and as they render."""
    image, gaussians, render = _fit(photo)
    panels = {
        "photo": image,
        f"{len(gaussians[0])} Gaussians, 1σ and 2σ": gaussians_overlay(faded(image), *gaussians),
        "render": render,
    }
    pictures.contact_sheet(path, list(panels.values()), list(panels), columns=3)


def draw_fit_sheet(path: Path, photos: list[Path]) -> None:
    """Draw many photos, each beside what its Gaussians render to, with the number of heads.

    Of each, the largest part around its middle that has the sheet's aspect.
    """
    sheet, captions = [], []
    for photo in progress(photos, "drawing", "photo"):
        image, (means, *_), render = _fit(photo)
        whole = (Image.fromarray(one) for one in (image, render))
        halves = [ImageOps.fit(one, SHEET_SIZE, Image.Resampling.BOX) for one in whole]
        sheet.append(np.concatenate(halves, axis=1))
        captions.append(f"{photo.stem}: {len(means)}")
    pictures.contact_sheet(path, sheet, captions, columns=SHEET_COLUMNS)


def draw_extremes(path: Path, counts: list[PhotoCount], folder: Path, counter: Counter) -> None:
    """Draw the photos of a test that were counted worst, and below them those counted best.

    They lie in `folder`; the counter's density is drawn over them.
    """
    ranked = sorted(counts, key=lambda one: (abs(one.predicted - one.actual), -one.actual))
    chosen = dict.fromkeys([*reversed(ranked[-EXTREMES:]), *ranked[:EXTREMES]])
    sheet, captions = [], []
    for one in progress(chosen, "drawing", "photo"):
        image = read_photo(folder / one.name, counter.preprocessing)
        drawn = density_overlay(faded(image), density_of(counter, image, one.name)[1])
        height = round(SHEET_WIDTH * image.shape[0] / image.shape[1])
        sheet.append(cv2.resize(drawn, (SHEET_WIDTH, height), interpolation=cv2.INTER_AREA))
        captions.append(f"{Path(one.name).stem}: {one.predicted:.0f} of {one.actual}")
    pictures.contact_sheet(path, sheet, captions, columns=SHEET_COLUMNS)


def draw_predictions(path: Path, photo: Path, counters: dict[str, Counter]) -> None:
    """Draw a processed photo's annotated heads, and what counters of either method see, captioned.

    That is a density, or a FIDT map with the heads found.
    """
    heads = read_annotation(photo)
    panels = {
        f"{len(heads)} annotated heads": heads_overlay(faded(read_image(photo)), heads[:, :2])
    }
    for caption, counter in counters.items():
        image = read_photo(photo, counter.preprocessing)
        if counter.name in FIDT_MODELS:
            fidt_map = predict_map(counter.model, photo_tensor(image, counter.preprocessing))
            found = peak_centers(fidt_map, photo.name, counter.preprocessing.smooth)
            drawn = density_overlay(faded(image), fidt_map.numpy(), 1, found)
            panels[f"{caption}: {len(found)}"] = drawn
        else:
            count, density = density_of(counter, image, photo.name)
            panels[f"{caption}: {count:.1f}"] = density_overlay(faded(image), density)
    pictures.contact_sheet(path, list(panels.values()), list(panels), columns=len(panels))


def load_any(path: Path) -> Counter:
    """Load a counter of either method from a run folder's `best.pth`, or from a checkpoint."""
    path = path if path.is_file() else path / "best.pth"
    name = (load_checkpoint(path).get("recipe") or {}).get("model_name")
    load = load_fidt_counter if name in FIDT_MODELS else load_counter
    return load(path, torch.device("cpu"))


def _fit(photo: Path) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """A photo, its means, scales, rotations and colours, and what these render to, uint8."""
    image = read_image(photo)
    params = read_gaussians(gaussians_path(photo))
    gaussians = [params[:, :2], params[:, 2:4], params[:, 4], params[:, 5:]]
    render = rasterize(*gaussians, image.shape[1], image.shape[0])[0]
    return image, gaussians, (255 * render.clip(0, 1)).round().astype(np.uint8)


def draw_kernel(path: Path, photo: Path) -> None:
    """Draw which head each cell of a photo's densest square sends its density to."""
    crop, _, points, kernel = _densest(photo)
    captions = ["heads", f"kernel of {len(points)} annotations"]
    pictures.contact_sheet(path, [heads_overlay(crop, points), kernel], captions, columns=2)


def draw_overview(path: Path, photo: Path, counter: Counter) -> None:
    """Draw GST in one row: heads, fitted Gaussians, transport kernel, predicted density.

    All of the densest square of a photo of a processed set, which the counter sees alone.
    """
    crop, render, points, kernel = _densest(photo)
    count, density = density_of(counter, crop, photo.name)
    panels = {
        f"{len(points)} annotated heads": heads_overlay(crop, points),
        "fitted Gaussians": render,
        "transport kernel": kernel,
        f"density: {count:.1f}": density_overlay(faded(crop), density),
    }
    pictures.contact_sheet(path, list(panels.values()), list(panels), columns=len(panels))


def _densest(photo: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A photo's densest square: the photo, the render, its heads, the kernel's colours over it."""
    image, (means, scales, rotations, _), render = _fit(photo)
    size = min(OVERVIEW_SIDE, *(side // 8 * 8 for side in image.shape[:2]))
    origin = _densest_crop(means, image.shape[:2], size)
    points = means - origin
    inside = ((points >= 0) & (points < size)).all(axis=1)
    kernel = transport_kernel(points[inside], scales[inside], rotations[inside], size).numpy()
    rows, columns = (slice(start, start + size) for start in origin[::-1])
    crop = image[rows, columns]
    colours = np.kron(pictures.kernel_colours(kernel[:-1].reshape(-1, size // 8, size // 8)), CELL)
    opacity = colours[..., 3:]
    blend = (faded(crop) * (1 - opacity) + 255 * colours[..., :3] * opacity).round()
    return crop, render[rows, columns], points[inside], blend.astype(np.uint8)


def draw_count(path: Path, photo: Path, counter: Counter) -> None:
    """Draw the predicted density over a photo with both counts."""
    image = read_photo(photo, counter.preprocessing)
    count, density = density_of(counter, image, photo.name)
    drawn = density_overlay(faded(image), density)
    captions = ["photo", f"predicted {count:.1f}, annotated {len(read_annotation(photo))}"]
    pictures.contact_sheet(path, [image, drawn], captions, columns=2)


def busy_photo(photos: list[Path]) -> Path:
    """Pick the photo with more heads than three quarters of the others."""
    counts = [len(read_annotation(photo)) for photo in photos]
    return photos[int(np.argsort(counts)[len(photos) * 3 // 4])]


def _densest_crop(points: np.ndarray, shape: tuple[int, int], size: int) -> tuple[int, int]:
    """Corner (x, y), multiples of 8, of the square of `size` that holds most points."""
    rows, columns = (range(0, side - size + 1, 32) for side in shape)

    def heads(corner: tuple[int, int]) -> int:
        return ((points >= corner) & (points < np.add(corner, size))).all(axis=1).sum()

    return max(((x, y) for y in rows for x in columns), key=heads)
