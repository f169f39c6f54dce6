"""CSV, text and XML files: your own points, makesense.ai, CVAT, JHU-Crowd++, YOLO.

Of every shape that is no point the centre of its box is a head.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from crowd.data.folders import IMAGE_SUFFIXES
from crowd.data.layouts.annotation import (
    REPLACE,
    Annotation,
    Format,
    Head,
    Heads,
    annotation_of,
    as_points,
    box_centre,
)
from crowd.io.errors import InputError
from crowd.io.files import csv_text, read_text, read_yaml, write_text

OWN_SHAPE = "the header is 'image,x,y', then a row a head ('NAME,,' for a photo without heads)"
COLUMNS = ("image", "x", "y")
MORE = "confidence"  # of the heads that a counter found


def header(rows) -> list[str]:
    """The names in the first row of what may be rows [(line, row), …]; empty for anything else."""
    first = rows[0] if isinstance(rows, list) and rows else None
    return [name.strip().lower() for name in first[1]] if isinstance(first, tuple) else []


def read_own(rows: list, path: Path) -> Iterator[Heads]:
    """Return the heads of every photo that the table names; refuse what may be corners of boxes."""
    names = header(rows)
    image, x, y = map(names.index, COLUMNS)
    known = [names.index(name) for name in (*COLUMNS, MORE) if name in names]
    others = [name for number, name in enumerate(names) if name and number not in known]
    if others:
        raise InputError(
            f"{path} has columns that are not read ({', '.join(others)}): keep image, x and y "
            "alone, with the middle of each head"
        )
    heads: dict[str, list[Head]] = {}
    for line, row in rows[1:]:
        try:
            name = row[image].strip()
            if not name or any(row[n].strip() for n in range(len(row)) if n not in known):
                raise ValueError(row)
            found = heads.setdefault(name, [])
            if row[x].strip() or row[y].strip():
                found.append(Head(float(row[x]), float(row[y])))
        except (ValueError, IndexError) as error:
            raise InputError(f"{path}, line {line} is not a head: {OWN_SHAPE}") from error
    yield from heads.items()


def own_text(photos: dict[str, np.ndarray]) -> str:
    """Return the text of a file of your own points."""
    rows = []
    for name, points in photos.items():
        rows += [(name, f"{x:.9g}", f"{y:.9g}") for x, y in points] or [(name, "", "")]
    return csv_text(COLUMNS, rows)


MAKESENSE_SHAPE = (
    "a row is 'label,x,y,image,width,height', or of a box 'label,x,y,w,h,image,width,height'"
)


def _is_makesense(rows) -> bool:
    """Whether the first row, or the one below a header, is a point or a box of makesense."""
    return bool(header(rows)) and any(_is_head(row) for _, row in rows[:2])


def _is_head(row: list[str]) -> bool:
    try:
        [float(value) for value in (*row[1:-3], *row[-2:])]
    except ValueError:
        return False
    return len(row) in (6, 8) and row[-3].strip().lower().endswith(IMAGE_SUFFIXES)


def read_makesense(rows: list, path: Path) -> Iterator[Heads]:
    """Return the heads of every photo that has any; others are not in the file."""
    heads: dict[str, list[Head]] = defaultdict(list)
    sizes: dict[str, tuple[float, float]] = {}
    for number, (line, row) in enumerate(rows):
        if number == 0 and not any(map(str.isdigit, "".join(row))):  # a header
            continue
        if not _is_head(row):
            raise InputError(f"{path}, line {line} is not a head: {MAKESENSE_SHAPE}")
        label, name = row[0], row[-3].strip()
        x, y, *box = map(float, row[1:-3])
        width, height = box or (0, 0)
        heads[name].append(Head(x + width / 2, y + height / 2, label, box=bool(box)))
        sizes[name] = float(row[-2]), float(row[-1])
    for name, found in heads.items():
        yield name, found, *sizes[name]


def read_cvat(root: Element, path: Path) -> Iterator[Heads]:
    """Return the heads of every image of CVAT for images 1.1."""
    if root.find("track") is not None:
        raise InputError(f"{path} is CVAT's export for video: export 'CVAT for images 1.1'")
    for image in root.iter("image"):
        heads = [*_cvat_heads(image, path)]
        yield image.attrib["name"], heads, image.get("width"), image.get("height")


def _cvat_heads(image: Element, path: Path) -> Iterator[Head]:
    for shape in image.iter():
        label = shape.get("label") or ""

        def numbers(*names: str, shape: Element = shape) -> list[float]:
            return [float(shape.attrib[name]) for name in names]

        if shape.get("outside") == "1":  # a point of a skeleton that is not in the photo
            continue
        if shape.get("points"):
            pairs = [map(float, pair.split(",")) for pair in shape.attrib["points"].split(";")]
            if shape.tag == "points":
                yield from (Head(x, y, label) for x, y in pairs)
            else:
                yield box_centre(*zip(*pairs, strict=True), label)
        elif shape.tag == "box":
            yield box_centre(numbers("xtl", "xbr"), numbers("ytl", "ybr"), label)
        elif shape.tag == "cuboid":
            corners = [f"{corner}{face}" for corner in ("tl", "bl", "tr", "br") for face in (1, 2)]
            xs, ys = (numbers(*(f"{axis}{corner}" for corner in corners)) for axis in "xy")
            yield box_centre(xs, ys, label)
        elif shape.tag == "ellipse":
            yield Head(*numbers("cx", "cy"), label, box=True)
        elif shape.tag == "mask":
            left, top, width, height = numbers("left", "top", "width", "height")
            yield Head(left + width / 2, top + height / 2, label, box=True)
        elif label and shape.tag not in ("tag", "skeleton"):  # of the photo; around its points
            name = f"the shape '{shape.tag}' of {image.get('name')}"
            raise InputError(f"{path} holds {name}, which is not read: draw a box or a point")


JHU_SHAPE = f"6 numbers 'x y w h occlusion blur': {REPLACE}"
YOLO_SHAPE = "a row is 'class x y width height' (a box) or 'class x y' (a point), in fractions"


def _rows(text: str, path: Path, read: Callable[[str], tuple], shape: str) -> Iterator[tuple]:
    """Yield what `read` makes of each line but blank ones; its `ValueError` is an `InputError`."""
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            if line.strip():
                yield read(line)
        except ValueError as error:
            raise InputError(f"{path}, line {number} is not {shape}") from error


def read_jhu(text: str, path: Path) -> Annotation:
    """Return the heads of JHU-Crowd++ and their boxes; an empty file is a photo without heads."""
    rows = _jhu_rows(text, path)
    return Annotation(as_points(rows[:, :2], path), heads=as_points(rows[:, 2:4], path))


def _jhu_rows(text: str, path: Path) -> np.ndarray:
    """Rows of x, y, box width, box height, occlusion, blur, float64 [N, 6]."""
    return np.array([*_rows(text, path, _jhu_row, JHU_SHAPE)]).reshape(-1, 6)


def _jhu_row(line: str) -> tuple[float, ...]:
    x, y, width, height, occlusion, blur = map(float, line.split())
    return x, y, width, height, occlusion, blur


def write_jhu(path: Path, points: np.ndarray, original: Path, keep, sizes: np.ndarray) -> None:
    """Write rows of JHU-Crowd++ with new points and sizes."""
    rows = _jhu_rows(read_text(original, REPLACE), original)[keep]
    rows[:, :4] = np.hstack([points, sizes[keep]])
    write_text(path, "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in rows))


def is_yolo(lines: str) -> bool:
    """Whether there are rows, and each has a class and fractions."""
    try:
        return bool([_yolo_row(line) for line in lines.splitlines() if line.strip()])
    except ValueError:
        return False


def _yolo_row(line: str) -> tuple[int, float, float, bool]:
    """Return class, x, y and whether it is a box; raise `ValueError` where it is not YOLO's."""
    label, *places = line.split()
    places = [float(value) for value in places]
    if len(places) not in (2, 4) or not all(0 <= value <= 1.001 for value in places):  # rounding
        raise ValueError(line)
    return int(label), *places[:2], len(places) == 4


