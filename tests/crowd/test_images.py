"""Photos: upright RGB whatever is stored, and one sentence for what is no photo."""

import numpy as np
import pytest
from PIL import Image

from crowd.data.images import (
    open_image,
    read_image,
    read_mask,
    read_orientation,
    read_size,
    read_stored,
    write_image,
)
from crowd.io.errors import InputError
from tests.conftest import oriented, python
from tests.crowd.sets import as_stored

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)


def save(path, array, orientation=None, **options):
    exif = Image.Exif() if orientation is None else oriented(orientation)
    Image.fromarray(array).save(path, exif=exif, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", [None, 0, *range(1, 10)])
def test_exif_is_applied(tmp_path, orientation, suffix):
    told = orientation if orientation in range(1, 9) else 1
    stored = as_stored(PIXELS, told)
    path = save(tmp_path / f"a.{suffix}", stored, orientation)
    assert np.array_equal(read_image(path), PIXELS)
    image, *more = read_stored(path)
    assert np.array_equal(image, PIXELS)
    assert more[0] == read_orientation(path) == told
    assert open_image(path).size == PIXELS.shape[1::-1]
    assert read_size(path) == stored.shape[1::-1]
    for values in (stored // 128, stored[..., 0] // 128):
        mask = values.any(axis=2) if values.ndim == 3 else values
        assert np.array_equal(read_mask(save(path, values, orientation)), mask)
    assert np.array_equal(read_image(path)[..., 0], PIXELS[..., 0] // 128)


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "CMYK", "I;16", "I"])
def test_every_mode_is_read_as_rgb(tmp_path, mode):
    grey = np.array([[0, 255], [255, 0]], np.uint8)
    if mode.startswith("I"):
        kind = np.uint16 if mode == "I;16" else np.int32
        image = Image.fromarray(grey.astype(kind) * kind(257))
    else:
        image = Image.fromarray(grey).convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "I") else "a.png")
    image.save(path)
    read = read_image(path)
    assert read.dtype == np.uint8
    assert np.array_equal(read, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("kept", [0.0, 0.2, 0.8])
def test_truncated_photo(tmp_path, suffix, kept):
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(tmp_path / f"a.{suffix}", noise)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match=rf"a\.{suffix} is truncated or not a picture"):
        read_image(path)


@pytest.mark.parametrize("share", [0.4, 0.7])
def test_decompression_bomb(tmp_path, monkeypatch, share):
    path, before = save(tmp_path / "a.png", PIXELS), Image.MAX_IMAGE_PIXELS
    monkeypatch.setenv("MAX_MEGAPIXELS", str(PIXELS[..., 0].size * share / 1e6))
    with pytest.raises(InputError, match=r"a\.png has more than the .* set the variable MAX_MEGA"):
        read_image(path)
    assert before == Image.MAX_IMAGE_PIXELS
    monkeypatch.setenv("MAX_MEGAPIXELS", "many")
    with pytest.raises(InputError, match=r"MAX_MEGAPIXELS=many is no limit"):
        read_image(path)
    monkeypatch.setenv("MAX_MEGAPIXELS", "1")
    assert np.array_equal(read_image(path), PIXELS)


MEASURE = """
import re, sys
from crowd.data.images import read_image

def megabytes():
    # Not of resource.getrusage, which begins with the parent's.
    return int(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]) / 1000

read_image(sys.argv[1])
before = megabytes()
image = read_image(sys.argv[2])
print(image.shape[0] * image.shape[1] / 1e6, megabytes() - before)
"""


@pytest.mark.parametrize("mode", ["RGB", "L", "I;16"])
def test_a_large_photo_takes_little_more_memory_than_decoded(tmp_path, mode):
    """Pillow has 4 bytes a pixel of colours, the result 3; converting or turning adds no copy."""
    for name, size in (("small", (64, 64)), ("large", (8000, 6000))):
        grey = np.linspace(0, 65535, size[0] * size[1]).reshape(size[::-1]).astype(np.uint16)
        image = Image.fromarray(grey if mode == "I;16" else np.uint8(grey >> 8))
        image = image if mode == "I;16" else image.convert(mode)
        image.save(tmp_path / f"{name}.tif", exif=oriented(6))
    paths = [str(tmp_path / f"{name}.tif") for name in ("small", "large")]
    pixels, added = map(float, python(MEASURE, *paths).stdout.split())
    assert pixels == 48
    assert added < 48 * 8.5


def test_written_pictures(tmp_path):
    write_image(tmp_path / "a.png", PIXELS)
    assert np.array_equal(read_image(tmp_path / "a.png"), PIXELS)
    write_image(tmp_path / "a.png", np.array([[[0.0, 0.5, 1.7]]]))
    assert read_image(tmp_path / "a.png").tolist() == [[[0, 128, 255]]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
