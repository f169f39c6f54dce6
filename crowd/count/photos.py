"""Counting a photo, the photos of a folder, or the frames of a video, with any counter."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from crowd.data.images import list_folder, read_orientation, read_size, say_left_out
from crowd.data.layouts.points import stored_points, upright_size
from crowd.data.network_input import Preprocessing, read_photo
from crowd.data.resize import resize_photo
from crowd.io.errors import InputError
from crowd.io.files import atomic_path, require_file, write_text
from crowd.io.progress import progress
from crowd.pictures.small_files import write_picture


class Seen(NamedTuple):
    """What a counter sees in a photo.

    Attributes:
        count: of people.
        picture: the photo with count and heads drawn in, uint8 [H, W, 3].
        heads: places (x, y), float32 [M, 2], pixels of the photo; M may differ from the count.
        confidence: of each head, [M] in (0, 1].
    """

    count: float
    picture: np.ndarray
    heads: np.ndarray
    confidence: np.ndarray


Annotate = Callable[[np.ndarray, str], Seen]
"""From a photo uint8 [H, W, 3] and its name to what is seen in it."""

COUNTS, POINTS = "counts.csv", "points.csv"
POINT_COLUMNS = ("image", "x", "y", "confidence")
_FRAMES_A_SECOND = 25.0  # where a video does not say


def count_photo(
    path: str | os.PathLike, output: Path, annotate: Annotate, how: Preprocessing
) -> str:
    """Count a photo; write `NAME_points.csv` (image, x, y, confidence) and `NAME_counted.jpg`.

    Points are in pixels of the photo as it is stored. Arguments as for `count_folder`; returns a
    sentence with the count and the files.
    """
    path = Path(path)
    seen, rows = _see(path, path.name, annotate, how)
    picture = output / f"{path.stem}_counted.jpg"
    write_picture(picture, seen.picture)
    points = write_table(output / f"{path.stem}_{POINTS}", POINT_COLUMNS, rows)
    return f"{seen.count:.1f} people in {path}; places of {len(rows)}: {points}; picture: {picture}"


def _see(path: Path, name: str, annotate: Annotate, how: Preprocessing) -> tuple[Seen, list[tuple]]:
    """Look at a photo; rows of its heads in pixels of the photo as it is stored."""
    image = read_photo(path, how)
    seen = annotate(image, str(path))
    orientation = read_orientation(path)
    upright = upright_size(read_size(path), orientation)
    heads = seen.heads * np.divide(upright, image.shape[1::-1])
    heads = stored_points(heads, orientation, *upright)
    return seen, point_rows(name, heads, seen.confidence)


def point_rows(name: object, heads: np.ndarray, confidence: np.ndarray) -> list[tuple]:
    """Rows of a table of points, one a head."""
    return [
        (name, f"{x:.2f}", f"{y:.2f}", f"{sure:.3f}")
        for (x, y), sure in zip(heads.tolist(), confidence.tolist(), strict=True)
    ]


def count_folder(
    folder: str | os.PathLike,
    output: Path,
    annotate: Annotate,
    how: Preprocessing,
    recursive: bool = False,
) -> Path:
    """Count every photo of a folder; write `counts.csv` (name, count), points and pictures.

    `points.csv` and `NAME_counted.jpg` are as `count_photo` writes them. What is left out of the
    folder is counted and named in a note.

    Args:
        folder: with the photos.
        output: folder to write to, another one.
        annotate: counts and draws.
        how: photos are brought to the network's size.
        recursive: take those in its subfolders too, named by their path in `folder`.

    Returns:
        The path of `counts.csv`, which is written last.

    Raises:
        InputError: no such folder, no photos in it, two of one name, or one that is unreadable.
    """
    folder = Path(folder)
    paths = _photos_of(folder, output, recursive)
    if not paths:
        raise InputError(f"{folder} holds no photos that are read: name a folder that does")
    if folder.resolve() == output.resolve():
        raise InputError(f"{output} is the folder of the photos: choose another --output")
    names = {path.with_suffix("") for path in paths}
    if len(names) < len(paths):
        raise InputError(f"two photos in {folder} share a name: rename one")
    rows, points = [], []
    for path in progress(paths, "counting", "photo"):
        name = path.relative_to(folder)
        seen, heads = _see(path, name.as_posix(), annotate, how)
        write_picture(output / name.parent / f"{name.stem}_counted.jpg", seen.picture)
        rows.append((name.as_posix(), f"{seen.count:.4f}"))
        points += heads
    write_table(output / POINTS, POINT_COLUMNS, points)
    return write_table(output / COUNTS, ("name", "count"), rows)


def _photos_of(folder: Path, output: Path, recursive: bool) -> list[Path]:
    """Photos of a folder, and of those in it if wanted, but not the output's; notes all others."""
    photos, files, folders = list_folder(folder)
    # Neither what was counted before nor, by a link, a folder around this one.
    apart = (output.resolve(), *folder.resolve().parents, folder.resolve())
    folders = [path for path in folders if path.resolve() not in apart]
    if recursive:
        say_left_out(folder, files)
        return photos + [photo for path in folders for photo in _photos_of(path, output, True)]
    say_left_out(folder, files + folders, "add --recursive for folders" if folders else "")
    return photos


