"""The page's server: photos are counted as `--image` counts them, and stay in memory."""

import contextlib
import io
import itertools
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from crowd.count.photos import (
    COUNT_COLUMNS,
    POINT_COLUMNS,
    Annotate,
    Seen,
    fitting_size,
    point_rows,
    report,
)
from crowd.count.region import CELL, region_of
from crowd.data.images import read_orientation, read_size
from crowd.data.layouts.points import stored_points, upright_size
from crowd.data.network_input import Preprocessing, read_photo
from crowd.data.processed import list_split, read_annotation
from crowd.io.errors import InputError, extra
from crowd.io.files import csv_text
from crowd.pictures.overlays import density_colours, picture_url

with extra("page", "the page"):
    from flask import Flask, jsonify, request
    from werkzeug.exceptions import HTTPException, RequestEntityTooLarge
    from werkzeug.serving import make_server

HOST = "127.0.0.1"
LIMIT = 64  # MB of a photo that is sent
KEPT = 4  # photos that a region can still be drawn in


class Upload(NamedTuple):
    """A photo in memory, as a browser sends it, which is read as those on the disk are."""

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name

    @property
    def suffix(self) -> str:
        """Ending of the name."""
        return Path(self.name).suffix

    def open(self, _mode: str) -> io.BytesIO:
        """Open the content, as `Path.open` does."""
        return io.BytesIO(self.content)


Layers = Callable[[Path], dict | None]
"""From a processed photo to `gaussians` [N, 5] (x, y, s0, s1, theta; pixels of the photo), and
`kernel`, the colours uint8 [h, w, 4] of its cells; None where it has none."""


class Desk:
    """Counts photos one at a time, and keeps the last few in memory for regions in them."""

    def __init__(self, annotate: Annotate, how: Preprocessing):
        self.annotate, self.how = annotate, how
        self.lock, self.numbers = threading.RLock(), itertools.count(1)
        # Of each photo also the stored (width, height), and the orientation of EXIF.
        self.kept: dict[int, tuple[Seen, tuple[int, int], int]] = {}

    def count(self, photo: Path | Upload) -> dict:
        """Count a photo: what the page shows of it, places in pixels of the picture it shows."""
        name = Path(str(photo)).name
        with self.lock:
            start = time.perf_counter()
            stored = fitting_size(photo, self.how)
            image = read_photo(photo, self.how)
            seen = self.annotate(image, name)
            seconds = time.perf_counter() - start
            number, orientation = next(self.numbers), read_orientation(photo)
            self.kept[number] = seen, stored, orientation
            self.kept.pop(number - KEPT, None)
        counted = report(seen, None, stored, orientation)
        return {
            "number": number,
            "name": name,
            "stored": stored,
            "count": seen.count,
            "seconds": seconds,
            "heads": seen.heads.tolist(),
            "csv": csv_text(POINT_COLUMNS, point_rows(name, counted.heads, counted.confidence)),
            "picture": picture_url(Image.fromarray(image), "JPEG", quality=90),
            "density": None if seen.density is None else density_url(seen.density),
            "cell": CELL,
        }

    def inside(self, wanted: dict) -> dict:
        """Count in a `polygon` [[x, y], …] of the picture of photo `number`, of `area_m2` or null.

        Raises `InputError` for what is no polygon, and for a photo that was too long ago.
        """
        number = wanted.get("number")
        kept = self.kept.get(number) if isinstance(number, float) else None
        if kept is None:
            raise InputError("this photo is no longer in memory: open it again")
        seen, stored, orientation = kept
        upright = upright_size(stored, orientation)
        try:
            corners = np.array(wanted["polygon"], np.float64).reshape(-1, 2)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError("a region is a list of corners [x, y]: draw it again") from error
        corners = (corners * np.divide(upright, seen.picture.shape[1::-1])).clip(0, upright)
        polygon = stored_points(corners, orientation, *upright).tolist()
        region = {"polygons": [polygon], "area_m2": wanted.get("area_m2")}
        region = region_of(region, Path("the region"))
        counts = report(seen, region, stored, orientation).counts
        return dict(zip(COUNT_COLUMNS, counts, strict=False))


