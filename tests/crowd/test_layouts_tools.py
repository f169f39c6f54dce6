"""Labelling tools: points by value, every command, labels, files of another format."""

import json

import numpy as np
import pytest

from crowd.annotations import find_photos, read_points
from crowd.data.layouts.points import PointConvention, look
from crowd.data.layouts.survey import survey
from crowd.io.errors import InputError
from crowd.validate import main as validate
from mgot.fidt import main as fidt
from preprocess_dataset_ucf import main as preprocess
from tests.crowd.sets import (
    POINTS,
    SIZE,
    TOOLS,
    assert_heads_are_white,
    coco,
    options,
    read_photo,
    refused,
    run,
    via,
    write_photo,
    write_text,
    write_tool,
    written_heads,
)

# Layout: file, what the tool wrote, the points that are meant, of a photo a.png of 64 x 48.
EXAMPLES = {
    "labelme": ("a.json", """{"version": "5.5.0", "imagePath": "a.png", "imageWidth": 64,
        "imageHeight": 48, "shapes": [
        {"label": "head", "points": [[3.5, 4.25]], "shape_type": "point"},
        {"label": "head", "points": [[10, 20], [30, 41]], "shape_type": "rectangle"},
        {"label": "head", "points": [[40, 8], [43, 12]], "shape_type": "circle"}]}""",
        [[3.5, 4.25], [20, 30.5], [40, 8]]),
    "cvat": ("annotations.xml", """<?xml version="1.0" encoding="utf-8"?><annotations>
        <meta><task><name>heads</name></task></meta>
        <image id="0" name="photos/a.png" width="64" height="48">
        <points label="head" points="3.50,4.25;20.00,30.50" z_order="0"/>
        <box label="head" xtl="38" ytl="6" xbr="42" ybr="10"/>
        <ellipse label="head" cx="50" cy="9" rx="3" ry="4"/>
        <polygon label="head" points="10,10;14,10;12,16"/>
        <cuboid label="head" xtl1="30" ytl1="30" xbl1="30" ybl1="40" xtr1="40" ytr1="30"
        xbr1="40" ybr1="40" xtl2="44" ytl2="28" xbl2="44" ybl2="38" xtr2="36" ytr2="28"
        xbr2="36" ybr2="38"/>
        <skeleton label="person"><points label="head" outside="0" points="60,20"/>
        <points label="head" outside="1" points="0,0"/></skeleton>
        <tag label="outdoors"/></image></annotations>""",
        [[3.5, 4.25], [20, 30.5], [40, 8], [50, 9], [12, 13], [37, 34], [60, 20]]),
    "coco": ("instances_default.json", """{"images": [{"id": 7, "file_name": "a.png", "width": 64,
        "height": 48}], "categories": [{"id": 1, "name": "head"}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 1, "keypoints": [3.5, 4.25, 2],
        "bbox": [0, 0, 60, 40]}, {"id": 2, "image_id": 7, "category_id": 1,
        "bbox": [10, 20, 20, 21], "iscrowd": 0}]}""",
        [[3.5, 4.25], [20, 30.5]]),
    "labelstudio": ("export.json", """[{"id": 1, "data": {"image": "/data/upload/3/9f3a2b1c-a.png"},
        "annotations": [{"result": [
        {"original_width": 64, "original_height": 48, "type": "keypointlabels",
        "value": {"x": 25, "y": 50, "width": 0.4, "keypointlabels": ["head"]}},
        {"original_width": 64, "original_height": 48, "type": "rectanglelabels",
        "value": {"x": 50, "y": 25, "width": 12.5, "height": 50, "rotation": 90,
        "rectanglelabels": ["head"]}},
        {"type": "rectanglelabels", "value": {"x": 10, "y": 20, "width": 5, "height": 10,
        "rectanglelabels": ["head"]}},
        {"type": "choices", "value": {"choices": ["outdoors"]}}]}]}]""",
        # A box turned by a quarter about its corner (32, 12): 8 wide and 24 high, it lies to the
        # left of the corner and ends 8 below it.
        [[16, 24], [20, 16], [8, 12]]),
    "labelstudio, JSON-MIN": ("export.json", """[{
        "image": "/data/local-files/?d=photos%2Fa.png", "id": 1, "annotator": 1, "kp": [
        {"x": 25, "y": 50, "width": 0.4, "keypointlabels": ["head"], "original_width": 64,
        "original_height": 48}]}]""", [[16, 24]]),
    "via": ("project.json", """{"_via_settings": {}, "_via_img_metadata": {"a.png123": {
        "filename": "a.png", "regions": [{"shape_attributes": {"name": "point", "cx": 3, "cy": 4},
        "region_attributes": {"kind": "head"}}, {"shape_attributes": {"name": "rect", "x": 10,
        "y": 20, "width": 20, "height": 21}, "region_attributes": {"kind": "head"}}],
        "file_attributes": {}}}, "_via_attributes": {}}""", [[3, 4], [20, 30.5]]),
    "via, version 1": ("annotations.json", """{"a.png123": {"filename": "a.png", "size": 123,
        "base64_img_data": "", "regions": {"0": {"shape_attributes": {"name": "polygon",
        "all_points_x": [2, 8, 5], "all_points_y": [1, 1, 9]}, "region_attributes": {}}}}}""",
        [[5, 5]]),
    "via, CSV": ("via_export.csv",
        'filename,file_size,file_attributes,region_count,region_id,region_shape_attributes,region_attributes\n'
        'a.png,9,"{}",2,0,"{""name"":""point"",""cx"":3,""cy"":4}","{}"\n'
        'a.png,9,"{}",2,1,"{""name"":""circle"",""cx"":20,""cy"":30,""r"":4}","{}"\n'
        'b.png,9,"{}",0,0,"{}","{}"\n', [[3, 4], [20, 30]]),
    "makesense": ("labels_heads_2024.csv",
        "head,3,4,a.png,64,48\nhead,20,30,a.png,64,48\n", [[3, 4], [20, 30]]),
    "makesense, boxes": ("labels.csv",
        "label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name,image_width,image_height\n"
        "head,10,20,20,21,a.png,64,48\n", [[20, 30.5]]),
    "csv, as counted": ("points.csv", "image,x,y,confidence\na.png,3,4,0.9\n", [[3, 4]]),
    "yolo": ("a.txt", "0 0.25 0.5 0.1 0.2\n0 0.5 0.75\n\n", [[16, 24], [32, 36]]),
}  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES)
def test_seven_tools_give_the_right_points(tmp_path, example):
    file, text, expected = EXAMPLES[example]
    photo = write_photo(tmp_path / "photos" / "a.png")
    (tmp_path / "photos" / file).write_text(text)
    points = read_points(photo, example.split(",")[0])
    assert points.dtype == np.float32
    np.testing.assert_allclose(points, expected, atol=1e-5)


