"""The losses of a batch by name: GST's, those that it is compared with, and block counts.

Those compared are computed on the same crops, targets and networks, with the constants of the
papers that they come from. Each takes the crops' heads (`gst.heads.Heads`) and the predicted
density `[B, 1, h, w]`; it returns named scalars, means over the batch, whose sum weighted by
`gst.options.WEIGHTS` is minimised.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from crowd.sinkhorn import scale
from crowd.train.devices import mixed_precision, to_device
from crowd.train.distributed import unwrap_model
from gst.dataset import Batch
from gst.heads import pad_heads
from gst.kernel import cell_centers
from gst.loss import batch_transport_loss, gaussian_transport_loss
from gst.models.vgg import attention_variance
from gst.options import BAYESIAN, COMPARED, PAPER, STRIDE, TRANSPORT, KernelOptions

SIGMA = 8.0  # pixels, of the Gaussians of both `gaussian` and `bayesian`
BAYESIAN_BACKGROUND = 0.15  # of the photo's short side
REGULARISATION = 10.0  # of DM-Count's transport, squared pixels
ITERATIONS = 100
SMALLEST = 1e-12  # share of a cell, so that its logarithm exists
NEARLY_NONE = 1e-3  # heads in a block
# What the deviance of blocks of 2, 4 and 8 cells (16, 32 and 64 pixels) weighs.
BLOCKS = (0.25, 0.5, 1.0)


def batch_losses(
    model: nn.Module,
    batch: Batch,
    device: torch.device,
    amp: bool = False,
    loss: str = TRANSPORT,
    block_counts: bool = False,
    kernel: KernelOptions = PAPER,
) -> dict[str, Tensor]:
    """Run the model on a batch and return its losses by name, scalars without their weights.

    `loss` is GST's `transport`, with the options `kernel`, or one of `gst.options.COMPARED`, which
    say what their terms are; `block_counts` may stand beside it, and `attention_variance` does for
    models with attention. `amp` runs the model, [B, 3, S, S] -> density [B, 1, S/8, S/8] on
    `device`, in bfloat16; the losses are always float32.
    """
    images = to_device(batch.images, device)
    with mixed_precision(amp, device):
        if unwrap_model(model).has_attention:
            density, attention = model(images, with_attention=True)
        else:
            density, attention = model(images), []
    density = density.float()
    if loss == TRANSPORT:
        losses = {"transport": gaussian_transport_loss(batch.heads, density, kernel)}
    elif loss == BAYESIAN:
        losses = COMPARED[loss](batch.heads, density, batch.short_sides)
    else:
        losses = COMPARED[loss](batch.heads, density)
    if block_counts:
        losses["block_counts"] = block_count_loss(batch.heads, density)
    if attention:
        losses["attention_variance"] = attention_variance(attention)
    return losses


def offsets(points: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Squares of the distances of heads `[..., 2]` to a map's columns `[..., w]` and rows."""
    xs, ys = cell_centers((shape[0] * STRIDE, shape[1] * STRIDE), STRIDE, points.device)
    return (points[..., :1] - xs.to(points)).square(), (points[..., 1:] - ys.to(points)).square()


def squared_distances(points: Tensor, shape: tuple[int, int]) -> Tensor:
    """Squared distance of heads `[..., 2]` and centres of cells, `[..., h · w]`, pixels squared."""
    across, down = offsets(points, shape)
    return (across[..., None, :] + down[..., None]).flatten(-2)


def nearest_cells(points: Tensor, shape: tuple[int, int]) -> Tensor:
    """Index of the cell that each head `[..., 2]` lies in, or of the nearest outside, `[...]`."""
    height, width = shape
    column, row = (points / STRIDE).floor().long().unbind(-1)
    return row.clamp(0, height - 1) * width + column.clamp(0, width - 1)


def gaussian_density(points: Tensor, targets: Tensor, shape: tuple[int, int]) -> Tensor:
    """Density map `[..., h, w]` of heads, Gaussians of 8 pixels that sum to their targets.

    Of points `[..., n, 2]` in pixels of the crop, and targets `[..., n]`; zeros without heads.
    """
    # A head outside the crop may lie so far off that all of its row underflows: softmax does not.
    columns, rows = ((d / (-2 * SIGMA**2)).softmax(-1) for d in offsets(points, shape))
    return (rows * targets[..., None]).mT @ columns


def gaussian_losses(heads: list, density: Tensor) -> dict[str, Tensor]:
    """`mse`, direct regression: squared error to `gaussian_density` summed over a crop's cells."""
    padded = pad_heads(heads, density.device)
    wanted = gaussian_density(padded.points, padded.targets, density.shape[-2:])
    return {"mse": (wanted - density[:, 0]).square().sum() / len(density)}


def bayesian_posterior(points: Tensor, shape: tuple[int, int], short_sides: Tensor) -> Tensor:
    """P(head n | cell x) `[..., n + 1, h · w]`, heads and a background being as likely beforehand.

    Of points `[..., n, 2]`, n ≥ 1, pixels of the crop; the background is the last row, and every
    column sums to 1. A head's likelihood is a Gaussian of 8 pixels. The background stands, at every
    cell, at the distance d - d_min, where d_min is the distance to the nearest head, and d is 0.15
    times the short side of the photo that the crop is of (`short_sides`, `[...]`): it takes over
    d / 2 from the head.
    """
    squared = squared_distances(points, shape)
    nearest = squared.amin(-2, keepdim=True)
    reach = BAYESIAN_BACKGROUND * short_sides[..., None, None]
    # Less d_min², or nothing would be left to tell where all heads are padding, far away.
    background = reach * (reach - 2 * nearest.sqrt())
    return torch.softmax(torch.cat([squared - nearest, background], -2) / (-2 * SIGMA**2), dim=-2)


