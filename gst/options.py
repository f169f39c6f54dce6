"""Options of kernel and losses, apart from these: commands offer them without torch."""

import dataclasses
import math

from crowd.io.lazy import LazyNames

STRIDE = 8
"""Pixels of a cell of every counter's density map."""
SCALE_RANGE = (0.75, 1.25)
"""Of the augmentation (released code)."""
SMALLEST_SHARE = 0.3
"""Of a head's box in a crop, below which it is left out of the crop (released code)."""
TRANSPORT, BAYESIAN, DM_COUNT = "transport", "bayesian", "dm_count"
COMPARED = LazyNames(
    {
        "gaussian": "gst.losses:gaussian_losses",
        BAYESIAN: "gst.losses:bayesian_losses",
        DM_COUNT: "gst.losses:dm_count_losses",
    }
)
"""The losses that GST is compared with, by name."""
SCORES = LazyNames(
    {"rmse": "crowd.train.state:twice_rmse_plus_mae", "nae": "crowd.train.state:relative_error"}
)
"""Of a validation, by name: the epoch with the least is the best."""
# Of the terms that do not weigh 1; `attention_variance` is that of `vgg_trans`.
WEIGHTS = {"ot": 0.1, "tv": 0.01, "attention_variance": 0.1}


@dataclasses.dataclass(frozen=True)
class KernelOptions:
    """Options of the transport kernel, with the paper's values.

    Attributes:
        background_ratio: where both z are equal the background weighs this / √|Σ| against the
            nearest Gaussian.
        cut_off: the background's z is −cut_off² / 2 − z of the nearest Gaussian, so both are equal
            at cut_off / √2 standard deviations. It takes over at √(cut_off² / 2 + ½ log |Σ| − log
            background_ratio), by default 3.6 of 8 pixels and 3.8 of 20.
        post_min: sets the smallest standard deviation, stride / post_min.
        post_max: largest standard deviation, pixels.
        scale_ratio: factor on all scales, before they are clamped to these two.
        use_background: whether the background is the last row.
    """

    background_ratio: float = 0.015
    cut_off: float = 3.0
    post_min: float = 1.0
    post_max: float = 20.0
    scale_ratio: float = 1.0
    use_background: bool = True

    def __post_init__(self):
        """Raise `ValueError` for an option that is no positive number."""
        for name, value in vars(self).items():
            if name != "use_background" and not 0 < value < math.inf:
                raise ValueError(f"{name} {value} is no positive number")

    def limits(self, stride: float) -> tuple[float, float]:
        """Return the smallest and the largest standard deviation, pixels, for cells of `stride`.

        Where the first is above the second, clamping gives all Gaussians the second, as released.
        Raises `ValueError` for a stride that is no positive number.
        """
        if not 0 < stride < math.inf:
            raise ValueError(f"stride {stride} is no positive number")
        return stride / self.post_min, self.post_max


PAPER = KernelOptions()