def write_set(root, tool, orientation=1):
    """Eight photos, each with its own three heads and a white pixel at each; name -> heads."""
    sets = {}
    for number in range(8):
        heads = [[int(x) + number + 0.5, int(y) + number + 0.5] for x, y in POINTS]
        name = f"{number}.png"
        write_photo(root / name, SIZE, orientation, heads, seed=number)
        sets[name] = heads
    write_tool(root, tool, sets)
    return sets


@pytest.mark.parametrize("tool", TOOLS)
def test_every_command_reads_every_tool(tmp_path, tool, capsys):
    root, copy, out = (tmp_path / name for name in ("set", "copy", "out"))
    sets, which = write_set(root, tool, orientation=6), []
    if tool == "yolo":
        said = refused(capsys, preprocess, *options(root, tool))
        assert "yolo does not say which picture their points are of" in said
        which = ["--points", "upright"]
    for command in (preprocess, fidt):
        command(options(root, tool, "--overwrite", *which))
        printed = capsys.readouterr().out
        assert "heads: all; 24 of 24 are centres" in printed or "heads: all; all points" in printed
        heads = written_heads(out)
        assert {f"{name}.png" for name in heads} == set(sets)
        for name, points in heads.items():
            np.testing.assert_allclose(points, sets[f"{name}.png"], atol=1e-4)
        assert_heads_are_white(out)
    # Notes alone: rotated by EXIF.
    run(validate, root, "--layout", tool, "--fix", copy, *which, code=1)
    assert "--layout csv reads it" in capsys.readouterr().out
    validate([str(copy), "--layout", "csv"])
    for name, points in sets.items():
        image, read = read_photo(copy / name, "csv")
        np.testing.assert_allclose(read, points, atol=1e-4)
        assert image.shape == (48, 64, 3)


