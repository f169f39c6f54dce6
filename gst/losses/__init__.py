"""The losses that GST is compared with, on the same crops, targets and networks.

Each takes the crops' heads (`gst.dataset.Heads`), one by one or, but for DM-Count, padded, and the
predicted density `[B, 1, h, w]`; it returns named scalars, means over the batch, whose sum weighted
by `WEIGHTS` is minimised. Their constants are those of the papers that they come from.
"""

from __future__ import annotations

from gst.losses.bayesian import bayesian_losses
from gst.losses.blocks import block_count_loss
from gst.losses.dm_count import WEIGHTS as DM_COUNT_WEIGHTS
from gst.losses.dm_count import dm_count_losses
from gst.losses.gaussian import gaussian_losses

__all__ = [
    "COMPARED",
    "DM_COUNT",
    "TRANSPORT",
    "WEIGHTS",
    "bayesian_losses",
    "block_count_loss",
    "dm_count_losses",
    "gaussian_losses",
]

TRANSPORT = "transport"
DM_COUNT = "dm_count"
# Of the terms that do not weigh 1; `attention_variance` is that of `vgg_trans`.
WEIGHTS = {**DM_COUNT_WEIGHTS, "attention_variance": 0.1}
COMPARED = {
    "gaussian": gaussian_losses,
    "bayesian": bayesian_losses,
    DM_COUNT: dm_count_losses,
}