def count_video(
    video: str | os.PathLike, output: Path, annotate: Annotate, how: Preprocessing
) -> Path:
    """Count every frame; write `NAME_counts.csv` (frame, seconds, count) and `NAME_counted.mp4`.

    `NAME_points.csv` (frame, x, y, confidence) holds the heads, in pixels of the frame.

    Args:
        video: file that OpenCV's FFmpeg reads.
        output: folder to write to.
        annotate: counts and draws.
        how: frames are brought to the network's size.

    Returns:
        The path of the CSV file, which is written last.

    Raises:
        InputError: no such file, none that holds frames, or the disk is full.
    """
    video = require_file(video, "check the path of the video")
    capture = _open(video)
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = rate if 0 < rate < 1000 else _FRAMES_A_SECOND
    announced = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
    rows: list[tuple] = []
    points: list[tuple] = []

    def counted() -> Iterator[np.ndarray]:
        for number, frame in enumerate(
            progress(_frames(capture), "counting", "frame", total=announced)
        ):
            bounds = (how.min_size, how.max_size, how.interpolation, how.bounded)
            resized = resize_photo(frame, *bounds)
            seen = annotate(resized, f"frame {number} of {video}")
            rows.append((number, f"{number / rate:.3f}", f"{seen.count:.4f}"))
            heads = seen.heads * np.divide(frame.shape[1::-1], resized.shape[1::-1])
            points.extend(point_rows(number, heads, seen.confidence))
            yield seen.picture

    with atomic_path(output / f"{video.stem}_counted.mp4") as part:
        _write_video(part, counted(), rate)
        if not rows:
            raise InputError(f"{video} holds no frame that can be read: convert it to MP4")
    write_table(output / f"{video.stem}_{POINTS}", ("frame", *POINT_COLUMNS[1:]), points)
    return write_table(output / f"{video.stem}_{COUNTS}", ("frame", "seconds", "count"), rows)


def _open(video: Path) -> cv2.VideoCapture:
    # FFmpeg would print what it thinks of a file, and follow a playlist into the network.
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "protocol_whitelist;file"
    capture = cv2.VideoCapture(str(video), cv2.CAP_FFMPEG)
    if not capture.isOpened() or capture.get(cv2.CAP_PROP_FRAME_WIDTH) < 1:
        raise InputError(f"{video} is damaged or no video: convert it to MP4")
    # FFmpeg's name of grey with more than 8 bits, of which OpenCV keeps the upper 8.
    pixels = int(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)).to_bytes(4, "little")
    if pixels[:3] == b"Y1\0" and pixels[3] > 8:
        raise InputError(
            f"{video} is grey video of {pixels[3]} bits, which may turn black: save its frames as "
            "pictures of 16 bits, and count them with --folder and --depth"
        )
    return capture


def _frames(capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    while True:
        there, frame = capture.read()
        if not there:
            return
        yield np.ascontiguousarray(frame[..., ::-1])


def _write_video(part: Path, frames: Iterator[np.ndarray], rate: float) -> None:
    """Write frames, all of one size; raises OSError when not all of them arrived on the disk."""
    writer, written = None, 0
    for frame in frames:
        if writer is None:
            size = frame.shape[1::-1]
            writer = cv2.VideoWriter(str(part), cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
        written += 1
    if writer is not None:
        writer.release()
        # OpenCV says nothing of a full disk.
        found = cv2.VideoCapture(str(part), cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT)
        if found != written:
            raise OSError(f"{found:g} of {written} frames arrived on the disk")


def write_table(path: Path, names: Sequence[str], rows: Sequence[tuple]) -> Path:
    """Write a CSV file whole or not at all; return its path."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(names)
    table.writerows(rows)
    write_text(path, text.getvalue())
    return path
