"""`vgg_trans`: VGG-19, two graph-attention layers, bilinear to stride 8, three convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from gst.models.graph_attention import GraphEncoder
from gst.models.vgg import density_size, enlarge, regression_head, vgg19_features


class VGGTrans(nn.Module):
    """The paper's counter with graph attention (released code; names as in its checkpoints)."""

    backbone = "VGG-19"
    has_attention = True

    def __init__(self):
        super().__init__()
        self.features = vgg19_features()
        self.encoder = GraphEncoder(channels=512, heads=8, hidden=2048, layers=2)
        self.reg_layer_0 = regression_head()

    def forward(
        self, images: Tensor, with_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Count, and say on request where each token looked.

        Args:
            images: normalised RGB, [B, 3, H, W], sides >= 16 pixels.
            with_attention: return the attention as well.

        Returns:
            density [B, 1, H // 8, W // 8], >= 0; with `with_attention` a pair (density, one
            [B, 8, L, L] per layer) with L = (H // 16) · (W // 16), before the graph's weights.
        """
        size = density_size(images)
        encoded, attentions = self.encoder(self.features(images))
        density = self.reg_layer_0(enlarge(encoded, size)).abs()
        return (density, attentions) if with_attention else density


def attention_variance(attentions: Sequence[Tensor]) -> Tensor:
    """Σ over layers of the sum of the unbiased variance of A [B, heads, L, L] over its last axis.

    The extra loss of `vgg_trans` (released code, weight 0.1), which keeps a token from looking at
    few others; mean over the batch, as `transport_loss`. A single token varies by 0.
    """
    total = sum(a.float().var(-1, correction=min(1, a.shape[-1] - 1)).sum() for a in attentions)
    return total / len(attentions[0])