@pytest.mark.parametrize("tool", TOOLS)
def test_splits_and_photos_without_heads(tmp_path, tool):
    for split in ("train", "valid", "test"):
        write_photo(tmp_path / split / "images" / f"{split}.png")
        write_photo(tmp_path / split / "images" / "none.png")
        write_tool(tmp_path / split / "images", tool, {f"{split}.png": POINTS, "none.png": []})
    found = find_photos(tmp_path, tool)
    assert {split: len(found[split]) for split in found} == {"train": 2, "val": 2, "test": 2}
    numbers = {photo.stem: len(read_points(photo, tool)) for photo in found["val"]}
    assert numbers == {"valid": 3, "none": 0}


@pytest.mark.parametrize("folder", ["labels", "images"])
def test_yolo_keeps_labels_beside_images(tmp_path, folder):
    photo = write_photo(tmp_path / "images" / "train" / "a.png")
    (tmp_path / folder / "train").mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "train" / "a.txt").write_text("1 0.5 0.25 0.1 0.1\n")
    (tmp_path / "data.yaml").write_text("names: [body, head]\n")
    assert read_points(photo, "yolo").tolist() == [[32, 12]]
    assert len(read_points(photo, "yolo", PointConvention(label="head"))) == 1
    assert len(read_points(photo, "yolo", PointConvention(label="body"))) == 0
    assert set(find_photos(tmp_path, "yolo")) == {"train"}


def test_labels_around_the_folder_that_is_named_may_have_no_photo(tmp_path, capsys):
    write_photo(tmp_path / "images" / "a.png")
    write_tool(tmp_path / "labels", "yolo", {"a.png": POINTS, "b.png": POINTS})
    run(validate, tmp_path / "images", "--layout", "yolo", "--workers", 0, code=1)
    assert "annotation without photo: 1\n         ../labels/b.txt" in capsys.readouterr().out
    assert len(find_photos(tmp_path / "images", "yolo")["all"]) == 1
    assert "(the first: ../labels/b.txt)" in capsys.readouterr().err


def test_coco_files_of_two_splits_in_one_folder(tmp_path):
    for split in ("train2017", "val2017"):
        write_photo(tmp_path / split / f"{split}.png")
        text = coco({f"{split}.png": POINTS}, SIZE, "head")
        write_text(tmp_path / f"annotations/instances_{split}.json", text)
    found = find_photos(tmp_path, "coco")
    assert {split: len(photos) for split, photos in found.items()} == {"train": 1, "val": 1}
    for photos in found.values():
        assert len(read_points(photos[0], "coco")) == 3


OTHERS = [(a, b) for a in TOOLS for b in ("csv", "json", "coco", "labelme") if a != b]


@pytest.mark.parametrize(("tool", "layout"), OTHERS)
def test_a_file_of_another_tool_is_named_as_what_it_looks_like(tmp_path, tool, layout, capsys):
    root = tmp_path / "set"
    write_set(root, tool)
    said = refused(capsys, preprocess, *options(root, layout))
    assert f"--layout {tool}" in said
    assert "looks like" in said
    assert not (tmp_path / "out").exists()
    assert f"--layout {tool}" in refused(capsys, validate, root, "--layout", layout)
    assert f"--layout {tool}" in refused(capsys, fidt, *options(root, layout))


LABELLED = [name for name in TOOLS if name != "yolo"]


