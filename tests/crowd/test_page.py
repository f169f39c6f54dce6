"""The page's server: counts as --image does, keeps photos in memory, one sentence for bad input."""

import io
import re
import socket
import sys
import threading
import urllib.error
import urllib.request

import numpy as np
import pytest
import torch
from PIL import Image

from crowd.count.photos import Seen, count_photo
from crowd.count.region import Region
from crowd.data.network_input import Preprocessing
from crowd.io.errors import InputError
from crowd.page import __main__ as program
from crowd.page import server
from crowd.train.checkpoints import save_checkpoint
from GS2D.store import gaussians_path, write_gaussians
from gst.layers import processed_layers
from gst.models import build_model
from mgot import test as mgot_test
from tests.conftest import oriented, rows

HOW = Preprocessing(min_size=192)


def look(image, name):
    """A head at the brightest place; a density that is the brightness of cells of 8 pixels."""
    bright = image[..., 0] > 128
    y, x = np.argwhere(bright).mean(axis=0) + 0.5
    height, width = (side // 8 for side in bright.shape)
    density = bright[: 8 * height, : 8 * width].reshape(height, 8, width, 8).mean(axis=(1, 3))
    return Seen(density.sum(), image.copy(), np.array([[x, y]]), np.array([0.5]), density)


def encoded(pixels, orientation=1):
    Image.fromarray(pixels).save(content := io.BytesIO(), "PNG", exif=oriented(orientation))
    return content.getvalue()


@pytest.fixture
def stored():
    """A photo with a head at (44, 24)."""
    pixels = np.zeros((96, 128), np.uint8)
    pixels[20:28, 40:48] = 255
    return pixels


@pytest.fixture
def app():
    return server.build_app(server.Desk(look, HOW), "a counter")


@pytest.fixture
def client(app):
    return app.test_client()


def send(client, content, name="photo.png"):
    return client.post(f"/count?name={name}", data=content)


def refused(answer, code=400):
    assert answer.status_code == code
    return answer.get_json()["error"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_counts_as_a_command_counts_it(client, stored, tmp_path, orientation):
    content = encoded(stored, orientation)
    (tmp_path / "photo.png").write_bytes(content)
    sentence = count_photo(tmp_path / "photo.png", tmp_path, look, HOW)
    (row,) = rows(tmp_path / "photo_points.csv")  # in pixels of the photo as it is stored
    assert row["image"] == "photo.png"
    assert (float(row["x"]), float(row["y"])) == pytest.approx((44, 24), abs=0.6)
    assert (tmp_path / "photo_counted.jpg").is_file()
    found = send(client, content).get_json()
    assert sentence.startswith(f"{found['count']:.1f} people")
    assert found["csv"] == (tmp_path / "photo_points.csv").read_text()
    assert found["stored"] == [128, 96]
    # A region around the head as the picture shows it, and the same one in the photo as stored.
    ((x, y),) = found["heads"]
    square = [[x + i, y + j] for i, j in ((-20, -20), (20, -20), (20, 20), (-20, 20))]
    wanted = {"number": found["number"], "polygon": square, "area_m2": 2}
    inside = client.post("/region", json=wanted).get_json()
    corners = np.array([[34, 14], [54, 14], [54, 34], [34, 34.0]])
    region = Region(tmp_path / "region.json", (corners,), None, 2.0)
    sentence = count_photo(tmp_path / "photo.png", tmp_path, look, HOW, region)
    assert sentence.startswith(f"{inside['count_in_region']:.1f} people in the region")
    assert inside["count_in_region"] == pytest.approx(found["count"])
    assert inside["per_square_metre"] == pytest.approx(found["count"] / 2)
    nobody = [[[0, 0], [9, 0], [9, 9]], [[0, 9], [9, 0], [9, 9]]][orientation % 2]
    outside = client.post("/region", json=wanted | {"polygon": nobody, "area_m2": None})
    assert outside.get_json() == {"count": pytest.approx(found["count"]), "count_in_region": 0}


def test_photos_are_written_nowhere(client, full_disk):
    large = np.random.default_rng(0).integers(0, 255, (700, 700, 3), np.uint8)
    large[:9, :9] = 255
    with full_disk(0):
        answer = send(client, encoded(large))
    assert answer.status_code == 200


def test_a_bad_photo_is_one_sentence(client, stored, monkeypatch):
    whole = encoded(np.random.default_rng(0).integers(0, 255, (90, 90, 3), np.uint8))
    deep = io.BytesIO()
    Image.fromarray(np.full((40, 40), 900, np.uint16)).save(deep, "PNG")
    for content, words in (
        (b"", "photo.png is truncated or not a picture"),
        (b"no picture", "photo.png is truncated or not a picture"),
        (whole[: len(whole) // 2], "photo.png is truncated or not a picture"),
        (deep.getvalue(), "photo.png holds values 900 to 900"),
        (encoded(np.zeros((1, 900, 3), np.uint8)), "photo.png: 900 x 1 is too narrow a strip"),
    ):
        assert refused(send(client, content)).startswith(words)
    assert "HEIC" in refused(send(client, b"\0\0\0\x18ftypheic" + bytes(99), "phone.jpg"))
    monkeypatch.setenv("MAX_MEGAPIXELS", "0.01")
    assert "megapixels" in refused(send(client, encoded(stored)))


def test_a_photo_above_the_limit_is_refused(stored, monkeypatch):
    monkeypatch.setattr(server, "LIMIT", 0.01)
    client = server.build_app(server.Desk(look, HOW), "a counter").test_client()
    content = encoded(stored).ljust(10_000, b"0")
    assert send(client, content).status_code == 200
    assert "scale it down" in refused(send(client, content + b"0"), 413)


def test_what_is_no_region_is_one_sentence(client, stored):
    number = send(client, encoded(stored)).get_json()["number"]
    line, triangle = [[0, 0], [9, 9]], [[0, 0], [90, 0], [90, 90]]
    for polygon in (None, 3, "no", line, [[1, 2, 3]], [[0, 0], ["a", 1], [2, 2]], {"a": 1}):
        assert refused(client.post("/region", json={"number": number, "polygon": polygon}))
    for area in (0, -1, "5", [3]):
        wanted = {"number": number, "polygon": triangle, "area_m2": area}
        assert "the area" in refused(client.post("/region", json=wanted))
    for other in (number + 1, None, "1", [1]):
        said = refused(client.post("/region", json={"number": other, "polygon": triangle}))
        assert said == "this photo is no longer in memory: open it again"
    for text in (b"{", b"[" * 100_000):
        assert refused(client.post("/region", data=text))
    for _ in range(server.KEPT):
        send(client, encoded(stored))
    said = refused(client.post("/region", json={"number": number, "polygon": triangle}))
    assert said.startswith("this photo is no longer")


def test_the_page_asks_nobody_but_its_server(client):
    page = client.get("/").get_data(as_text=True)
    assert "default-src 'none'; connect-src 'self'" in page
    outside = r"https?:|//[a-z]+\.|@import|<script src|<link (?!rel=.icon. href=.data:)"
    assert not re.search(outside, page)


def test_only_this_machine_is_served(app):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"port {port} cannot be used .*--port"):
            server.serve(app, port)
    threading.Thread(target=server.serve, args=(app, port), daemon=True).start()
    address = f"http://127.0.0.1:{port}/about"
    for _ in range(100):
        try:
            with urllib.request.urlopen(address) as answer:
                assert b"a counter" in answer.read()
            break
        except urllib.error.URLError:
            threading.Event().wait(0.1)
    # All of 127.0.0.0/8 leads to this machine, and none of it but the one address to the page.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), 5)
    foreign = urllib.request.Request(address, headers={"Host": "a.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(foreign)


@pytest.fixture
def processed(tmp_path):
    """A processed set with a training photo of two heads, and their Gaussians."""
    photo = tmp_path / "set/train/one.png"
    photo.parent.mkdir(parents=True)
    Image.fromarray(np.full((520, 640, 3), 200, np.uint8)).save(photo)
    points = np.array([[100.0, 90, 60], [400, 300, 60]], np.float32)
    np.save(photo.with_suffix(".npy"), points)
    shape = np.array([[12.0, 9, 0.5, 1, 0, 0], [14, 14, 0, 0, 1, 0]])
    write_gaussians(gaussians_path(photo), np.hstack([points[:, :2], shape]))
    return tmp_path / "set"


def test_processed_photos_show_their_gaussians_and_kernel(processed):
    desk = server.Desk(look, HOW)
    client = server.build_app(desk, "a counter", str(processed), processed_layers).test_client()
    assert client.get("/about").get_json()["photos"] == {"train": ["one.png"]}
    found = client.get("/processed/train/one.png").get_json()
    assert (found["annotated"], found["of"]) == (2, [640, 520])
    expected = [[100, 90, 12, 9, 0.5], [400, 300, 14, 14, 0]]
    assert np.array(found["gaussians"]) == pytest.approx(np.array(expected))
    kernel = np.asarray(Image.open(urllib.request.urlopen(found["kernel"])))
    assert kernel.shape == (65, 80, 4)
    assert kernel[90 // 8, 100 // 8, 3] > 100
    assert kernel[300 // 8, 400 // 8, 3] > 100
    assert (kernel[90 // 8, 100 // 8, :3] != kernel[300 // 8, 400 // 8, :3]).any()
    assert kernel[50, 5, 3] == 0
    gaussians_path(processed / "train/one.png").unlink()
    assert "gaussians" not in client.get("/processed/train/one.png").get_json()
    for name in ("two.png", "..%2F..%2Fone.png", "../../secret.png"):
        assert client.get(f"/processed/train/{name}").status_code in (400, 404)
    with pytest.raises(InputError, match="no train, val or test"):
        server.build_app(desk, "a counter", str(processed / "train"))


@pytest.fixture
def started(monkeypatch):
    """Run the command up to serving; return the page's client."""

    def start(*options):
        apps = []
        monkeypatch.setattr(server, "serve", lambda app, port: apps.append(app))
        program.main([str(option) for option in options])
        return apps[0].test_client()

    return start


def test_a_set_made_for_another_counter_is_refused(tmp_path, failure):
    made = "min_size: 64\nmax_size: 2048\ninterpolation: bilinear\n"
    (tmp_path / "preprocess.yml").write_text(made)
    assert "min_size 64" in failure(program.main, "--data-dir", tmp_path, "--device", "cpu")


def test_the_checkpoint_says_which_method_counts(started, write_counter, tmp_path, capsys, failure):
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    counter = write_counter()
    options = ["--save_path", counter, "--device", "cpu", "--output", tmp_path]
    mgot_test.main([str(one) for one in (*options, "--image", tmp_path / "photo.png")])
    client = started("--save-path", counter, "--device", "cpu")
    found = send(client, (tmp_path / "photo.png").read_bytes()).get_json()
    assert capsys.readouterr().out.startswith(f"{found['count']:.1f} people")
    assert found["density"] is None
    assert found["csv"] == (tmp_path / "photo_points.csv").read_text()

    torch.manual_seed(0)
    weights = tmp_path / "weights.pth"
    save_checkpoint(weights, **build_model("vgg_small").state_dict())
    named = started("--save-path", weights, "--model-name", "vgg_small", "--device", "cpu")
    assert send(named, encoded(pixels)).get_json()["density"].startswith("data:image/png")
    assert "add --model-name (vgg, vgg_trans" in failure(lambda _: started("--save-path", weights))
    assert started("--device", "cpu").get("/about").get_json()["about"].startswith("light: ")


def test_without_flask_the_sentence_names_the_extra(monkeypatch, failure):
    monkeypatch.delitem(sys.modules, "crowd.page.server")
    monkeypatch.setitem(sys.modules, "flask", None)
    monkeypatch.delattr(sys.modules["crowd.page"], "server")
    assert 'pip install "mgot-gst[page]"' in failure(program.main, "--device", "cpu")
