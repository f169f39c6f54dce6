"""The page in a real browser: drop a photo, read the count, draw a region, save."""

import base64
import json
import re
import shutil
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

import test as gst_test
from crowd.synthetic.scene import render_scene
from GS2D.store import gaussians_path, write_gaussians
from tests.conftest import oriented

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # W3C WebDriver's name of a reference
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-dev-shm-usage --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update "
    "--disable-sync --window-size=1200,900"
)
DROP = """
const bytes = Uint8Array.from(atob(arguments[0]), one => one.charCodeAt(0));
const dataTransfer = new DataTransfer();
dataTransfer.items.add(new File([bytes], arguments[1]));
document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true}));
"""

pytestmark = pytest.mark.skipif(
    shutil.which("chromedriver") is None,
    reason="a browser is needed: apt-get install chromium chromium-driver",
)


class Browser:
    """A headless browser, told what to do by the W3C WebDriver protocol."""

    def __init__(self, folder):
        command = ["chromedriver", "--port=0"]
        self.driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        said = iter(self.driver.stdout.readline, "")
        (port,) = next(
            found for line in said if (found := re.findall(r"successfully on port (\d+)", line))
        )
        self.address = f"http://127.0.0.1:{port}/session"
        options = {
            "args": [*FLAGS.split(), f"--user-data-dir={folder / 'profile'}"],
            "prefs": {"download.default_directory": str(folder)},
        }
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        self.address += "/" + self.tell("", capabilities={"alwaysMatch": wanted})["sessionId"]

    def tell(self, command, **values):
        request = urllib.request.Request(self.address + command, json.dumps(values).encode())
        with urllib.request.urlopen(request, timeout=300) as answer:
            return json.load(answer)["value"]

    def run(self, expression):
        return self.tell("/execute/sync", script=f"return {expression}", args=[])

    def wait(self, condition):
        end = time.monotonic() + 300
        while time.monotonic() < end:
            if self.run(condition):
                return
            time.sleep(0.1)
        raise AssertionError(f"never: {condition}; {self.run('document.body.innerText')}")

    def text(self, name):
        return self.run(f"document.getElementById('{name}').innerText")

    def find(self, name):
        return self.tell("/element", using="css selector", value=f"#{name}")[ELEMENT]

    def click(self, name):
        self.tell(f"/element/{self.find(name)}/click")

    def type(self, name, text):
        self.tell(f"/element/{self.find(name)}/value", text=text)

    def click_at(self, name, places):
        """Click at places (x, y) from the middle of an element, at the last one twice."""
        origin = {ELEMENT: self.find(name)}
        press = [{"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        steps = []
        for x, y in places:
            steps += [{"type": "pointerMove", "x": x, "y": y, "origin": origin}, *press]
            # Two clicks that follow each other at once would be a double click.
            steps += press if (x, y) == places[-1] else [{"type": "pause", "duration": 600}]
        self.tell("/actions", actions=[{"type": "pointer", "id": "mouse", "actions": steps}])

    def drop(self, path):
        content = base64.b64encode(path.read_bytes()).decode()
        self.tell("/execute/sync", script=DROP, args=[content, path.name])

    def faults(self):
        log = self.tell("/se/log", type="browser")
        return [line["message"] for line in log if line["level"] in ("SEVERE", "WARNING")]

    def close(self):
        request = urllib.request.Request(self.address, method="DELETE")
        urllib.request.urlopen(request, timeout=60).close()
        self.driver.terminate()
        self.driver.wait()


@pytest.fixture
def photos(tmp_path):
    """A drawn photo, and one whose file lies on its side, as phones write them."""
    scene = Image.fromarray(render_scene(3, "a", 0, size=(400, 300)).image)
    scene.save(tmp_path / "street, 1.png")
    scene.rotate(90, expand=True).save(tmp_path / "phone.png", exif=oriented(6))
    return tmp_path / "street, 1.png", tmp_path / "phone.png"


@pytest.fixture
def address(root, tmp_path):
    """Where the command serves its page, with a processed photo to choose."""
    photo, scene = tmp_path / "set/train/drawn.png", render_scene(3, "a", 1)
    photo.parent.mkdir(parents=True)
    Image.fromarray(scene.image).save(photo)
    heads = np.column_stack([scene.points, np.full(len(scene.points), 60.0)])
    np.save(photo.with_suffix(".npy"), heads.astype(np.float32))
    shapes = np.tile([9.0, 7, 0.4, 1, 0, 0], (len(heads), 1))
    write_gaussians(gaussians_path(photo), np.hstack([scene.points, shapes]))
    command = [sys.executable, "-m", "crowd.page", "--port", "0", "--device", "cpu"]
    command += ["--data-dir", str(tmp_path / "set")]
    program = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)
    yield program.stdout.readline().split()[0]
    program.terminate()
    program.wait()


@pytest.fixture
def browser(tmp_path):
    opened = Browser(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def count_as_a_command(capsys):
    """Give test.py a photo; return what it says of it, and the points that it writes."""

    def count(photo, *options):
        output = photo.parent / "counted"
        command = ["--device", "cpu", "--image", photo, "--output", output, *options]
        gst_test.main([str(word) for word in command])
        sentence = capsys.readouterr().out.splitlines()[-1]
        return sentence, (output / f"{photo.stem}_points.csv").read_text()

    return count


def saved(path):
    for _ in range(100):
        if path.is_file():
            return path
        time.sleep(0.1)
    raise AssertionError(f"{path} was not saved")


def test_a_visitor_counts_photos_draws_a_region_and_saves(
    address, browser, photos, count_as_a_command, tmp_path
):
    street, phone = photos
    browser.tell("/url", url=address)
    browser.type("file", str(street))
    browser.wait("document.getElementById('count').innerText")
    sentence, points = count_as_a_command(street)
    assert sentence.startswith(f"{browser.text('count')} people in")
    assert f"{points.count(chr(10)) - 1} heads found" == browser.text("heads-label")
    browser.click("save-csv")
    assert saved(tmp_path / "street, 1_points.csv").read_text() == points

    width, height = browser.run("[canvas.clientWidth, canvas.clientHeight]")
    quarter = [(-width // 4, -height // 4), (width // 4, -height // 4), (0, height // 4)]
    browser.click_at("canvas", quarter)
    browser.wait("!document.getElementById('inside').hidden")
    corners = browser.run("corners.map(([x, y]) => [x / canvas.width, y / canvas.height])")
    assert np.ravel(corners) == pytest.approx([0.25, 0.25, 0.75, 0.25, 0.5, 0.75], abs=0.01)
    region = [[400 * x, 300 * y] for x, y in corners]
    browser.type("area", "50\t")
    browser.wait("!document.getElementById('crowding').hidden")
    (tmp_path / "region.json").write_text(json.dumps({"polygons": [region], "area_m2": 50}))
    sentence, _ = count_as_a_command(street, "--region", tmp_path / "region.json")
    found = re.match(r"(\S+) people in the region .* (\S+) per square", sentence)
    assert browser.text("inside-count") == found[1]
    assert float(browser.text("per-metre")) == float(found[2])
    browser.click("save-picture")
    with Image.open(saved(tmp_path / "street, 1_counted.jpg")) as picture:
        assert picture.size == tuple(browser.run("[canvas.width, canvas.height]"))

    browser.click("clear")
    assert browser.run("document.getElementById('area').value") == ""
    browser.type("area", "60")
    browser.drop(phone)
    browser.wait("document.getElementById('facts').innerText.startsWith('phone.png')")
    assert browser.run("document.getElementById('area').value") == ""
    sentence, points = count_as_a_command(phone)
    assert sentence.startswith(f"{browser.text('count')} people in")
    assert browser.run("shown.csv") == points
    assert browser.run("canvas.width > canvas.height")

    browser.run("document.getElementById('photos').selectedIndex = 1")
    browser.run("document.getElementById('photos').onchange()")
    browser.wait("document.getElementById('facts').innerText.startsWith('drawn.png')")
    assert "annotated" in browser.text("facts")
    plain = browser.run("canvas.toDataURL()")
    for layer in ("gaussians", "kernel"):
        browser.click(layer)
        assert browser.run("canvas.toDataURL()") != plain
        browser.click(layer)
        assert browser.run("canvas.toDataURL()") == plain
    assert browser.faults() == []

    (tmp_path / "text.jpg").write_text("no picture")
    browser.type("file", str(tmp_path / "text.jpg"))
    browser.wait("!document.getElementById('error').hidden")
    assert browser.text("error").startswith("text.jpg is truncated or not a picture")
    assert browser.text("count")
    assert "400" in " ".join(browser.faults())  # they are reported
