"""Small sets as labelling tools export them, for tests: photos, and the tool's file."""

import json

import numpy as np
from PIL import Image

TOOLS = ("labelme", "cvat", "coco", "labelstudio", "via", "makesense", "yolo")
SIZE = (64, 48)


def write_photo(path, size=SIZE, orientation=1, heads=(), seed=0):
    """Write a photo that is `size` upright and grey, with a white pixel at each of the heads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    blots = np.random.default_rng(seed).integers(40, 120, (6, 8, 3)).astype(np.uint8)
    upright = np.asarray(Image.fromarray(blots).resize(size)).copy()
    for x, y in heads:
        upright[int(y), int(x)] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(as_stored(upright, orientation)).save(path, exif=exif, quality=100)
    return path


def as_stored(upright, orientation):
    """Undo what an EXIF orientation does to the stored pixels."""
    turned = upright.swapaxes(0, 1) if orientation >= 5 else upright
    down = -1 if orientation in (3, 4, 6, 7) else 1
    right = -1 if orientation in (2, 3, 7, 8) else 1
    return np.ascontiguousarray(turned[::down, ::right])


def write_tool(folder, tool, sets, size=SIZE, label="head"):
    """Write the tool's file or files for photos of `folder`: name -> points, pixels, upright."""
    folder.mkdir(parents=True, exist_ok=True)
    if tool in ("labelme", "yolo"):
        for name, points in sets.items():
            text = labelme(name, points, size, label) if tool == "labelme" else yolo(points, size)
            suffix = ".json" if tool == "labelme" else ".txt"
            (folder / name).with_suffix(suffix).write_text(text)
        return
    text = {
        "cvat": cvat,
        "coco": coco,
        "labelstudio": labelstudio,
        "via": via,
        "makesense": makesense,
    }[tool](sets, size, label)
    ending = {"cvat": "xml", "makesense": "csv"}.get(tool, "json")
    (folder / f"annotations.{ending}").write_text(text)


def labelme(name, points, size, label):
    shapes = [
        {"label": label, "points": [[x, y]], "group_id": None, "shape_type": "point", "flags": {}}
        for x, y in points
    ]
    return json.dumps(
        {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": name,
            "imageData": None,
            "imageHeight": size[1],
            "imageWidth": size[0],
        }
    )


def yolo(points, size):
    rows = (f"0 {x / size[0]:.9f} {y / size[1]:.9f} 0.0100 0.0100\n" for x, y in points)
    return "".join(rows)


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
    images = [
        {"id": 10 + number, "file_name": name, "width": size[0], "height": size[1]}
        for number, name in enumerate(sets)
    ]
    annotations = [
        {
            "id": 100 * number + index,
            "image_id": 10 + number,
            "category_id": 1,
            "keypoints": [float(x), float(y), 2],
            "num_keypoints": 1,
            "bbox": [0, 0, 1, 1],
        }
        for number, points in enumerate(sets.values())
        for index, (x, y) in enumerate(points)
    ]
    categories = [{"id": 1, "name": label, "keypoints": ["top"]}]
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def labelstudio(sets, size, label):
    def region(x, y):
        value = {"x": 100 * x / size[0], "y": 100 * y / size[1], "width": 0.5}
        return {
            "original_width": size[0],
            "original_height": size[1],
            "image_rotation": 0,
            "type": "keypointlabels",
            "value": {**value, "keypointlabels": [label]},
        }

    return json.dumps(
        [
            {
                "id": number,
                "file_upload": f"0123abcd-{name}",
                "data": {"image": f"/data/upload/1/0123abcd-{name.rsplit('/', 1)[-1]}"},
                "annotations": [{"result": [region(x, y) for x, y in points]}],
            }
            for number, (name, points) in enumerate(sets.items())
        ]
    )


def via(sets, size, label):
    return json.dumps(
        {
            "_via_settings": {},
            "_via_img_metadata": {
                f"{name}99": {
                    "filename": name,
                    "size": 99,
                    "regions": [
                        {
                            "shape_attributes": {"name": "point", "cx": x, "cy": y},
                            "region_attributes": {"kind": label},
                        }
                        for x, y in points
                    ],
                    "file_attributes": {},
                }
                for name, points in sets.items()
            },
            "_via_attributes": {},
        }
    )


def makesense(sets, size, label):
    return "".join(
        f"{label},{x},{y},{name},{size[0]},{size[1]}\n"
        for name, points in sets.items()
        for x, y in points
    )
