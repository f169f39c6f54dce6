"""The packages as a library: a wheel, few dependencies, and the example of docs/LIBRARY.md."""

import importlib.metadata
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import numpy as np
import pytest
import torch

from gst import TransportLoss
from gst.heads import Heads, round_heads
from gst.loss import gaussian_transport_loss_reference
from gst.options import KernelOptions
from tests.conftest import ROOT, python

PACKAGES = ("GS2D", "crowd", "gst", "mgot")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def distributions(requirements):
    """Names of what the requirements install, themselves included; of extras, nothing."""
    names, waiting = set(), [one for one in requirements if "extra ==" not in one]
    while waiting:
        name = re.match(r"[\w.-]+", waiting.pop()).group().lower().replace("_", "-")
        if name in names:
            continue
        names.add(name)
        try:
            more = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:  # of another system
            continue
        waiting += [one for one in more if "extra ==" not in one]
    return names


def not_needed():
    """Modules of the packages that are installed here and no hard dependency brings."""
    needed = distributions(PROJECT["dependencies"])
    return [
        module
        for module, names in importlib.metadata.packages_distributions().items()
        if module not in PACKAGES  # an install of the checkout says that it brings these
        and not needed & {name.lower().replace("_", "-") for name in names}
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """An unpacked wheel of the checkout, built from a copy of it."""
    folder = tmp_path_factory.mktemp("wheel")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / "source" / package)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / "source")
    program = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    command = [sys.executable, "-c", program]
    subprocess.run(command, cwd=folder / "source", check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run_without_extras(wheel, program):
    # A module that is None in there cannot be imported.
    start = f"import sys; sys.modules.update(dict.fromkeys({not_needed()})); "
    return python(f"{start}sys.path[0] = {str(wheel)!r}\n{program}", cwd=wheel)


def test_the_example_of_the_documentation_trains(wheel):
    text = (ROOT / "docs/LIBRARY.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", text, re.S).group(1)
    done = run_without_extras(wheel, "import torch; torch.manual_seed(0)\n" + example)
    assert done.returncode == 0, done.stderr
    found = [float(number) for number in re.findall(r"-?\d+\.?\d*(?:e-\d+)?", done.stdout)]
    # A guess of nothing costs (3 + 0) / 2; three people and nobody are what it is taught.
    assert found[0] < 1.2
    assert found[1:] == pytest.approx([3, 0], abs=1.5)


def test_fit_and_alignment_need_no_extra(wheel):
    program = """
import numpy as np, GS2D, gst, mgot
photo, points = np.zeros((48, 64, 3), np.uint8), [[20.0, 20.0], [40.0, 30.0]]
fit = GS2D.fit_gaussians(photo, points, iterations=3, quiet=True)
assert gst.__file__.startswith(PLACE)
maps = np.random.default_rng(0).random((3, 224, 224))
print(fit.scales.shape, mgot.match_patches(maps, maps)[0].tolist())
"""
    done = run_without_extras(wheel, f"PLACE = {str(wheel)!r}" + program)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0] == "(2, 2) [0, 1, 2]"


FUNCTIONS = """
mgot.fidt_map([[3.0, 4.0]], 8, 8)                                       cv2           commands
mgot.build_model("hrnet_w48")                                           torchvision   commands
gst.build_model("vgg", "imagenet")                                      torchvision   commands
gst.build_model("light", "imagenet")                                    efficientnet_ commands
mgot.build_model("light_fidt", "imagenet")                              efficientnet_ commands
importlib.import_module("crowd.count.export")                           onnx          export
Preprocessing().resize(numpy.zeros((9, 9, 3), "uint8"))                 cv2           commands
crowd.io.files.read_yaml(gst.__path__[0] + "/configs/sha.yml", "")      yaml          commands
crowd.synthetic.make_dataset("never", "qnrf", 1, 0, "a")                cv2           commands
"""


