"""The two domains: what differs between photos of `a` and photos of `b`."""

from __future__ import annotations

from dataclasses import dataclass

from crowd.io.errors import InputError

Range = tuple[float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Domain:
    """What a scene is drawn from; lengths in metres, head diameters in pixels, RGB in 0-1.

    Attributes:
        code: Number that enters the seed.
        people: Number of people in a photo of 512 × 680 pixels, drawn log-uniformly.
        nearest_head: Head diameter at the lower edge of the photo.
        smallest_head: Nobody stands where heads would be smaller than this.
        pitch: Camera's angle below the horizontal, degrees.
        spacing: Least distance between two people.
        grounds: Kinds of ground, see `crowd.synthetic.background`.
        backdrop: What stands behind the ground, see `crowd.synthetic.background`.
        clothes: Colours of clothes.
        shadow: Strength of cast shadows.
        light: Colour that multiplies the scene.
        haze_colour: Colour that distance mixes in.
        haze: Share of haze at the far end of the ground.
        contrast: Contrast about mid-grey.
        exposure: Gain.
        noise: Standard deviation of the sensor noise.
        blur: Standard deviation of the lens blur, pixels.
    """

    code: int
    people: Range
    nearest_head: Range
    smallest_head: float
    pitch: Range
    spacing: float
    grounds: tuple[str, ...]
    backdrop: str
    clothes: tuple[Colour, ...]
    shadow: float
    light: Colour
    haze_colour: Colour
    haze: Range
    contrast: float
    exposure: Range
    noise: float
    blur: float


_STREET = Domain(
    code=0,
    people=(4, 90),
    nearest_head=(26, 45),
    smallest_head=9.0,
    pitch=(10, 24),
    spacing=0.55,
    grounds=("slabs", "asphalt", "grass"),
    backdrop="houses",
    clothes=(
        (0.93, 0.93, 0.91), (0.13, 0.14, 0.17), (0.75, 0.16, 0.17), (0.18, 0.34, 0.66),
        (0.92, 0.74, 0.25), (0.24, 0.50, 0.33), (0.55, 0.57, 0.60), (0.86, 0.55, 0.60),
        (0.40, 0.66, 0.80), (0.47, 0.30, 0.52), (0.84, 0.45, 0.20), (0.66, 0.60, 0.50),
    ),
    shadow=0.35,
    light=(1.0, 1.0, 0.98),
    haze_colour=(0.80, 0.85, 0.90),
    haze=(0.0, 0.12),
    contrast=1.05,
    exposure=(0.9, 1.15),
    noise=0.014,
    blur=0.5,
)  # fmt: skip

_STADIUM = Domain(
    code=1,
    people=(50, 300),
    nearest_head=(11, 17),
    smallest_head=6.0,
    pitch=(22, 36),
    spacing=0.45,
    grounds=("terraces", "asphalt"),
    backdrop="stand",
    clothes=(
        (0.16, 0.17, 0.20), (0.24, 0.25, 0.30), (0.34, 0.33, 0.36), (0.20, 0.24, 0.36),
        (0.42, 0.20, 0.20), (0.50, 0.49, 0.48), (0.28, 0.33, 0.30), (0.12, 0.12, 0.13),
        (0.70, 0.68, 0.62), (0.55, 0.40, 0.24),
    ),
    shadow=0.06,
    light=(0.88, 0.86, 0.92),
    haze_colour=(0.52, 0.51, 0.55),
    haze=(0.25, 0.55),
    contrast=0.75,
    exposure=(0.85, 1.1),
    noise=0.026,
    blur=0.65,
)  # fmt: skip

DOMAINS = {"a": _STREET, "b": _STADIUM}


def find_domain(name: str) -> Domain:
    """Return the domain called `name`; raise `InputError` when there is none."""
    if name not in DOMAINS:
        raise InputError(f"unknown domain '{name}': choose one of {', '.join(DOMAINS)}")
    return DOMAINS[name]