def bayesian_losses(
    heads: list, density: Tensor, short_sides: Sequence[float] | None = None
) -> dict[str, Tensor]:
    """Bayesian loss (Ma et al., ICCV 2019, with background): expected counts of the heads.

    `bayesian`: Σ_n |t_n − Σ_x P(n | x) D(x)|, the background's t being 0. It is the transport loss
    of another kernel, one that has not looked at the photo. `short_sides` are those of the photos
    that the crops were cut from, pixels; without them each crop is a whole photo.
    """
    shape = density.shape[-2:]
    padded = pad_heads(heads, density.device)
    sides = [min(shape) * STRIDE] * len(heads) if short_sides is None else short_sides
    sides = torch.tensor(sides, dtype=padded.points.dtype).to(density.device, non_blocking=True)
    posteriors = bayesian_posterior(padded.points, shape, sides)
    return {"bayesian": batch_transport_loss(posteriors, padded.targets, density)}


def dm_count_losses(heads: list, density: Tensor) -> dict[str, Tensor]:
    """DM-Count (Wang et al., NeurIPS 2020): `count`, `ot` and `tv`, to be weighed by `WEIGHTS`.

    Per crop with N = Σ t: count = |ΣD − N|; ot = entropic transport of D/ΣD to the heads' t/N by
    squared pixels; tv = N · Σ |D/ΣD − t/N| over the cells, each head in its cell. A crop without
    heads has its count alone.
    """
    terms = [_dm_count_terms(*one) for one in zip(heads, density[:, 0], strict=True)]
    means = (torch.stack(column).mean() for column in zip(*terms, strict=True))
    return dict(zip(("count", "ot", "tv"), means, strict=True))


def _dm_count_terms(heads, density: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    points, targets = heads.points.to(density.device), heads.targets.to(density.device)
    total, people = density.sum(), targets.sum()
    count = (total - people).abs()
    if not len(points):
        return count, 0 * total, 0 * total
    share = density.flatten() / total.clamp_min(SMALLEST)
    wanted = targets / people
    transport = sinkhorn_cost(squared_distances(points, density.shape), wanted, share)
    cells = torch.zeros_like(share).index_add(0, nearest_cells(points, density.shape), wanted)
    return count, transport, people * (share - cells).abs().sum()


def sinkhorn_cost(
    cost: Tensor,
    rows: Tensor,
    columns: Tensor,
    reg: float = REGULARISATION,
    iterations: int = ITERATIONS,
) -> Tensor:
    """Transported cost Σ plan · cost, whose gradient in `columns` is the dual potential g.

    Of a cost `[n, m]`, masses of rows `[n]`, positive, and of columns `[m]`, at least 1e-12; `reg`
    weighs the entropy, in units of the cost. As in the paper the iterations are not differentiated:
    by the envelope theorem g is the gradient of the entropic optimum, up to a constant that a sum
    of shares does not see.
    """
    with torch.no_grad():
        masses = columns.clamp_min(SMALLEST)
        masses = masses * (rows.sum() / masses.sum())
        ended = scale(cost, rows, masses, reg, range(iterations))
        value = (ended.plan * cost).sum().to(columns)
        potential = (reg * ended.g).to(columns)
    linear = (columns * potential).sum()
    return value + linear - linear.detach()


def block_count_loss(heads: list, density: Tensor) -> Tensor:
    """Poisson deviance of the counts of blocks of 16, 32 and 64 pixels and of the crop.

    A density loss such as GST's sets where mass belongs; this one sets how much there is, and does
    not ask where in a block. No part of GST's paper. An absolute error is least at the median: a
    block that holds a head in two crops of five is to be empty, and where heads are rare all blocks
    end so. The deviance is least at the mean. A head counts in the cell that it lies in, or the
    nearest. Half the deviance, summed, mean over the batch; the blocks are weighted by 1/4, 1/2, 1
    and the crop by 1; blocks that the border cuts are left out.
    """
    padded = pad_heads(heads, density.device)
    index = nearest_cells(padded.points, density.shape[-2:])
    cells = torch.zeros_like(density).flatten(1)
    cells = cells.scatter_add(1, index, padded.targets.to(density)).view_as(density)
    loss = poisson_deviance(density.sum((1, 2, 3)), cells.sum((1, 2, 3)))
    for weight in BLOCKS:
        if min(density.shape[-2:]) < 2:
            break
        density, cells = (
            functional.avg_pool2d(one, 2, divisor_override=1) for one in (density, cells)
        )
        loss = loss + weight * poisson_deviance(density, cells)
    return loss / len(density)


def poisson_deviance(predicted: Tensor, actual: Tensor) -> Tensor:
    """Σ λ − n + n log(n / λ), half the deviance of counts n from predicted means λ; 0 for λ = n.

    Neither may be negative; both are raised by `NEARLY_NONE`, so that the logarithms exist.
    """
    mean, count = predicted + NEARLY_NONE, actual + NEARLY_NONE
    return (mean - count + count * (count / mean).log()).sum()
