"""Small data sets for tests, as public sets and labelling tools keep them, and commands on them."""

import contextlib
import json

import numpy as np
import pytest
import scipy.io
from PIL import Image

from crowd.data.images import read_image
from crowd.data.layouts.points import DEFAULT, look
from crowd.data.layouts.registry import LAYOUTS
from tests.conftest import oriented

TOOLS = ("labelme", "cvat", "coco", "labelstudio", "via", "makesense", "yolo")
PLAIN = tuple(name for name in LAYOUTS if name not in TOOLS)
SIZE = (64, 48)
POINTS = [[3.5, 4.25], [20.0, 30.5], [40.0, 8.0]]


def scene(seed=0, size=SIZE):
    """A dark picture of large blots, so that it survives compression as photos do."""
    blots = np.random.default_rng(seed).integers(40, 120, (6, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(blots).resize(size)).copy()


def write_photo(path, size=SIZE, orientation=1, heads=(), seed=0):
    """Write a photo that is `size` upright and dark, with a white pixel at each of the heads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    upright = scene(seed, size)
    for x, y in heads:
        upright[int(y), int(x)] = 255
    image = Image.fromarray(as_stored(upright, orientation))
    image.save(path, exif=oriented(orientation), quality=100)
    return path


def as_stored(upright, orientation):
    """Undo what an EXIF orientation does to the stored pixels."""
    turned = upright.swapaxes(0, 1) if orientation >= 5 else upright
    down = -1 if orientation in (3, 4, 6, 7) else 1
    right = -1 if orientation in (2, 3, 7, 8) else 1
    return np.ascontiguousarray(turned[::down, ::right])


def read_photo(path, layout, convention=DEFAULT):
    """A photo upright, and its heads in its upright pixels."""
    return read_image(path), look(path, layout).heads(convention)


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def write_mat(path, **values):
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, values)


def write_table(folder, layout, sets):
    """Write `annotations.csv` or `.json` of your own points: name of the photo -> points."""
    sets = {name: np.asarray(points).reshape(-1, 2).tolist() for name, points in sets.items()}
    text = json.dumps(sets)
    if layout == "csv":
        rows = [f"{name},{x},{y}\n" for name, points in sets.items() for x, y in points]
        text = "".join(["image,x,y\n", *rows])
    write_text(folder / f"annotations.{layout}", text)


FOLDERS = {"qnrf": "{Split}", "sht": "{split}_data/images", "jhu": "{split}/images",
           "nwpu": "images", "ucf_cc_50": ".", "brt": "{split}/frame"}  # fmt: skip


def write_split(root, layout, split, sets, seed=0, size=SIZE):
    """Write photos and annotations (name -> points) as a public set keeps them; return the photos.

    The photos are all different, and those of another seed too.
    """
    place = FOLDERS.get(layout, "{split}").format(split=split, Split=split.capitalize())
    folder = root / place
    for name, points in sets.items():
        points = np.asarray(points, float)
        if layout in ("qnrf", "ucf_cc_50"):
            write_mat(folder / f"{name}_ann.mat", annPoints=points)
        elif layout == "sht":
            truth = "ground_truth" if split == "test" else "ground-truth"
            cell = np.empty((1, 1), object)
            cell[0, 0] = {"location": points, "number": len(points)}
            write_mat(folder.parent / truth / f"GT_{name}.mat", image_info=cell)
        elif layout == "jhu":
            rows = (f"{x} {y} {10 + i} {20 + i} 1 0\n" for i, (x, y) in enumerate(points))
            write_text(root / split / "gt" / f"{name}.txt", "".join(rows))
        elif layout == "nwpu" and split == "val":
            write_mat(root / "mats" / f"{name}.mat", annPoints=points)
        elif layout == "nwpu":
            content = {"img_id": f"{name}.jpg", "points": points.tolist()}
            write_text(root / "jsons" / f"{name}.json", json.dumps(content))
        elif layout == "brt":
            write_mat(root / split / "ground_truth" / f"{name}.mat", loc=points)
    if layout == "nwpu":
        write_text(root / f"{split}.txt", "".join(f"{name} 1 2\n" for name in sets))
    elif layout in ("csv", "json"):
        write_table(folder, layout, {f"{name}.jpg": one for name, one in sets.items()})
    return [write_photo(folder / f"{name}.jpg", size, seed=seed + i) for i, name in enumerate(sets)]


def write_tool(folder, tool, sets, size=SIZE, label="head"):
    """Write the tool's file or files for photos of `folder`: name -> points, pixels, upright."""
    folder.mkdir(parents=True, exist_ok=True)
    if tool in ("labelme", "yolo"):
        for name, points in sets.items():
            text = labelme(points, size, label) if tool == "labelme" else yolo(points, size)
            (folder / name).with_suffix(".json" if tool == "labelme" else ".txt").write_text(text)
        return
    text = WRITERS[tool](sets, size, label)
    ending = {"cvat": "xml", "makesense": "csv"}.get(tool, "json")
    (folder / f"annotations.{ending}").write_text(text)


def labelme(points, size, label):
    shapes = [{"label": label, "points": [[x, y]], "shape_type": "point"} for x, y in points]
    return json.dumps({"shapes": shapes, "imageHeight": size[1], "imageWidth": size[0]})


def yolo(points, size):
    return "".join(f"0 {x / size[0]:.9f} {y / size[1]:.9f} 0.0100 0.0100\n" for x, y in points)


def cvat(sets, size, label):
    images = "".join(
        f'<image id="{number}" name="{name}" width="{size[0]}" height="{size[1]}">'
        + "".join(f'<points label="{label}" occluded="0" points="{x},{y}"/>' for x, y in points)
        + "</image>"
        for number, (name, points) in enumerate(sets.items())
    )
    start = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    return f"{start}{images}</annotations>"


def coco(sets, size, label):
    images, annotations = [], []
    for number, (name, points) in enumerate(sets.items(), start=10):
        images.append({"id": number, "file_name": name, "width": size[0], "height": size[1]})
        head = {"image_id": number, "category_id": 1, "bbox": [0, 0, 1, 1]}
        annotations += [head | {"keypoints": [x, y, 2]} for x, y in points]
    categories = [{"id": 1, "name": label, "keypoints": ["top"]}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def labelstudio(sets, size, label):
    def region(x, y):
        value = {"x": 100 * x / size[0], "y": 100 * y / size[1], "width": 0.5}
        frame = {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
        return {**frame, "type": "keypointlabels", "value": {**value, "keypointlabels": [label]}}

    tasks = []
    for name, points in sets.items():
        data = {"image": f"/data/upload/1/0123abcd-{name.rsplit('/', 1)[-1]}"}
        result = [region(x, y) for x, y in points]
        tasks.append({"data": data, "annotations": [{"result": result}]})
    return json.dumps(tasks)


def via(sets, size, label):
    def region(x, y):
        shape = {"name": "point", "cx": x, "cy": y}
        return {"shape_attributes": shape, "region_attributes": {"kind": label}}

    files = {}
    for name, points in sets.items():
        files[f"{name}99"] = {"filename": name, "regions": [region(x, y) for x, y in points]}
    return json.dumps({"_via_img_metadata": files})


def makesense(sets, size, label):
    end = f"{size[0]},{size[1]}\n"
    heads = [(name, x, y) for name, points in sets.items() for x, y in points]
    return "".join(f"{label},{x},{y},{name},{end}" for name, x, y in heads)


WRITERS = {"cvat": cvat, "coco": coco, "labelstudio": labelstudio, "via": via,
           "makesense": makesense}  # fmt: skip


def options(root, layout, *more):
    """Arguments of both preprocessing commands: `root` to `out` beside it, photos in their size."""
    out = root.parent / "out"
    given = ["--input-dataset-path", root, "--output-dataset-path", out, "--layout", layout]
    given += ["--min-size", SIZE[1], "--max-size", SIZE[0], "--workers", 0, *more]
    return [str(one) for one in given]


def run(command, *arguments, code=0):
    """Run a command that must end with this code."""
    with pytest.raises(SystemExit) if code else contextlib.nullcontext() as stop:
        command([str(argument) for argument in arguments])
    assert not code or stop.value.code == code


def refused(capsys, command, *arguments):
    """Run a command that must end with code 2, and return the one sentence that it says."""
    run(command, *arguments, code=2)
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("error: ")
    return said


def written_heads(out):
    """Heads [N, 2] of a processed set by the name of the photo, each on a white pixel or grey."""
    return {path.stem: np.load(path)[:, :2] for path in sorted(out.glob("*/*.npy"))}


def assert_heads_are_white(out):
    """Check that a processed set's photos have their white pixels where their heads are."""
    for path in out.glob("*/*.npy"):
        with Image.open(path.with_suffix(".jpg")) as image:
            grey = np.asarray(image.convert("L")).astype(int)
        assert grey.shape == SIZE[::-1]
        assert min(grey[int(y), int(x)] for x, y in np.load(path)[:, :2]) > 150