@pytest.mark.parametrize("tool", LABELLED)
def test_several_labels_are_a_question(tmp_path, tool, capsys):
    root = tmp_path / "set"
    for number, label in enumerate(["head", "head", "car"]):
        folder = root / ("train", "val", "test")[number]
        write_photo(folder / f"{number}.png", seed=number)
        write_tool(folder, tool, {f"{number}.png": POINTS}, label=label)
    said = refused(capsys, preprocess, *options(root, tool))
    assert "head 6, car 3" in said
    assert "--label" in said
    assert not (tmp_path / "out").exists()
    copied = "--layout", tool, "--fix", tmp_path / "copy"
    assert "--label" in refused(capsys, validate, root, *copied)
    assert not (tmp_path / "copy").exists()
    photos = [photo for split in find_photos(root, tool).values() for photo in split]
    (said,) = survey(photos, tool, PointConvention()).notes()
    assert "heads: not said yet (--label)" in said
    for label, number in (("head", 6), ("car", 3), ("car, head", 9), ("all", 9)):
        preprocess(options(root, tool, "--label", label))
        printed = capsys.readouterr().out
        assert f"labels: head 6, car 3; heads: {label}" in printed
        assert "3 photos written" in printed  # another label: all are out of date
        assert sum(map(len, written_heads(tmp_path / "out").values())) == number
    said = refused(capsys, preprocess, *options(root, tool), "--label", "heads")
    assert "there is no label 'heads' in the set (it has head 6, car 3)" in said


def test_keypoints_of_a_body_and_crowds_are_labels_of_their_own(tmp_path):
    photo = write_photo(tmp_path / "a.png")
    content = {
        "images": [{"id": 0, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "person", "keypoints": ["nose", "neck"]}],
        "annotations": [
            {"image_id": 0, "category_id": 1, "keypoints": [5, 6, 2, 5, 9, 1]},
            {"image_id": 0, "category_id": 1, "keypoints": [0, 0, 0, 8, 9, 1]},
            {"image_id": 0, "category_id": 1, "iscrowd": 1, "bbox": [20, 20, 10, 10]},
        ],
    }  # fmt: skip
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    for label, points in (("person/nose", [[5, 6]]), ("person (crowd)", [[25, 25]])):
        assert read_points(photo, "coco", PointConvention(label=label)).tolist() == points
    assert len(read_points(photo, "coco")) == 4


CONE = '<annotations><image name="a.jpg"><cone label="head"/></image></annotations>'


