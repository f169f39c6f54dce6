"""Counting the frames of a video, with any counter."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from crowd.count.evaluation import write_table
from crowd.count.photos import (
    COUNT_COLUMNS,
    COUNTS,
    POINT_COLUMNS,
    POINTS,
    Annotate,
    point_rows,
    report,
)
from crowd.count.region import Region
from crowd.data.network_input import Preprocessing
from crowd.io.errors import InputError, extra
from crowd.io.files import atomic_path, csv_text, require_file, write_text
from crowd.io.progress import note, progress

with extra("commands", "counting videos"):
    import cv2

_LARGEST = 8191  # side of a frame of MPEG-4, pixels


def count_video(
    video: str | os.PathLike,
    output: Path,
    annotate: Annotate,
    how: Preprocessing,
    region: Region | None = None,
) -> Path:
    """Count every frame; write `NAME_counts.csv` (frame, seconds, count) and `NAME_counted.mp4`.

    `NAME_points.csv` (frame, x, y, confidence) holds the heads, in pixels of the frame. A region
    adds to both as in `count_folder`.

    Arguments as there, for a file that OpenCV's FFmpeg reads; a note says when it ends early.
    Returns the path of the table, which is written last. Raises `InputError` for a file that is
    none or holds no frames, a region that does not fit, and a full disk.
    """
    video = require_file(video, "check the path of the video")
    capture = _open(video)
    rate = capture.get(cv2.CAP_PROP_FPS)
    rate = rate if 0 < rate < 1000 else 25.0  # where a video does not say
    announced = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0) or None
    rows: list[tuple] = []
    points: list[tuple] = []

    def counted() -> Iterator[np.ndarray]:
        seconds = -1 / rate
        frames = progress(iter(capture.read, (False, None)), "counting", "frame", total=announced)
        for number, (_, frame) in enumerate(frames):
            # Phones film at a rate that varies; some files do not say when a frame is shown.
            shown = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            seconds = shown if shown > max(seconds, 0) else seconds + 1 / rate
            size, what = frame.shape[1::-1], f"frame {number} of {video}"
            if region is not None:
                region.require_fit(*size, what)
            seen = annotate(how.resize(np.ascontiguousarray(frame[..., ::-1])), what)
            one = report(seen, region, size)
            rows.append((number, f"{seconds:.3f}", *one.columns()))
            points.extend(point_rows(number, one.heads, one.confidence))
            yield one.picture

    with atomic_path(output / f"{video.stem}_counted.mp4") as part:
        _write_video(part, counted(), rate, video)
        if not rows:
            raise InputError(f"{video} holds no frame that can be read: convert it to MP4")
    if announced and len(rows) < announced:
        note(
            f"{video} holds {len(rows)} of the {announced} frames that it announces: the counts "
            "end there; copy it again if it was cut short"
        )
    table = csv_text(("frame", *POINT_COLUMNS[1:]), points)
    write_text(output / f"{video.stem}_{POINTS}", table)
    names = ("frame", "seconds", *COUNT_COLUMNS)[: len(rows[0])]
    return write_table(output / f"{video.stem}_{COUNTS}", names, rows)


def _open(video: Path) -> cv2.VideoCapture:
    # FFmpeg would print what it thinks of a file, and follow a playlist into the network.
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "protocol_whitelist;file"
    # Whole, or what stands before a colon in a name would be a protocol.
    capture = cv2.VideoCapture(os.path.abspath(video), cv2.CAP_FFMPEG)
    if not capture.isOpened() or capture.get(cv2.CAP_PROP_FRAME_WIDTH) < 1:
        raise InputError(f"{video} is damaged or no video: convert it to MP4")
    # FFmpeg's name of grey with more than 8 bits, of which OpenCV keeps the upper 8.
    pixels = int(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)) & 0xFFFFFFFF  # or -1, of no frame
    pixels = pixels.to_bytes(4, "little")
    if pixels[:3] == b"Y1\0" and pixels[3] > 8:
        raise InputError(
            f"{video} is grey video of {pixels[3]} bits, which may turn black: save its frames as "
            "pictures of 16 bits, and count them with --folder and --depth"
        )
    return capture


def _write_video(part: Path, frames: Iterator[np.ndarray], rate: float, video: Path) -> None:
    """Write frames of `video`, all of one size; raises OSError when not all arrived on the disk.

    Raises `InputError` at the first frame when it is larger than MPEG-4 takes.
    """
    writer, written, part = None, 0, os.path.abspath(part)
    for frame in frames:
        if writer is None:
            size = frame.shape[1::-1]
            # Of MPEG-4 no second has more than 65535 parts.
            rate = round(rate, 3 if rate < 65 else 1)
            writer = _open_writer(part, rate, size, video)
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
        written += 1
    if writer is not None:
        writer.release()
        # OpenCV says nothing of a full disk.
        found = cv2.VideoCapture(part, cv2.CAP_FFMPEG).get(cv2.CAP_PROP_FRAME_COUNT)
        if found != written:
            raise OSError(f"{found:g} of {written} frames arrived on the disk")


def _open_writer(part: str, rate: float, size: tuple[int, int], video: Path) -> cv2.VideoWriter:
    # It would print where in its sources it failed.
    level = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    writer = cv2.VideoWriter(part, cv2.VideoWriter_fourcc(*"mp4v"), rate, size)
    cv2.utils.logging.setLogLevel(level)
    width, height = size
    if not writer.isOpened() and max(size) > _LARGEST:
        raise InputError(
            f"{video} is counted in frames of {width} × {height} pixels, too large for MPEG-4: "
            "crop it, or save its frames as pictures, and count them with --folder"
        )
    if not writer.isOpened():
        raise OSError("its first bytes did not arrive on the disk")
    return writer
