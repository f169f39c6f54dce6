"""The paper's counters on VGG-19 (released code): `vgg`, and `vgg_trans` with graph attention.

VGG-19 without its fifth pooling, in `vgg_trans` two layers of graph attention, bilinear to stride
8, three convolutions. Two graphs steer the attention (Gramformer, AAAI 2024; GST release), and each
image of a batch has its own. The *neighbour graph* joins a token to those with the most similar
features; how often a token is chosen picks its embedding. The *edge weights*
G_h[i, j] = |p_h(i) − p_h(j)| of learned potentials p silence attention between like cells.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and 3×3 convolutions of VGG-19's five stages, a pooling between each two."""
NEIGHBOUR_SHARE = 0.3
"""Share of all tokens that a token marks as its neighbours."""
DEGREE_LEVELS = 18
"""Number of degree embeddings."""


class VGG(nn.Module):
    """The paper's plain counter (released code): stride 16, then ×2, so a cell is 8 pixels.

    The release enlarges by the factor 2, align_corners=True. Here the map is enlarged to
    (H // 8, W // 8), which is the same wherever H // 8 and W // 8 are even; for other sides the
    release's map lacks the last row or column of cells.
    """

    backbone = "VGG-19"
    has_attention = False

    def __init__(self):
        super().__init__()
        self.features = vgg19_features()
        self.reg_layer = regression_head(512, 256, 128)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised RGB [B, 3, H, W], sides >= 16 -> density [B, 1, H // 8, W // 8], >= 0."""
        size = density_size(images)
        enlarged = enlarge(self.features(images), size)
        return self.reg_layer(enlarged).abs()


def density_size(images: Tensor) -> tuple[int, int]:
    """(H // 8, W // 8) of images [B, 3, H, W]; `ValueError` when a side is below 16 pixels."""
    height, width = images.shape[-2:]
    if min(height, width) < 16:
        raise ValueError(f"an image of {height} x {width} pixels is too small: 16 are needed")
    return height // 8, width // 8


def enlarge(features: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize features [B, C, h, w] to `size` as the release does: bilinear, corners aligned."""
    return functional.interpolate(features, size=size, mode="bilinear", align_corners=True)


def vgg19_features() -> nn.Sequential:
    """Convolutions of VGG-19 up to the last ReLU, [B, 3, H, W] -> [B, 512, H // 16, W // 16].

    He initialisation, so that the sixteen layers train from scratch too.
    """
    layers: list[nn.Module] = []
    channels = 3
    for stage, (width, convolutions) in enumerate(STAGES):
        if stage > 0:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            convolution = nn.Conv2d(channels, width, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(convolution.bias)
            layers += [convolution, nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers)


def regression_head(channels: int, first: int, second: int) -> nn.Sequential:
    """Features [B, channels, h, w] -> one signed value a cell, [B, 1, h, w], by three layers."""
    return nn.Sequential(
        nn.Conv2d(channels, first, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(second, 1, 1),
    )


class GraphEncoder(nn.Module):
    """Layers of graph attention on a feature map [B, C, h, w]; L = h · w tokens."""

    def __init__(self, channels: int, heads: int, hidden: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(
            GraphEncoderLayer(channels, heads, hidden) for _ in range(layers)
        )
        self.near_embeddings = nn.Embedding(DEGREE_LEVELS, channels)
        self.pe_layer = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // 2, heads, 3, padding=1),
            nn.Sigmoid(),
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(self, features: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return features [B, C, h, w] and, per layer, the attention [B, heads, L, L]."""
        potentials = self.pe_layer(features).flatten(2)
        edges = (potentials[..., :, None] - potentials[..., None, :]).abs()
        tokens = features.flatten(2).transpose(1, 2)
        attentions = []
        for layer in self.layers:
            embedding = self.near_embeddings(degree_levels(tokens))
            tokens, attention = layer(tokens, embedding, edges)
            attentions.append(attention)
        return tokens.transpose(1, 2).reshape(features.shape), attentions


class GraphEncoderLayer(nn.Module):
    """Graph attention and a two-layer perceptron, each added and normalised after."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float = 0.1):
        super().__init__()
        self.self_attn = GraphAttention(channels, heads, dropout)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, embedding: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """tokens, embedding [B, L, C], edges [B, heads, L, L] -> tokens, attention like edges."""
        attended, attention = self.self_attn(tokens + embedding, tokens, edges)
        tokens = self.norm1(tokens + self.dropout(attended))
        hidden = self.dropout(self.linear1(tokens).relu())
        return self.norm2(tokens + self.dropout(self.linear2(hidden))), attention


class GraphAttention(nn.Module):
    """LayerNorm(fc((A ⊙ G) v) + q) with A = softmax(q kᵀ / √d), heads of d channels each."""

    def __init__(self, channels: int, heads: int, dropout: float):
        super().__init__()
        self.heads = heads
        self.w_qs = nn.Linear(channels, channels, bias=False)
        self.w_ks = nn.Linear(channels, channels, bias=False)
        self.w_vs = nn.Linear(channels, channels, bias=False)
        self.fc = nn.Linear(channels, channels, bias=False)
        self.layer_norm = nn.LayerNorm(channels, eps=1e-6)
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Tensor, values: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Queries, which serve as keys too, and values [B, L, C], edges G [B, heads, L, L].

        Returns tokens [B, L, C], and A [B, heads, L, L] before G (in training after its dropout).
        """
        query, key = self._split(self.w_qs(queries)), self._split(self.w_ks(queries))
        scale = query.shape[-1] ** -0.5
        attention = self.dropout((query * scale @ key.transpose(-2, -1)).softmax(-1))
        mixed = (attention * edges) @ self._split(self.w_vs(values))
        mixed = self.dropout(self.fc(mixed.transpose(1, 2).flatten(2)))
        return self.layer_norm(mixed + queries), attention

    def _split(self, tokens: Tensor) -> Tensor:
        """[B, L, C] -> [B, heads, L, C / heads]."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


@torch.no_grad()
def degree_levels(tokens: Tensor) -> Tensor:
    """Which degree embedding each token takes, int64 [B, L], from features [B, L, C].

    Every token marks its int(0.3 · L) nearest others by Euclidean distance; the level is
    int(degree / largest degree of the image · 17). With too few tokens to mark any, it is 0.
    """
    count = tokens.shape[1]
    # Through inner products, which cancel between tokens that are alike.
    distances = torch.cdist(tokens.double(), tokens.double())
    index = torch.arange(count, device=tokens.device)
    # Not in place, which an export to ONNX would lose.
    distances = distances.masked_fill(index[:, None] == index, torch.inf)
    neighbours = distances.topk(int(NEIGHBOUR_SHARE * count), largest=False).indices.flatten(1)
    degree = torch.zeros(tokens.shape[:2], device=tokens.device)
    degree.scatter_add_(1, neighbours, torch.ones_like(neighbours, dtype=degree.dtype))
    largest = degree.amax(1, keepdim=True).clamp(min=1)
    return (degree / largest * (DEGREE_LEVELS - 1)).long()


class VGGTrans(nn.Module):
    """The paper's counter with graph attention (released code; names as in its checkpoints)."""

    backbone = "VGG-19"
    has_attention = True

    def __init__(self):
        super().__init__()
        self.features = vgg19_features()
        self.encoder = GraphEncoder(channels=512, heads=8, hidden=2048, layers=2)
        self.reg_layer_0 = regression_head(512, 256, 128)

    def forward(
        self, images: Tensor, with_attention: bool = False
    ) -> Tensor | tuple[Tensor, list[Tensor]]:
        """Normalised RGB [B, 3, H, W], sides >= 16 -> density [B, 1, H // 8, W // 8], >= 0.

        With `with_attention` a pair (density, one [B, 8, L, L] per layer), L = (H // 16) ·
        (W // 16): where each token looked, before the graph's weights.
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