@pytest.mark.parametrize(
    ("layout", "file", "text", "says"),
    [
        ("cvat", "a.xml", "<annotations><track id='0'/></annotations>", "export for video"),
        ("cvat", "a.xml", "<annotation><object/></annotation>", "looks like Pascal VOC"),
        ("cvat", "a.xml", "<annotations><image/></annotations>", "is not as cvat writes it"),
        ("cvat", "a.xml", "<annotations><image>", "damaged or not XML"),
        ("via", "p.json", '{"project": {}, "file": {}, "view": {}, "metadata": {}}', "VIA 3"),
        ("yolo", "a.txt", "0 12 13 4 5\n", "line 1 is not a row of YOLO"),
        ("yolo", "a.txt", "0 0.5 0.5 0.1 0.1 0.9\n", "line 1 is not a row of YOLO"),
        ("labelme", "a.json", '{"shapes": [{"points": []}]}', "is not as labelme writes it"),
        ("labelme", "a.json", '{"shapes": [{"points": [[1, NaN]]}]}', "not finite"),
        ("labelme", "a.json", '{"flags": {}}', "is no labelme"),
        ("coco", "c.json", '{"images": [], "annotations": [{"image_id": 3}]}', "lacks"),
        ("cvat", "a.xml", CONE, "the shape 'cone' of a.jpg, which is not read"),
        ("makesense", "m.csv", "head,1,2,a.png,64,48\nhead,x,2,a.png,64,48\n", "line 2"),
        ("jhu", "train/gt/a.txt", "1 2 3 4 5 6\n1 2 3\n", "line 2 is not 6 numbers"),
        ("jhu", "train/gt/a.txt", "1 2 3 four 5 6\n", "line 1 is not 6 numbers"),
        ("jhu", "train/gt/a.txt", "nan 2 3 4 5 6\n", "not finite"),
        ("jhu", "train/gt/a.txt", "1 2 3 inf 5 6\n", "not finite"),
        ("nwpu", "jsons/a.json", '{"points": [[1, 2]', "damaged or not JSON"),
        ("nwpu", "jsons/a.json", "[1]", "no 'points'"),
        ("nwpu", "jsons/a.json", '{"points": [[1, 2], [3]]}', "not rows 'x, y'"),
        ("csv", "annotations.csv", "name,x,y\na.jpg,1,2\n", "is no CSV with the header image,x,y"),
        ("csv", "annotations.csv", "", "is no CSV with"),
        ("csv", "annotations.csv", "image,x,y\na.jpg,1,2\na.jpg,1\n", "line 3"),
        ("csv", "annotations.csv", "image,x,y\na.jpg,1,two\n", "line 2"),
        ("csv", "annotations.csv", "image,x,y\na.jpg,1,2\n,3,4\n", "line 3 is not a head"),
        ("csv", "a.csv", "image;x;y\na.jpg;1,5;2\n", "has semicolons between its columns: write"),
        ("csv", "a.csv", "image\tx\ty\na.jpg\t1\t2\n", "has tabs between its columns: write 1,5"),
        ("csv", "annotations.csv", "image,x,y\na.jpg,1,2,20,24\n", "line 2"),
        (
            "csv",
            "a.csv",
            "image,x,y,width,label\n",
            r"not read \(width, label\): keep image, x and",
        ),
        ("csv", "a.csv", "image,x,y,x,y\na.jpg,1,2,3,4\n", r"columns that are not read \(x, y\)"),
        ("csv", "annotations.csv", "image,x,y\na.jpg,nan,2\n", "'a.jpg': point 1 is not finite"),
        ("json", "points.json", '{"a.jpg": [[1, 2', "damaged or not JSON"),
        ("json", "points.json", '{"a.jpg": [["1", "2"]]}', "of numbers"),
        ("json", "points.json", '{"b.jpg": []}', "does not name the photo"),
        ("json", "p.json", '{"a.jpg": [[1, 2]], "a.jpg": []}', r"has 'a\.jpg' twice: join"),
    ],
)
def test_damaged_files_are_one_sentence(tmp_path, layout, file, text, says):
    folder = {"jhu": "train/images", "nwpu": "images"}.get(layout, "")
    photo = write_photo(tmp_path / folder / "a.jpg")
    write_text(tmp_path / file, text)
    with pytest.raises(InputError, match=says) as raised:
        read_points(photo, layout)
    assert str(tmp_path / file) in str(raised.value)


def test_rows_of_commas_alone_say_nothing(tmp_path):
    photo = write_photo(tmp_path / "a.png")
    write_text(tmp_path / "annotations.csv", ",,\nimage,x,y\n,,\na.png,3,4\n, ,\n,,\n")
    assert find_photos(tmp_path, "csv") == {"all": [photo]}
    assert read_points(photo, "csv").tolist() == [[3, 4]]


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
def test_a_table_that_is_not_utf_8_is_to_be_saved_so(tmp_path, encoding):
    photo = write_photo(tmp_path / "a.png")
    text = "image,x,y\na.png,3,4\ncafé.png,3,4\n"
    (tmp_path / "annotations.csv").write_text(text, encoding=encoding)
    with pytest.raises(
        InputError, match=r"annotations\.csv is not .*: save it as UTF-8 \(the head"
    ):
        read_points(photo, "csv")


def test_several_annotations_of_one_photo_and_turned_photos_are_refused(tmp_path):
    photo = write_photo(tmp_path / "a.png")
    write_tool(tmp_path, "labelstudio", {"a.png": POINTS})
    path = tmp_path / "annotations.json"
    (task,) = json.loads(path.read_text())
    (one,) = task["annotations"]
    turned = {"result": [{**one["result"][0], "image_rotation": 90}]}
    for annotations, says in (
        ([one, one], "was annotated 2 times"),
        ([], r"does not name the photo .*a\.png"),
        ([turned], "turned in the tool"),
    ):
        path.write_text(json.dumps([{**task, "annotations": annotations}]))
        with pytest.raises(InputError, match=says):
            read_points(photo, "labelstudio")
    path.write_text(json.dumps([{**task, "annotations": [one, {**one, "was_cancelled": True}]}]))
    assert len(read_points(photo, "labelstudio")) == 3


