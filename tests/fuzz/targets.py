"""What is fuzzed: for each format some whole files, and the readers that must survive damage."""

import dataclasses
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import cv2
import h5py
import numpy as np
import scipy.io
import torch
from PIL import Image, features

from crowd.data.images import read_image, read_orientation, read_size
from crowd.data.layouts import mat
from crowd.data.layouts.tables import parse
from crowd.data.processed import read_annotation
from crowd.data.splits import read_list
from crowd.io.files import write_array
from crowd.io.h5 import write_h5
from crowd.train.checkpoints import save_checkpoint
from crowd.train.state import Recipe
from GS2D.arguments import fit_parser
from GS2D.store import Report, read_gaussians, read_report, write_gaussians
from gst import counter as gst_counter
from gst.arguments import build_parser
from gst.models import build_model
from gst.photos import Preprocessing, read_preprocessing
from mgot.feature_files import open_features, read_clusters, read_index_lists, write_index_lists
from mgot.features import write_features
from mgot.localization import ANNOTATED, PREDICTED, read_points_file
from mgot.maps import fidt_map, head_pixels
from mgot.patches import read_labels, read_selection
from tests.conftest import oriented
from tests.crowd.sets import write_tool

POINTS = np.random.default_rng(0).uniform(2, 40, (12, 2))
VIA = (
    "filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,"
    'region_attributes\na.jpg,9,"{}",1,0,"{""name"":""point"",""cx"":3,""cy"":4}","{}"\n'
    'b.jpg,9,"{}",0,0,"{}","{}"\n'
)
CPU = torch.device("cpu")
SMALL = {"width": 0.1}


class Target(NamedTuple):
    """One format."""

    suffix: str  # of its files
    whole: Callable[[Path], list[Path]]  # writes whole files into a folder and returns them
    read: Callable[[Path], object]  # by all of the project's readers that may be given one
    text: bool = False  # whether words and lines are damaged, not only bytes
    # Makes the bytes of a file that is whole but says something odd.
    craft: Callable[[np.random.Generator], bytes] | None = None


