"""The layouts that `--layout` knows: what each is, who reads it, and how its points are meant."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from types import ModuleType

from crowd.data.layouts import (
    coco,
    cvat,
    labelme,
    labelstudio,
    makesense,
    points_csv,
    points_json,
    via,
    yolo,
)
from crowd.io.errors import InputError

STORED, UPRIGHT = "stored", "upright"
PIXELS, FRACTION, PERCENT = "pixels", "fraction", "percent"


@dataclass(frozen=True)
class Layout:
    """One way to keep photos and points.

    Attributes:
        about: in a few words, for `--help`.
        expected: files and folders, for messages.
        picture: the photo `STORED` or `UPRIGHT`, whose pixels the points are; None where the
            layout does not say and a rotated photo is a question.
        units: of the points, `PIXELS`, `FRACTION` or `PERCENT` of that picture.
        reader: module of the format (`recognise`, `read`, SUFFIXES, FORMAT, LACKS); None for the
            public sets, which `crowd.annotations` reads.
        table: whether one file speaks of many photos.
        unlisted: whether a photo that no file speaks of has no heads; otherwise it is a fault.
        tool: whether labelling tools write it.
    """

    about: str
    expected: str
    picture: str | None = STORED
    units: str = PIXELS
    reader: ModuleType | None = None
    table: bool = False
    unlisted: bool = False
    tool: bool = False


_SPLITS = ", or train/, val/ and test/ with photos"


def _tool(about: str, expected: str, reader: ModuleType, **others) -> Layout:
    # Tools show photos upright, as browsers do.
    return Layout(about, expected, reader=reader, tool=True, **{"picture": UPRIGHT, **others})


LAYOUTS = {
    "qnrf": Layout("UCF-QNRF", "Train/ and Test/ with NAME.jpg and NAME_ann.mat"),
    "sht": Layout(
        "ShanghaiTech A or B",
        "train_data/ and test_data/ (in part_A or part_B) with images/ and ground_truth/",
    ),
    "jhu": Layout("JHU-Crowd++", "train/, val/ and test/, each with images/ and gt/"),
    "nwpu": Layout(
        "NWPU-Crowd", "images/, jsons/ (or mats/), and the lists train.txt, val.txt, test.txt"
    ),
    "ucf_cc_50": Layout("UCF_CC_50", "NAME.jpg and NAME_ann.mat"),
    "brt": Layout("Beijing-BRT", "train/ and test/, each with frame/ and ground_truth/"),
    "csv": Layout(
        "CSV with the header image,x,y",
        f"photos and annotations.csv{_SPLITS}",
        picture=None,
        reader=points_csv,
        table=True,
        unlisted=True,
    ),
    "json": Layout(
        'JSON {"image": [[x, y], …]}',
        f"photos and annotations.json{_SPLITS}",
        picture=None,
        reader=points_json,
        table=True,
    ),
    "labelme": _tool("labelme", f"NAME.jpg and NAME.json{_SPLITS}", labelme),
    "cvat": _tool(
        "CVAT for images (XML)", f"photos and annotations.xml{_SPLITS}", cvat, table=True
    ),
    "coco": _tool(
        "COCO (keypoints or boxes)", f"photos and a COCO .json{_SPLITS}", coco, table=True
    ),
    "labelstudio": _tool(
        "Label Studio (JSON)",
        f"photos and the exported .json{_SPLITS}",
        labelstudio,
        units=PERCENT,
        table=True,
    ),
    "via": _tool(
        "VIA 1 or 2 (JSON or CSV)",
        f"photos and the project's .json or .csv{_SPLITS}",
        via,
        table=True,
    ),
    "makesense": _tool(
        "makesense.ai (CSV)",
        f"photos and the exported .csv{_SPLITS}",
        makesense,
        table=True,
        unlisted=True,
    ),
    "yolo": _tool(
        "YOLO (boxes or points)",
        f"images/ and labels/ with NAME.txt{_SPLITS}",
        yolo,
        picture=None,  # written by tools that heed EXIF, and by some that do not
        units=FRACTION,
        unlisted=True,
    ),
}


def layout_of(name: str) -> Layout:
    """Return a layout; raise `InputError` naming the nearest one when there is no such layout."""
    if name not in LAYOUTS:
        close = difflib.get_close_matches(str(name), LAYOUTS, n=1)
        nearest = f"did you mean '{close[0]}'? " if close else ""
        raise InputError(f"unknown layout '{name}': {nearest}choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def layout_help() -> str:
    """Return the help of `--layout`, with every layout in a few words."""
    return "how the set keeps its files: " + "; ".join(
        f"{name}: {layout.about}" for name, layout in LAYOUTS.items()
    )