@pytest.mark.parametrize("minimal", [False, True])
def test_a_region_of_label_studio_is_one_head_whatever_is_said_of_it(tmp_path, minimal):
    photo = write_photo(tmp_path / "a.png")
    place = {"x": 50, "y": 25, "width": 0.5}
    said = [{"keypointlabels": ["head", "occluded"]}, {"choices": ["adult"]}, {"text": ["?"]}]
    frame = {"original_width": SIZE[0], "original_height": SIZE[1], "image_rotation": 0}
    task = {"annotator": 1, "image": "https://host/a.png?token=1"}
    if minimal:
        task |= {f"control{number}": [place | frame | one] for number, one in enumerate(said)}
    else:
        result = [{"id": "r", "value": place | one, **frame} for one in said]
        task = {"data": {"image": task["image"]}, "annotations": [{"result": result}]}
    (tmp_path / "annotations.json").write_text(json.dumps([task]))
    assert read_points(photo, "labelstudio").tolist() == [[32, 12]]
    assert look(photo, "labelstudio").annotation.labels == ("head+occluded",)


def test_uploads_that_label_studio_called_anew_are_found(tmp_path):
    photo = write_photo(tmp_path / "Straße (2), a.png")
    write_tool(tmp_path, "labelstudio", {"Straße_2_a.png": POINTS})
    assert find_photos(tmp_path, "labelstudio") == {"all": [photo]}
    np.testing.assert_allclose(read_points(photo, "labelstudio"), POINTS, atol=1e-5)


def test_frames_of_a_video_are_named_without_their_ending(tmp_path):
    photos = [write_photo(tmp_path / f"images/frame_{n}.PNG", seed=n) for n in range(3)]
    write_tool(tmp_path, "cvat", {f"frame_{n}": POINTS[: n + 1] for n in range(3)})
    assert [len(read_points(photo, "cvat")) for photo in photos] == [1, 2, 3]
    assert find_photos(tmp_path, "cvat") == {"all": photos}


def test_every_label_that_is_named_must_be_there(tmp_path, capsys):
    root = tmp_path / "set"
    for name in ("a.png", "b.png"):
        write_photo(root / name, seed=ord(name[0]))
    content = json.loads(via({"a.png": POINTS, "b.png": POINTS}, SIZE, "head"))
    kinds = [{"type": "head", "seen": "yes"}, {"type": "head", "seen": "no"}, {"type": "car"}]
    for photo in content["_via_img_metadata"].values():
        for region, kind in zip(photo["regions"], kinds, strict=True):
            region["region_attributes"] = kind
    write_text(root / "annotations.json", json.dumps(content))
    wanted = "type=head; seen=yes, type=head; seen=no"
    said = refused(capsys, preprocess, *options(root, "via", "--label", f"{wanted}, bus"))
    assert "there is no label 'bus' in the set" in said
    preprocess(options(root, "via", "--label", wanted))
    np.testing.assert_allclose(written_heads(tmp_path / "out")["a"], POINTS[:2])


def test_exports_of_yolo_keep_their_splits_and_names(tmp_path):
    for split, number in (("train", 2), ("valid", 1)):
        folder = tmp_path / f"obj_{split}_data"
        for index in range(number):
            write_photo(folder / f"{split}{index}.png", seed=index)
            write_tool(folder, "yolo", {f"{split}{index}.png": POINTS})
    write_text(tmp_path / "obj.names", "face\n")
    found = find_photos(tmp_path, "yolo")
    assert {name: len(photos) for name, photos in found.items()} == {"train": 2, "val": 1}
    assert set(look(found["val"][0], "yolo").annotation.labels) == {"face"}


