"""Splatting: nanoseconds per pixel-Gaussian pair, against a torch loop over bounding boxes.

    python -m bench splatting

One iteration is forward, L1 loss and backward. A pair is a pixel of the picture inside the 3.33
sigma box of a Gaussian: the figure is nanoseconds per pair, whatever the number and size of the
heads. Both programs run in one process, in alternation. The loop has one thread: its steps are too
small for more.
"""

from statistics import median

import numpy as np
import torch

from bench.measure import benchmark, ratio, time_in_turn
from crowd.io.progress import progress
from GS2D.cpu import cut_into_tiles, l1_gradients

REACH = 3.33
# Heads, their sigma in pixels, width and height of the picture.
SCENES = ((300, 6.0, 1024, 768), (300, 12.0, 1024, 768), (800, 6.0, 2048, 1536))


def scene(heads: int, sigma: float, width: int, height: int, seed: int) -> list[np.ndarray]:
    """Uniform centres, axes within 10 % of sigma: means, scales, rotations, colours, opacities."""
    random = np.random.default_rng(seed)
    means = random.uniform(0, 1, (heads, 2)) * [width, height]
    scales = sigma * random.uniform(0.9, 1.1, (heads, 2))
    rotations, colors = random.uniform(0, np.pi, heads), random.uniform(0, 1, (heads, 3))
    parts = means, scales, rotations, colors, np.ones(heads)
    return [part.astype(np.float32) for part in parts]


def boxes(means, scales, rotations, width: int, height: int) -> np.ndarray:
    """Pixel boxes of 3.33 sigma, [N, 4] = x0, x1, y0, y1, clipped to the image."""
    cosine, sine = np.cos(rotations), np.sin(rotations)
    reach_x = REACH * np.hypot(scales[:, 0] * cosine, scales[:, 1] * sine)
    reach_y = REACH * np.hypot(scales[:, 0] * sine, scales[:, 1] * cosine)
    x, y = means.T
    x0, x1 = np.floor(x - reach_x).clip(0, width), np.ceil(x + reach_x).clip(0, width)
    y0, y1 = np.floor(y - reach_y).clip(0, height), np.ceil(y + reach_y).clip(0, height)
    return np.stack([x0, x1, y0, y1], axis=1).astype(int)


def box_loop(gaussians: list[torch.Tensor], pixel_boxes: np.ndarray, target: torch.Tensor):
    """Gradients of scales and rotations: torch on one box at a time, alpha by autograd."""
    height, width = target.shape[:2]
    means, scales, rotations, colors, opacities = (g.detach().requires_grad_() for g in gaussians)
    image, transmittance = torch.zeros_like(target), torch.ones(height, width)
    seen = []
    for i, (x0, x1, y0, y1) in enumerate(pixel_boxes):
        dx = torch.arange(x0, x1) + 0.5 - means[i, 0]
        dy = torch.arange(y0, y1)[:, None] + 0.5 - means[i, 1]
        cosine, sine = torch.cos(rotations[i]), torch.sin(rotations[i])
        along, across = cosine * dx + sine * dy, cosine * dy - sine * dx
        sigma = 0.5 * ((along / scales[i, 0]) ** 2 + (across / scales[i, 1]) ** 2)
        alpha = (opacities[i] * torch.exp(-sigma)).clamp(max=0.999)
        with torch.no_grad():
            left = transmittance[y0:y1, x0:x1]
            drawn = torch.where((alpha >= 1 / 255) & (left * (1 - alpha) > 1e-4), alpha, 0.0)
            image[y0:y1, x0:x1] += (drawn * left)[..., None] * colors[i]
            seen.append((alpha, drawn, left.clone()))
            left *= 1 - drawn
    slope = torch.sign(image - target) / target.numel()
    behind, gradients = torch.zeros(height, width), []
    for color, (x0, x1, y0, y1), (_, drawn, left) in zip(
        colors.detach().flip(0), pixel_boxes[::-1], seen[::-1], strict=True
    ):
        ahead = slope[y0:y1, x0:x1] @ color - behind[y0:y1, x0:x1]
        behind[y0:y1, x0:x1] += drawn * ahead
        gradients.append(torch.where(drawn > 0, left * ahead, 0.0))
    return torch.autograd.grad([one[0] for one in seen], [scales, rotations], gradients[::-1])


def measure(heads: int, sigma: float, width: int, height: int, repeats: int) -> dict:
    """One line of the record; raises AssertionError when the two programs disagree."""
    gaussians = scene(heads, sigma, width, height, seed=0)
    photo = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixel_boxes = boxes(*gaussians[:3], width, height)
    tiles, weight = cut_into_tiles(photo.transpose(2, 0, 1)), np.float32(1 / photo.size)
    tensors = [torch.from_numpy(part) for part in gaussians]
    target, threads = torch.from_numpy(photo / 255).float(), torch.get_num_threads()

    def fused():
        return l1_gradients(*gaussians, tiles, (height, width), weight)

    def loop():
        torch.set_num_threads(1)
        gradients = box_loop(tensors, pixel_boxes, target)
        torch.set_num_threads(threads)
        return gradients

    expected = loop()[0].numpy()
    error = np.linalg.norm(fused()[1][:, 2:4] - expected) / np.linalg.norm(expected)
    assert error < 1e-3, f"the gradients of the scales differ by {error:.1e}"
    sides = np.diff(pixel_boxes.reshape(-1, 2, 2), axis=2)[..., 0]
    pairs = int(sides.prod(axis=1).sum())
    # The loop leaves the processor's caches full of its own: alone is how a fit runs.
    (alone,) = time_in_turn([fused], 10 * repeats)
    fast, slow = time_in_turn([fused, loop], repeats)
    line = {"heads": heads, "sigma": sigma, "width": width, "height": height, "pairs": pairs}
    line |= {"cpu_ns_per_pair": 1e9 * min(alone) / pairs}
    line |= {"cpu_ns_per_pair_median": 1e9 * median(alone) / pairs}
    return line | {"loop_ns_per_pair": 1e9 * median(slow) / pairs, "ratio": ratio(slow, fast)}


def measure_all(repeats: int) -> dict:
    """Figures for the record."""
    return {"lines": [measure(*one, repeats) for one in progress(SCENES, "measuring")]}


main = benchmark("splatting", __doc__, measure_all, repeats=8)

if __name__ == "__main__":
    main()
