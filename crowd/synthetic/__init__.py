"""Synthetic crowds with exact head centres: `python -m crowd.synthetic --root …`.

Photos to learn from, test with and show when no licence allows a real one.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

from crowd.data.images import write_image
from crowd.data.layouts.beside import annotation_path
from crowd.data.layouts.registry import layout_of
from crowd.io.errors import InputError
from crowd.io.files import read_yaml, write_text
from crowd.io.progress import progress
from crowd.synthetic.domains import DOMAINS

RECORD = "synthetic.json"
_SMALLEST_SIDE = 64
# Layout -> a photo's name in the data set's folder, by split and number from 1.
_PHOTOS = {
    "qnrf": lambda split, number: f"{split.capitalize()}/img_{number:04d}.jpg",
    "sht": lambda split, number: f"{split}_data/images/IMG_{number}.jpg",
}
LAYOUTS = tuple(_PHOTOS)


def make_dataset(
    root: str | os.PathLike,
    layout: str,
    images: int,
    seed: int,
    domain: str,
    *,
    test_images: int | None = None,
    size: tuple[int, int] = (680, 512),
) -> None:
    """Write a data set of synthetic crowds with exact head centres.

    A photo depends on seed, domain, split, number and size alone: a larger set holds the smaller
    one. What an interrupted call left is kept, and a second call writes nothing.

    Args:
        root: Folder of the data set.
        layout: "qnrf" (Train/, Test/) or "sht" (train_data/, test_data/).
        images: Number of training photos.
        seed: Seed of all photos, at least 0.
        domain: "a" (daylight street) or "b" (dusk, crowded, hazy).
        test_images: Number of test photos; by default half of `images`, rounded up.
        size: Width and height of the photos.

    Raises:
        InputError: layout or domain unknown, a number out of range, the folder not writable, or
            holding other data.
    """
    from crowd.synthetic.scene import render_scene  # which brings OpenCV

    for what, name, known in (("domain", domain, DOMAINS), ("layout", layout, LAYOUTS)):
        if name not in known:
            raise InputError(f"unknown {what} '{name}': choose one of {', '.join(known)}")
    test_images = (images + 1) // 2 if test_images is None else test_images
    if min(images, test_images, seed) < 0:
        raise InputError("a number of photos or the seed is negative: ask for 0 or more")
    if min(size) < _SMALLEST_SIDE:
        raise InputError(
            f"photos of {size[0]} × {size[1]} pixels are too small: {_SMALLEST_SIDE} or more a side"
        )
    root = Path(root)
    counts = {"train": images, "test": test_images}
    settings = {"layout": layout, "domain": domain, "seed": seed, "size": list(size)}
    photos = {
        (split, index): root / _PHOTOS[layout](split, index + 1)
        for split, count in counts.items()
        for index in range(count)
    }
    _claim(root, settings, photos.values())
    for (split, index), photo in progress(
        photos.items(), f"{root.name} (domain {domain})", "photo"
    ):
        annotation = annotation_path(photo, layout)
        # The annotation is written last, so it stands for both.
        if photo.exists() and annotation.exists():
            continue
        scene = render_scene(seed, domain, index, split, size)
        write_image(photo, scene.image, quality=92)
        layout_of(layout).format.write(annotation, scene.points)


def _claim(root: Path, settings: dict, photos: Iterable[Path]) -> None:
    """Make `root` ours: refuse to mix with other photos, then record what is being written."""
    record, photos = root / RECORD, set(photos)
    found = read_yaml(record, f"remove {root} and run again") if record.exists() else None
    if found not in (None, settings):
        raise InputError(f"{root} holds another synthetic set ({found}): choose another folder")
    others = sorted(set(root.rglob("[!.]*.jpg")) - (photos if found else set()))
    if others:
        what = "more photos than were asked for" if found else "photos that are not synthetic"
        raise InputError(f"{root} holds {what} ({others[0].name}): choose another folder")
    if found is None:
        write_text(record, json.dumps(settings) + "\n")