def read_yolo(lines: str, path: Path) -> Annotation:
    """Return a photo's heads, labelled by `classes.txt`, `obj.names` or `data.yaml`, or numbers."""
    names, rows = _class_names(path), _rows(lines, path, _yolo_row, f"a row of YOLO: {YOLO_SHAPE}")
    heads = (Head(x, y, names.get(label, str(label)), box) for label, x, y, box in rows)
    return annotation_of(heads, path)


def _class_names(path: Path) -> dict[int, str]:
    for folder in path.absolute().parents[:4]:
        for file in (folder / "classes.txt", folder / "obj.names"):
            if file.is_file():
                names = enumerate(read_text(file, REPLACE).splitlines())
                return {number: name.strip() for number, name in names if name.strip()}
        for file in (folder / "data.yaml", folder / "data.yml"):
            if file.is_file():
                names = read_yaml(file, "mend or remove it").get("names") or []
                pairs = names.items() if isinstance(names, dict) else enumerate(names)
                return {int(number): str(name) for number, name in pairs}
    return {}


OWN = Format(
    (".csv",), read_own, OWN_SHAPE, lambda rows: set(COLUMNS) <= set(header(rows)), own_text
)
MAKESENSE = Format((".csv",), read_makesense, MAKESENSE_SHAPE, _is_makesense)
CVAT = Format(
    (".xml",),
    read_cvat,
    "CVAT's 'CVAT for images' is one annotations.xml, beside the photos or above them",
    lambda root: isinstance(root, Element) and root.tag == "annotations",  # of images or of video
)
JHU = Format((".txt",), read_jhu, write=write_jhu)
YOLO = Format((".txt",), read_yolo, YOLO_SHAPE, is_yolo)
