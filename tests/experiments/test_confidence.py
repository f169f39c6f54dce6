"""How right pseudo labels are, by confidence."""

import numpy as np
import pytest

from crowd.data.images import write_image
from crowd.data.stage import origin, record_path, write_record
from crowd.io.files import write_array
from crowd.io.h5 import write_h5
from experiments.__main__ import main

SIDE = 64


@pytest.fixture
def sets(tmp_path):
    """A labelled set, of two photos with (x, y, confidence) each, and the true heads."""
    labels = {"a": [(10, 10, 0.9), (50, 10, 0.25)], "b": [(20, 40, 0.45)]}
    # Of the last two heads, one is just too far away, and one just near enough.
    truth = {"a": [(11, 10), (50.5, 18.6)], "b": [(20.5, 48.5)]}
    for name, heads in labels.items():
        fidt_map = np.zeros((SIDE, SIDE), np.float32)
        for x, y, value in heads:
            fidt_map[y, x] = value
        points = np.array(heads)[:, :2] + 0.5
        for folder, annotation in (("labelled", points), ("annotated", truth[name])):
            photo = tmp_path / folder / "train" / f"{name}.png"
            write_image(photo, np.zeros((SIDE, SIDE, 3), np.uint8))
            write_array(photo.with_suffix(".npy"), np.array(annotation, np.float32))
        write_h5(tmp_path / "labelled/train" / f"{name}.h5", fidt_map=fidt_map)
    return tmp_path / "labelled", tmp_path / "annotated"


def test_surer_heads_are_counted_alone(sets, capsys):
    main(["confidence", *map(str, sets)])
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()[1:]]
    by_threshold = {float(row.split()[3]): row for row in rows}
    # Of three heads two are right, and one of three true ones is missed.
    assert by_threshold[0.0] == "3 heads of 0 or more 66.67% 66.67% 66.67%"
    assert by_threshold[0.25] == "3 heads of 0.25 or more 66.67% 66.67% 66.67%"
    # The wrong one is the least sure.
    assert by_threshold[0.35] == "2 heads of 0.35 or more 80.00% 100.00% 66.67%"
    assert by_threshold[0.5] == "1 heads of 0.5 or more 50.00% 100.00% 33.33%"


def test_another_set_is_named(sets, failure):
    (sets[1] / "train/a.png").rename(sets[1] / "train/c.png")
    assert "has no a: name the set that was labelled" in failure(main, "confidence", *sets)


def test_redrawn_labels_have_no_confidence(sets, failure):
    photo = sets[0] / "train/b.png"
    write_record(record_path(photo), origin({"redraw": True}, [photo]))
    assert "written with --redraw" in failure(main, "confidence", *sets)