def written(folder: Path, suffix: str, *contents: str | bytes) -> list[Path]:
    paths = [folder / f"whole_{number}{suffix}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return paths


def whole_mats(folder: Path) -> list[Path]:
    paths = [folder / f"whole_{number}.mat" for number in range(4)]
    cell = np.empty((1, 1), object)
    cell[0, 0] = {"location": POINTS, "number": len(POINTS)}
    scipy.io.savemat(paths[0], {"annPoints": POINTS})
    scipy.io.savemat(paths[1], {"annPoints": POINTS}, do_compression=True)
    scipy.io.savemat(paths[2], {"image_info": cell})
    with h5py.File(paths[3], "w", userblock_size=512) as file:
        file["#refs#/b/location"] = POINTS.T
        file["image_info"] = np.array([[file["#refs#/b"].ref]], h5py.ref_dtype)
    return paths


def read_mat(path: Path) -> None:
    mat.read_points(path, "image_info" if b"image_info" in path.read_bytes() else "annPoints")


HEAD = {"img_id": "1.jpg", "human_num": len(POINTS), "points": POINTS.tolist()}
OWN = {"train/a.jpg": POINTS[:3].tolist(), "b.jpg": [], "ü.jpg": [[1, 2.5]]}
CSV = "image,x,y\n" + "".join(f"a.jpg,{x},{y}\n" for x, y in POINTS) + "b.jpg,,\n"
QUOTED = 'x,"image",y\n1.5,"a, b.jpg",2\n3,c.jpg,4\n,d.jpg,\n'
NAMES = "".join(f"img_{number}.jpg 0 3\n" for number in range(12))
PEAKS = " ".join(f"{x:.2f} {y:.2f}" for x, y in POINTS)
HEADS = " ".join(f"{x:.2f} {y:.2f} 4.5 9.0 1" for x, y in POINTS)


def text(suffix: str, read: Callable[[Path], object], *contents: str) -> Target:
    return Target(suffix, lambda folder: written(folder, suffix, *contents), read, text=True)


def layout(name: str, suffix: str, *contents: str) -> Target:
    """A layout's files, read as it is."""
    return text(suffix, lambda path: parse(path, name), *contents)


def read_names(path: Path) -> None:
    read_list(path, [Path(f"set/img_{number}.jpg") for number in range(12)])


def tool(name: str, suffix: str) -> Target:
    """A labelling tool's format: two files of it, read as its layout is."""

    def whole(folder: Path) -> list[Path]:
        write_tool(folder / "a", name, {"a.jpg": POINTS.tolist(), "ü.jpg": []})
        write_tool(folder / "b", name, {"b.jpg": [[1, 2]], "c.jpg": [[3, 4.5]]}, label="h é")
        return sorted(folder.glob(f"*/*{suffix}"))

    return Target(suffix, whole, lambda path: parse(path, name), text=True)


def whole_arrays(folder: Path) -> list[Path]:
    paths = [folder / f"{name}.npy" for name in ("train", "test", "selection", "pickle")]
    write_array(paths[0], np.hstack([POINTS, POINTS[:, :1]]).astype(np.float32))
    write_array(paths[1], POINTS)
    write_array(paths[2], np.array([f"img_{number}_00_00.jpg" for number in range(5)]))
    np.save(paths[3], np.array([[1], {}], object), allow_pickle=True)
    write_array(folder / "weights.npy", np.ones(5))
    return paths


def read_arrays(path: Path) -> None:
    if b"<U" in path.read_bytes()[:128]:
        read_selection(path, path.with_name("weights.npy"))
    else:
        read_annotation(path.with_suffix(".jpg"))


def whole_lists(folder: Path) -> list[Path]:
    paths = [folder / f"whole_{number}.npy" for number in range(2)]
    write_index_lists(paths[0], [[3, 1, 4], [0], [], [2, 5, 700]])
    entries = np.empty(2, object)
    entries[:] = [np.array([3, 1]), [np.int64(7), 2]]
    np.save(paths[1], entries, allow_pickle=True)
    return paths


def whole_gaussians(folder: Path) -> list[Path]:
    params = np.hstack([POINTS, np.ones((12, 6))])
    write_gaussians(folder / "whole.h5", params, Report(0.1, 0.2, 40))
    write_h5(folder / "empty.h5", params=np.zeros((0, 8), np.float32))
    return [folder / "whole.h5", folder / "empty.h5"]


def read_gaussian_file(path: Path) -> None:
    read_gaussians(path)
    read_report(path)


def whole_fidt(folder: Path) -> list[Path]:
    values = fidt_map(POINTS, 48, 64)
    write_h5(folder / "whole.h5", fidt_map=values, kpoint=head_pixels(POINTS, 48, 64))
    return [folder / "whole.h5"]


def whole_features(folder: Path) -> list[Path]:
    values = np.zeros((2, 1, 1, 224, 224), np.float32)
    paths = [folder / "written.h5", folder / "packed.h5"]
    write_features(paths[0], ["a.jpg", "b.jpg"], "{}", lambda first, last: values[first:last])
    write_h5(paths[1], features=values, paths=np.array([b"/home/a.jpg", b"/home/b.jpg"]))
    return paths


def read_features(path: Path) -> None:
    with open_features(path) as features:
        features.read(range(len(features)))


def whole_centres(folder: Path) -> list[Path]:
    write_index_lists(folder / "lists.npy", [[0, 1], [2]])
    write_h5(folder / "whole.h5", cluster_center=np.zeros((2, 224 * 224), np.float32))
    return [folder / "whole.h5"]


def whole_checkpoints(folder: Path) -> list[Path]:
    save_checkpoint(folder / "whole.pth", **checkpoint())
    torch.save(checkpoint(), folder / "old.pth", _use_new_zipfile_serialization=False)
    released = {"state_dict": checkpoint()["model"], "best_prec1": np.float64(57.0)}
    torch.save(released, folder / "released.pth")
    (folder / "pickle.pth").write_bytes(pickle.dumps({"model": {"x": np.ones(3)}}))
    return [folder / name for name in ("whole.pth", "old.pth", "released.pth", "pickle.pth")]


def checkpoint() -> dict:
    torch.manual_seed(0)
    recipe = dataclasses.asdict(Recipe("vgg_small", SMALL, vars(Preprocessing()), 3.0, {}))
    model = build_model("vgg_small", **SMALL).state_dict()
    return {"model": model, "average": None, "recipe": recipe, "epoch": 3, "best": {}}


def craft_checkpoint(rng: np.random.Generator) -> bytes:
    """A whole checkpoint in which some values were dropped, renamed or replaced."""
    state = checkpoint()
    huge = torch.zeros(1).expand(2**20, 2**20)
    odd = (None, -1, 0, 1e300, float("nan"), "", "x", [], {}, torch.zeros(2), huge, True, b"x")
    for _ in range(rng.integers(1, 4)):
        place = state
        while True:
            key = list(place)[rng.integers(len(place))]
            if not (isinstance(place[key], dict) and place[key] and rng.random() < 0.8):
                break
            place = place[key]
        action = rng.integers(3)
        if action == 0 and len(place) > 1:
            del place[key]
        elif action == 1:
            place["pretrained" if rng.random() < 0.5 else 7] = place[key]
        else:
            place[key] = odd[rng.integers(len(odd))]
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def whole_yaml(folder: Path) -> list[Path]:
    training = "data_dir: set\nmodel_name: vgg\nepochs: 3\nlr: 1e-4\nuse_background: true\n"
    fit = "root_path: set\ndownsample_ratio: 1\nnum_epochs: 40\ndisplay_loss: x\n"
    made = "min_size: 512\nmax_size: 2048\ninterpolation: bilinear\n"
    training += "model_options: {dropout: 0.5}\n"
    return written(folder, ".yml", training, fit, made)


def read_yaml(path: Path) -> None:
    content = path.read_bytes()
    if b"min_size" in content:
        made = path.parent / "made"
        made.mkdir(exist_ok=True)
        (made / "preprocess.yml").write_bytes(content)
        read_preprocessing(made)
    elif b"root_path" in content:
        fit_parser("fit").read(["--config", str(path)])
    else:
        build_parser().read(["--config", str(path), "--data-dir", "set"])


def whole_photos(folder: Path, suffix: str, modes: tuple[str, ...]) -> list[Path]:
    y, x = np.mgrid[:48, :64]
    pixels = np.stack([x * 4, y * 5, 128 + 0 * x], axis=2).astype(np.uint8)
    paths = {mode: folder / f"whole_{mode.replace(';', '')}{suffix}" for mode in modes}
    for mode, path in paths.items():
        if mode == "I;16":
            cv2.imwrite(str(path), pixels[:, :, 0].astype(np.uint16) * 256)
        else:
            Image.fromarray(pixels).convert(mode).save(path, exif=oriented(6))
    return list(paths.values())


def read_photo(path: Path) -> None:
    read_size(path)
    read_orientation(path)
    read_image(path)


def photos(suffix: str, *modes: str) -> Target:
    return Target(suffix, lambda folder: whole_photos(folder, suffix, modes), read_photo)


TARGETS = {
    "mat": Target(".mat", whole_mats, read_mat),
    "json": layout("json", ".json", json.dumps(OWN, indent=1)),
    "json_nwpu": layout("nwpu", ".json", json.dumps(HEAD)),
    "csv": layout("csv", ".csv", CSV, QUOTED),
    "txt_jhu": layout("jhu", ".txt", "".join(f"{x:.0f} {y:.0f} 10 12 1 0\n" for x, y in POINTS)),
    "txt_lists": text(".txt", read_names, NAMES),
    "txt_peaks": text(
        ".txt", lambda path: read_points_file(path, PREDICTED), f"1 12 {PEAKS}\n2 0\n"
    ),
    "txt_heads": text(".txt", lambda path: read_points_file(path, ANNOTATED), f"1 12 {HEADS}\n"),
    "labelme": tool("labelme", ".json"),
    "cvat": tool("cvat", ".xml"),
    "coco": tool("coco", ".json"),
    "labelstudio": tool("labelstudio", ".json"),
    "via": tool("via", ".json"),
    "via_csv": layout("via", ".csv", VIA),
    "makesense": tool("makesense", ".csv"),
    "yolo": tool("yolo", ".txt"),
    "npy": Target(".npy", whole_arrays, read_arrays),
    "npy_index_lists": Target(".npy", whole_lists, read_index_lists),
    "h5_gaussians": Target(".h5", whole_gaussians, read_gaussian_file),
    "h5_fidt": Target(".h5", whole_fidt, lambda path: read_labels(path.with_suffix(""), (48, 64))),
    "h5_features": Target(".h5", whole_features, read_features),
    "h5_centres": Target(
        ".h5", whole_centres, lambda path: read_clusters(path, path.with_name("lists.npy"), 3)
    ),
    "pth": Target(
        ".pth",
        whole_checkpoints,
        lambda path: gst_counter.load_counter(path, CPU, "vgg_small"),
        craft=craft_checkpoint,
    ),
    "yml": Target(".yml", whole_yaml, read_yaml, text=True),
    "jpg": photos(".jpg", "RGB", "L", "CMYK"),
    "png": photos(".png", "RGB", "P", "LA", "I;16"),
    "tif": photos(".tif", "RGB", "L"),
    "webp": photos(".webp", "RGB"),
    "gif": photos(".gif", "P", "L"),
    "mpo": photos(".mpo", "RGB"),
    **({"avif": photos(".avif", "RGB")} if features.check("avif") else {}),
}
