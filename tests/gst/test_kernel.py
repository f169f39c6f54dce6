import math

import numpy as np
import pytest
import torch

from gst import transport_kernel
from gst.kernel import BACKGROUND, cell_centers, transport_kernel_reference


def draw(count, size=64, seed=0):
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, size, (count, 2)).astype(np.float32)
    scales = rng.uniform(2, 30, (count, 2)).astype(np.float32)
    rotations = rng.uniform(0, math.pi, count).astype(np.float32)
    return points, scales, rotations


@pytest.mark.parametrize("case", ["a", "b", "nobg"])
def test_released_kernels_are_matched(golden, case):
    data = np.load(golden / f"gst_kernel_{case}.npz")
    names = "background_ratio", "cut_off", "post_min", "post_max", "use_background"
    options = {name: data[name].item() for name in names}
    images = np.flatnonzero(data["n"])
    assert len(images)
    for i in images:
        gaussians = [data[f"{name}{i}"] for name in ("points", "scales", "rotations")]
        kernel = transport_kernel(*gaussians, int(data["crop"]), int(data["stride"]), **options)
        assert kernel.dtype == torch.float32
        np.testing.assert_allclose(kernel, data[f"kernel{i}"], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("use_background", [True, False])
@pytest.mark.parametrize("owners", [None, [0, 1, 1, 0, 2, 0]])
def test_values_and_gradients_are_those_of_the_reference(use_background, owners):
    results = []
    options = {"scale_ratio": 0.9, "use_background": use_background, "owners": owners}
    for function in (transport_kernel, transport_kernel_reference):
        gaussians = [torch.tensor(array, requires_grad=True) for array in draw(6)]
        kernel = function(*gaussians, (40, 56), **options)
        generator = torch.Generator().manual_seed(1)
        cotangent = torch.randn(kernel.shape, generator=generator, dtype=torch.float64)
        (kernel * cotangent).sum().backward()
        results.append([kernel.detach(), *(g.grad for g in gaussians)])
    for fast, slow in zip(*results, strict=True):
        assert slow.abs().max() > 0
        torch.testing.assert_close(fast.double(), slow.double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("use_background", [True, False])
def test_columns_sum_to_one(use_background):
    kernel = transport_kernel(*draw(30, 512), 512, use_background=use_background)
    assert kernel.shape == (30 + use_background, 64 * 64)
    assert kernel.min() >= 0
    torch.testing.assert_close(kernel.sum(0), torch.ones(64 * 64))
    # Far from every head nothing overflows.
    corner = np.zeros((2, 2)), np.full((2, 2), 0.1), np.zeros(2)
    kernel = transport_kernel(*corner, 4096, use_background=use_background)
    torch.testing.assert_close(kernel.sum(0), torch.ones(512 * 512))
    assert kernel[-1, -1] == (1 if use_background else 0.5)


@pytest.mark.parametrize(("scale", "ratio"), [(8.0, 64.0), (8.0, 0.015), (20.0, 0.015)])
def test_background_takes_over_where_its_options_say(scale, ratio):
    # Head and background explain a cell equally well where 2z = −cut²/2 − log(|Σ|^½ / ratio): with
    # a ratio of |Σ|^½ at cut / √2 standard deviations from the head, by default farther off.
    cut_off = 3.0
    deviations = math.sqrt(cut_off**2 / 2 + math.log(scale**2 / ratio))
    assert ratio != scale**2 or deviations == pytest.approx(cut_off / math.sqrt(2))
    head = np.array([[4.0 - deviations * scale, 4.0]])
    options = {"background_ratio": ratio, "cut_off": cut_off}
    kernel = transport_kernel(head, [[scale, scale]], [0.0], 8, **options)
    torch.testing.assert_close(kernel, torch.full((2, 1), 0.5), rtol=0, atol=4e-6)


def test_first_axis_turns_from_x_towards_y():
    # A long Gaussian along the diagonal x = y beats a round one there, and loses across it.
    gaussians = np.full((2, 2), 32.0), [[20.0, 8.0], [12.0, 12.0]], [[math.pi / 4], [0.0]]
    share = transport_kernel(*gaussians, 64, use_background=False)[0].reshape(8, 8)
    assert share[7, 7] > 0.5 > share[0, 7]
    assert share[0, 0] > 0.5 > share[7, 0]
    torch.testing.assert_close(share, share.T)


def test_cells_run_row_by_row():
    kernel = transport_kernel(np.array([[52.0, 12.0]]), [[8.0, 8.0]], [0.0], (24, 64))
    assert kernel.shape == (2, 3 * 8)
    assert divmod(int(kernel[0].argmax()), 8) == (1, 6)
    xs, ys = cell_centers((24, 64), 8)
    assert xs.tolist() == [4, 12, 20, 28, 36, 44, 52, 60]
    assert ys.tolist() == [4, 12, 20]


def test_scales_are_clamped():
    points, _, rotations = draw(4)

    def kernel(scale, **options):
        return transport_kernel(points, np.full((4, 2), scale), rotations, 64, **options)

    torch.testing.assert_close(kernel(0.5), kernel(8.0))
    torch.testing.assert_close(kernel(90.0), kernel(20.0))
    torch.testing.assert_close(kernel(1.0, post_min=4.0), kernel(2.0, post_min=4.0))
    torch.testing.assert_close(kernel(6.0, scale_ratio=2.0), kernel(12.0))
    assert not torch.allclose(kernel(8.0), kernel(20.0))


def test_without_heads_all_is_background():
    nothing = draw(0)
    for kernel in (transport_kernel, transport_kernel_reference):
        torch.testing.assert_close(kernel(*nothing, 32).float(), torch.ones(1, 16))
    assert transport_kernel(*nothing, 32, use_background=False).shape == (0, 16)
    owned = transport_kernel(*nothing, 32, owners=[], annotations=2)
    torch.testing.assert_close(owned, torch.tensor([[0.0], [0.0], [1.0]]).expand(3, 16))


def test_owners_join_several_gaussians_and_the_background():
    points, scales, rotations = draw(5)
    single = transport_kernel(points, scales, rotations, 64)
    joined = transport_kernel(points, scales, rotations, 64, owners=[1, 0, BACKGROUND, 1, 0])
    torch.testing.assert_close(joined[0], single[1] + single[4])
    torch.testing.assert_close(joined[1], single[0] + single[3])
    torch.testing.assert_close(joined[2], single[2] + single[5])
    assert len(joined) == 3


def test_an_annotation_without_gaussians_keeps_its_row():
    gaussians = draw(3)
    for use_background in (True, False):
        options = {"use_background": use_background, "owners": [0, 0, 1]}
        kernel = transport_kernel(*gaussians, 32, annotations=3, **options)
        joined = transport_kernel(*gaussians, 32, **options)
        assert len(kernel) == 3 + use_background
        torch.testing.assert_close(kernel[[0, 1, *range(3, len(kernel))]], joined)
        assert not kernel[2].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.zeros((3, 3))}, "points"),
        ({"rotations": np.zeros(2)}, "rotations"),
        ({"scales": np.array([[1, 2], [np.nan, 1], [1, 1]])}, "finite"),
        ({"crop_size": 4}, "no cell"),
        ({"crop_size": -64}, "no cell"),
        ({"stride": 0}, "stride 0 is no positive number"),
        ({"stride": -8}, "stride -8"),
        ({"owners": [0, 1]}, "3 Gaussians"),
        ({"owners": [0, 1, 2], "annotations": 2}, "owners are -1 … 1"),
        ({"owners": [0, -2, 1]}, "owners are -1 … 1"),
        ({"owners": [0, -1, 1], "use_background": False}, "owners are 0 … 1"),
        ({"background_ratio": 0.0}, "background_ratio 0.0 is no positive number"),
        ({"post_max": -1.0}, "post_max"),
        ({"cut_off": float("nan")}, "cut_off"),
        ({"cut_off": float("inf")}, "cut_off inf is no positive number"),
    ],
)
def test_misfits_are_refused(change, message):
    points, scales, rotations = draw(3)
    arguments = {"points": points, "scales": scales, "rotations": rotations, "crop_size": 32}
    transport_kernel(**arguments)
    with pytest.raises(ValueError, match=message):
        transport_kernel(**{**arguments, **change})


@pytest.mark.cuda
def test_the_gpu_agrees():
    gaussians = [torch.tensor(array) for array in draw(20, 256)]
    on_gpu = transport_kernel(*(array.cuda() for array in gaussians), 256)
    assert on_gpu.is_cuda
    torch.testing.assert_close(on_gpu.cpu(), transport_kernel(*gaussians, 256))