def density_url(density: np.ndarray) -> str:
    """Return the colours of a density map, a pixel a cell, as a data URL."""
    colours = density_colours(density / max(float(density.max(initial=0)), 1e-12))
    return picture_url(Image.fromarray(colours), "PNG")


def build_app(
    desk: Desk, about: str, data_dir: str | None = None, layers: Layers | None = None
) -> Flask:
    """Build the page's application, which says `about` of the counter.

    The photos of a processed set `data_dir`, with their `layers`, can be chosen; raises
    `InputError` where it is none.
    """
    app = Flask(__name__, static_folder=None)
    app.config.update(MAX_CONTENT_LENGTH=LIMIT * 10**6, TRUSTED_HOSTS=[HOST, "localhost"])
    app.json.sort_keys = False
    splits = {} if data_dir is None else processed_photos(data_dir)

    @app.get("/")
    def page():
        return resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")

    @app.get("/about")
    def say():
        return jsonify(about=about, limit=LIMIT, photos={k: list(v) for k, v in splits.items()})

    @app.post("/count")
    def count():
        # The body itself: parts of a form would be written to the disk.
        return jsonify(desk.count(Upload(request.args.get("name", "photo"), request.get_data())))

    @app.get("/processed/<split>/<name>")
    def processed(split: str, name: str):
        photo = splits.get(split, {}).get(name)
        if photo is None:
            raise InputError(f"{split}/{name} is no photo of {data_dir}: choose another")
        with desk.lock:  # to read a photo sets a limit for all threads
            return jsonify(desk.count(photo) | _drawn(photo, layers))

    @app.post("/region")
    def region():
        try:
            wanted = json.loads(request.get_data(), parse_int=float)
        except (ValueError, RecursionError) as error:
            raise InputError("the region is no JSON: draw it again") from error
        return jsonify(desk.inside(wanted if isinstance(wanted, dict) else {}))

    @app.errorhandler(InputError)
    def wrong(error: InputError):
        return jsonify(error=str(error)), 400

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException):
        large = isinstance(error, RequestEntityTooLarge)
        why = f"the photo has more than {LIMIT} MB: scale it down" if large else error.description
        return jsonify(error=why), error.code

    return app


def processed_photos(data_dir: str) -> dict[str, dict[str, Path]]:
    """Photos of a processed set by split and name; raise `InputError` where it has no split."""
    splits = {
        split: {path.name: path for path in list_split(data_dir, split)}
        for split in ("train", "val", "test")
        if (Path(data_dir) / split).is_dir()
    }
    if not splits:
        raise InputError(f"{data_dir} has no train, val or test: name a processed set")
    return splits


def _drawn(photo: Path, layers: Layers | None) -> dict:
    """What is drawn of a processed photo beside its count."""
    found = {"of": read_size(photo)}
    if photo.with_suffix(".npy").is_file():
        found["annotated"] = len(read_annotation(photo))
    drawn = layers(photo) if layers else None
    if drawn:
        found["gaussians"] = drawn["gaussians"].tolist()
        found["kernel"] = picture_url(Image.fromarray(drawn["kernel"]), "PNG")
    return found


def serve(app: Flask, port: int) -> None:
    """Serve the page to this machine alone, until interrupted; print its address first.

    Raises `InputError` when the port is taken.
    """
    try:
        listening = socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        raise InputError(
            f"port {port} cannot be used ({error}): choose another with --port, or 0 for any"
        ) from error
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server(HOST, port, app, threaded=True, fd=listening.fileno())
    print(f"http://{HOST}:{listening.getsockname()[1]}  (Ctrl-C ends it)", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.serve_forever()
