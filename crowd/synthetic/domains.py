"""What drawn scenes differ in: the two domains, streets and stadiums."""

from typing import NamedTuple

Range = tuple[float, float]
Colour = tuple[float, float, float]


class Domain(NamedTuple):
    """What a scene is drawn from."""

    code: int  # enters the seed
    people: Range  # in a photo of 512 × 680 pixels, drawn log-uniformly
    nearest: Range  # diameter of a head at the lower edge, pixels
    smallest: float  # nobody stands where heads would be smaller, pixels
    horizon: Range  # its row, as a share of the photo's height
    spacing: float  # least distance between two people
    ground: tuple[Colour, ...]
    stones: Range  # how differently paving stones, as wide as a head, are shaded
    sky: Colour
    houses: bool  # before the sky
    clothes: tuple[Colour, ...]
    light: Colour  # multiplies the scene
    haze: Range  # share of grey at the far end of the ground
    shadow: float  # strength of shadows
    contrast: float  # about mid-grey
    noise: float  # standard deviation of the sensor's


SKIN = ((0.95, 0.80, 0.69), (0.87, 0.68, 0.54), (0.74, 0.54, 0.40), (0.45, 0.31, 0.22))
HAIR = ((0.08, 0.07, 0.07), (0.23, 0.15, 0.10), (0.52, 0.37, 0.20), (0.75, 0.62, 0.40),
        (0.62, 0.61, 0.60), (0.75, 0.16, 0.17))  # fmt: skip
TROUSERS = ((0.16, 0.20, 0.32), (0.11, 0.11, 0.13), (0.35, 0.33, 0.30), (0.58, 0.53, 0.44))
WALLS = ((0.72, 0.66, 0.56), (0.62, 0.40, 0.32), (0.80, 0.78, 0.74), (0.50, 0.52, 0.55))
DOMAINS = {
    "a": Domain(
        code=0, people=(4, 90), nearest=(26, 45), smallest=9, horizon=(-0.05, 0.25), spacing=2.5,
        sky=(0.6, 0.75, 0.9), houses=True,
        ground=((0.61, 0.59, 0.56), (0.37, 0.37, 0.38), (0.42, 0.45, 0.26)), stones=(0.0, 0.15),
        clothes=((0.93, 0.93, 0.91), (0.13, 0.14, 0.17), (0.75, 0.16, 0.17), (0.18, 0.34, 0.66),
                 (0.92, 0.74, 0.25), (0.24, 0.50, 0.33), (0.55, 0.57, 0.60), (0.86, 0.55, 0.60),
                 (0.40, 0.66, 0.80), (0.47, 0.30, 0.52), (0.84, 0.45, 0.20)),
        light=(1.0, 1.0, 0.98), haze=(0.0, 0.12), shadow=0.35, contrast=1.05, noise=0.014,
    ),
    "b": Domain(
        code=1, people=(50, 300), nearest=(11, 17), smallest=6, horizon=(-0.5, -0.2), spacing=2.0,
        sky=(0.26, 0.26, 0.31), houses=False,
        ground=((0.43, 0.43, 0.45), (0.35, 0.35, 0.37)), stones=(0.0, 0.03),
        clothes=((0.16, 0.17, 0.20), (0.24, 0.25, 0.30), (0.34, 0.33, 0.36), (0.20, 0.24, 0.36),
                 (0.42, 0.20, 0.20), (0.50, 0.49, 0.48), (0.28, 0.33, 0.30), (0.70, 0.68, 0.62)),
        light=(0.88, 0.86, 0.92), haze=(0.25, 0.55), shadow=0.06, contrast=0.75, noise=0.026,
    ),
}  # fmt: skip
