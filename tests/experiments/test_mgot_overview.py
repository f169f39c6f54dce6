"""MGOT in one row, from the files that its stages leave."""

import numpy as np
import pytest

from bench.measure import random_maps
from crowd.data.images import write_image
from crowd.io.files import write_text
from crowd.io.h5 import write_h5
from experiments import transfers
from experiments.__main__ import main
from mgot.feature_files import write_index_lists
from mgot.features import write_features
from mgot.patches import patches_of

KINDS = {"source": (0, 0, 2, 2), "target": (2, 2, 0, 0)}


@pytest.fixture
def transfer(tmp_path):
    """A transfer of a photo a side; sparse patches are the source's first and target's second."""
    work = tmp_path / "mgot_toy"
    for domain, (role, kinds) in zip("ab", KINDS.items(), strict=True):
        photo = tmp_path / f"synthetic_{domain}_fidt/train/photo.png"
        write_image(photo, np.full((512, 512, 3), 90, np.uint8))
        patches = list(patches_of(photo, work / f"{role}_patches"))
        for patch in patches:
            write_image(patch, np.full((256, 256, 3), 90, np.uint8))
        maps, names = random_maps(kinds, 0), [patch.name for patch in patches]
        write_features(work / f"{role}_features.h5", names, "", lambda i, j, maps=maps: maps[i:j])
        write_h5(work / f"{role}_centers.h5", cluster_center=maps.reshape(2, 2, -1).mean(axis=1))
        write_index_lists(work / f"{role}_clusters.npy", [[0, 1], [2, 3]])
    lines = ["transfer: toy", "source: synthetic_a", "target: synthetic_b", "target_size: 512x512"]
    lines += [f"{root}_root: {tmp_path}" for root in ("data", "runs")]
    write_text(tmp_path / "toy.yml", "\n".join(lines))
    return tmp_path / "toy.yml"


def test_clusters_and_patches_stand_above_those_they_are_matched_with(transfer, monkeypatch):
    drawn, write = [], transfers.write_figure
    keep = "write_figure", lambda *one: drawn.append(one[1]) or write(*one)
    monkeypatch.setattr(transfers, *keep)
    main(["overview", str(transfer), "--output", str(transfer.parent)])
    assert (transfer.parent / "toy_overview.jpg").is_file()
    photo, clusters, patches = drawn[0].subfigs
    assert [len(panel.axes) for panel in (photo, clusters, patches)] == [1, 4, 8]
    assert len(photo.axes[0].patches) == 4
    # Dense over dense, sparse over sparse.
    sums = np.array([axis.images[0].get_array().sum() for axis in clusters.axes]).reshape(2, 2)
    assert ((sums[:, 0] > 2 * sums[:, 1]) | (sums[:, 1] > 2 * sums[:, 0])).all()
    assert (sums.argmax(axis=1) == sums[0].argmax()).all()
    assert patches.axes[0].get_title().startswith("cost ")