def test_labels_beside_which_no_photos_lie_are_found(tmp_path, capsys):
    photo = write_photo(tmp_path / "images/train/a.png")
    for folder in ("train", "valid"):
        write_tool(tmp_path / "labels" / folder, "yolo", {photo.name: POINTS})
    run(validate, tmp_path, "--layout", "yolo", "--workers", 0, code=1)
    assert "annotation without photo" in capsys.readouterr().out


def test_a_clean_copy_of_photos_deep_in_folders_can_be_read(tmp_path):
    folder = tmp_path / "set/a/b/c/d"
    photos = [write_photo(folder / f"{n}.png", seed=n) for n in range(2)]
    write_tool(folder, "labelme", {photo.name: POINTS for photo in photos})
    run(validate, folder.parents[3], "--layout", "labelme", "--fix", tmp_path / "fix")
    copies = find_photos(tmp_path / "fix", "csv")["all"]
    assert [read_points(copy, "csv").tolist() for copy in copies] == [POINTS, POINTS]


def test_an_xml_bomb_is_refused_before_it_unpacks(tmp_path):
    photo = write_photo(tmp_path / "a.png")
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "x">{entities}]><annotations>&e9;</annotations>'
    for encoding in ("utf-8", "utf-16"):
        (tmp_path / "annotations.xml").write_text(bomb, encoding=encoding)
        with pytest.raises(InputError, match=r"document type|not readable as UTF-8"):
            read_points(photo, "cvat")


@pytest.mark.parametrize("tool", ["labelme", "cvat", "coco", "makesense"])
def test_photos_of_another_size_than_annotated_are_a_question(tmp_path, tool, capsys):
    root = tmp_path / "set"
    for name in ("a.png", "b.png"):
        write_photo(root / name, seed=ord(name[0]))
    write_tool(root, tool, {"a.png": POINTS, "b.png": POINTS}, size=(128, 96))
    said = refused(capsys, preprocess, *options(root, tool))
    assert "2 photos have another size than their annotations give" in said
    assert "128 x 96" in said
    assert not (tmp_path / "out").exists()
    preprocess(options(root, tool, "--point-units", "pixels"))
    np.testing.assert_allclose(written_heads(tmp_path / "out")["a"], POINTS, atol=1e-4)


def test_a_tool_that_ignores_exif_is_told_by_the_size_it_gives(tmp_path, capsys):
    root = tmp_path / "set"
    for name in ("a.png", "b.png"):
        write_photo(root / name, SIZE, orientation=6, seed=ord(name[0]))
    write_tool(root, "labelme", {"a.png": [[5, 40]], "b.png": [[5, 40]]}, size=(48, 64))
    assert "say --points stored" in refused(capsys, preprocess, *options(root, "labelme"))
    preprocess(options(root, "labelme", "--points", "stored"))
    # Orientation 6: x = W − y stored of the upright width, y = x stored.
    assert written_heads(tmp_path / "out")["a"].tolist() == [[24, 5]]


def test_names_of_photos_that_two_entries_may_mean(tmp_path):
    photo = write_photo(tmp_path / "a.png")
    write_tool(tmp_path, "via", {"a.png": POINTS})
    path = tmp_path / "annotations.json"
    content = json.loads(path.read_text())
    (entry,) = content["_via_img_metadata"].values()
    content["_via_img_metadata"]["other"] = entry
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"speaks of 'a\.png' twice"):
        read_points(photo, "via")
    path.unlink()
    names = "filename,file_size,region_count,region_shape_attributes,region_attributes"
    rows = [f'a.png,{size},1,"{{""name"":""point"",""cx"":3,""cy"":4}}","{{}}"' for size in (8, 9)]
    (tmp_path / "via.csv").write_text("\n".join([names, *rows]))
    with pytest.raises(InputError, match=r"speaks of 'a\.png' twice"):
        read_points(photo, "via")
    (tmp_path / "via.csv").unlink()
    rows = [f"head,3,4,{name},64,48" for name in ("/home/x/a.png", "/home/y/a.png")]
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    with pytest.raises(InputError, match="write the path relative"):
        read_points(photo, "makesense")