def test_functions_name_the_extra_that_they_need(wheel):
    wanted = [re.split(r"\s{2,}", line) for line in FUNCTIONS.strip().splitlines()]
    wanted = [(call, *rest[0].split(), *rest[1:]) for call, *rest in wanted]
    program = f"""
import importlib, numpy, crowd.io.files, crowd.synthetic, gst, mgot
from crowd.data.network_input import Preprocessing
gst.build_model("light"), mgot.build_model("hrnet_small")
for call in {[call for call, *_ in wanted]}:
    try:
        print(eval(call))
    except ImportError as error:
        print(error)
"""
    done = run_without_extras(wheel, program)
    assert done.returncode == 0, done.stderr
    for (call, package, name), said in zip(wanted, done.stdout.splitlines(), strict=True):
        assert re.match(rf"{package}\S* is needed for ", said), (call, said)
        assert f'pip install "mgot-gst[{name}]"' in said, (call, said)


def test_commands_name_the_extra_that_they_need(wheel):
    for module in ("gst.export", "mgot.features", "crowd.validate", "GS2D.process_gaussians"):
        program = f"import runpy; runpy.run_module({module!r}, run_name='__main__')"
        done = run_without_extras(wheel, program)
        assert done.returncode == 2, done.stderr
        assert re.fullmatch(r'error: .* "mgot-gst\[commands\]".*\n', done.stderr), done.stderr


@pytest.mark.parametrize(
    ("stride", "options"), [(8, {}), (5, {"background_ratio": 0.1, "use_background": False})]
)
def test_the_module_is_the_readable_loss_with_its_gradient(stride, options):
    generator = torch.Generator().manual_seed(3)
    points = [200 * torch.rand(n, 2, generator=generator) for n in (7, 0, 40)]
    side = 200 // stride
    density = torch.rand(3, 1, side, side, generator=generator) / 50
    results = []
    for loss_of in (
        lambda d: TransportLoss(stride, **options)(d, points),
        lambda d: gaussian_transport_loss_reference(
            [round_heads(one) for one in points], d, KernelOptions(**options), stride
        ),
    ):
        leaf = density.clone().requires_grad_()
        loss = loss_of(leaf)
        loss.backward()
        results.append((loss.item(), leaf.grad))
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=0, atol=2e-5)


def test_points_gaussians_and_heads_are_the_same_to_it():
    points = np.array([[20.0, 30], [50, 40], [90, 90], [30, 80]], np.float32)
    heads = round_heads(points)
    density, criterion = torch.full((1, 1, 16, 16), 0.01), TransportLoss()
    given = [points, points.tolist(), tuple(points.tolist()), tuple(heads[:3]), heads]
    losses = [criterion(density, [one]).item() for one in given]
    losses.append(criterion(density.numpy(), [points]).item())
    assert losses == pytest.approx([losses[0]] * 6, rel=1e-6)
    halves = Heads(*heads[:3], heads.targets / 2)
    assert criterion(density, [halves]).item() != pytest.approx(losses[0])


def test_what_is_no_point_is_refused():
    density = torch.ones(1, 1, 4, 4)
    gaussians = [[1.0, 2]], [[3.0, 3], [3, 3]], [0.0]
    columns = [[20.0, 31, 9], [90, 64, 9]]  # as train/NAME.npy has them: 3 a head
    for wrong in ([[1.0, float("nan")]], gaussians, columns, [20.0, 31]):
        with pytest.raises(ValueError, match=r"finite|needed"):
            TransportLoss()(density, [wrong])


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16])
def test_the_loss_of_a_map_of_half_precision_is_wide(precision):
    density = torch.full((1, 1, 64, 64), 20.0, dtype=precision, requires_grad=True)
    heads = [[x, y] for x in range(40, 500, 100) for y in range(40, 500, 50)]
    loss = TransportLoss()(density, [heads])
    wide = TransportLoss()(density.detach().float(), [heads])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, wide, rtol=0, atol=0)
    loss.backward()
    assert density.grad.dtype == precision


def test_the_wheel_holds_the_configurations_and_the_page(wheel):
    assert (wheel / "gst/configs/sha.yml").is_file()
    assert (wheel / "mgot/configs/A2B.yml").is_file()
    assert (wheel / "crowd/page/page.html").is_file()
    assert not (wheel / "tests").exists()
