"""The layouts that `--layout` knows: where each keeps photos and annotations (docs/FORMATS.md)."""

from dataclasses import dataclass

from crowd.data.layouts import json_files, text_files, via
from crowd.data.layouts.annotation import Format
from crowd.data.layouts.mat import SHANGHAITECH, mat
from crowd.io.errors import InputError

STORED, UPRIGHT = "stored", "upright"
PIXELS, FRACTION, PERCENT = "pixels", "fraction", "percent"


@dataclass(frozen=True)
class Layout:
    """One way to keep photos and points."""

    about: str  # in a few words, for `--help`
    expected: str  # files and folders, for messages
    format: Format
    # Places of a photo's own file, the first that is there counts: `{stem}` is the photo's name,
    # `../` the folder around its folder; empty where one file speaks of many.
    files: tuple[str, ...] = ()
    photos: str = ""  # their folder, of a `{split}` or of all; empty where any folders hold them
    instead: tuple[str, ...] = ()  # of `images/`, or in the photos' folder: where files are kept
    picture: str | None = STORED  # whose pixels the points are; None: it does not say, so ask
    units: str = PIXELS  # of the points: of that picture
    unlisted: bool = False  # whether a photo that no file speaks of has no heads; else a fault
    tool: bool = False  # whether labelling tools write it

    @property
    def table(self) -> bool:
        """Whether one file speaks of many photos."""
        return not self.files


def _loose(about: str, files: str, form: Format, own: tuple[str, ...] = (), **more) -> Layout:
    """A layout whose photos lie in any folders."""
    return Layout(
        about, f"photos and {files}, or train/, val/ and test/ with photos", form, own, **more
    )


# Tools show photos upright, as browsers do.
_TOOL = {"picture": UPRIGHT, "tool": True}
_BESIDE = ("{stem}_ann.mat",)

LAYOUTS = {
    "qnrf": Layout(
        "UCF-QNRF",
        "Train/ and Test/ with NAME.jpg and NAME_ann.mat",
        mat("annPoints"),
        _BESIDE,
        photos="{split}",
    ),
    "sht": Layout(
        "ShanghaiTech A or B",
        "train_data/ and test_data/ (in part_A or part_B) with images/ and ground_truth/",
        mat(SHANGHAITECH),
        ("../ground_truth/GT_{stem}.mat", "../ground-truth/GT_{stem}.mat"),
        photos="{split}_data/images",
    ),
    "jhu": Layout(
        "JHU-Crowd++",
        "train/, val/ and test/, each with images/ and gt/",
        text_files.JHU,
        ("../gt/{stem}.txt",),
        photos="{split}/images",
    ),
    "nwpu": Layout(
        "NWPU-Crowd",
        "images/, jsons/ (or mats/), and the lists train.txt, val.txt, test.txt",
        json_files.NWPU,
        ("../jsons/{stem}.json", "../mats/{stem}.mat"),
        photos="images",
    ),
    "ucf_cc_50": Layout(
        "UCF_CC_50", "NAME.jpg and NAME_ann.mat", mat("annPoints"), _BESIDE, photos="."
    ),
    "brt": Layout(
        "Beijing-BRT",
        "train/ and test/, each with frame/ and ground_truth/",
        mat("loc"),
        ("../ground_truth/{stem}.mat",),
        photos="{split}/frame",
    ),
    "csv": _loose(
        "CSV with the header image,x,y",
        "annotations.csv",
        text_files.OWN,
        picture=None,
        unlisted=True,
    ),
    "json": _loose('JSON {"image": [[x, y], …]}', "annotations.json", json_files.OWN, picture=None),
    "labelme": _loose(
        "labelme",
        "NAME.json for each",
        json_files.LABELME,
        ("{stem}.json",),
        instead=("labels", "annotations"),
        **_TOOL,
    ),
    "cvat": _loose("CVAT for images (XML)", "annotations.xml", text_files.CVAT, **_TOOL),
    "coco": _loose("COCO (keypoints or boxes)", "a COCO .json", json_files.COCO, **_TOOL),
    "labelstudio": _loose(
        "Label Studio (JSON)",
        "the exported .json",
        json_files.LABELSTUDIO,
        units=PERCENT,
        **_TOOL,
    ),
    "via": _loose("VIA 1 or 2 (JSON or CSV)", "the project's .json or .csv", via.VIA, **_TOOL),
    "makesense": _loose(
        "makesense.ai (CSV)", "the exported .csv", text_files.MAKESENSE, unlisted=True, **_TOOL
    ),
    "yolo": _loose(
        "YOLO (boxes or points)",
        "NAME.txt for each, in labels/ where they are in images/",
        text_files.YOLO,
        ("{stem}.txt",),
        instead=("labels",),
        picture=None,  # written by tools that heed EXIF, and by some that do not
        units=FRACTION,
        unlisted=True,
        tool=True,
    ),
}


def layout_of(name: str) -> Layout:
    """Return a layout; raise `InputError` naming all when there is no such layout."""
    if name not in LAYOUTS:
        raise InputError(f"unknown layout '{name}': choose one of {', '.join(LAYOUTS)}")
    return LAYOUTS[name]


def layout_help() -> str:
    """Return the help of `--layout`, with every layout in a few words."""
    return "how the set keeps its files: " + "; ".join(
        f"{name}: {layout.about}" for name, layout in LAYOUTS.items()
    )
