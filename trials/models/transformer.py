"""A small decoder transformer: pre-norm blocks, causal attention, learned positions, tied to nothing."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trials.models.activations import activation, at_least_one
from trials.noise import Dropout
from trials.spec import Value


class Block(nn.Module):
    """Causal self-attention, then a two-layer perceptron, each on a normalised residual stream."""

    def __init__(self, width: int, heads: int, act: str, dropout: float | str) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), activation(act), nn.Linear(4 * width, width))
        self.dropout = Dropout(dropout)

    def forward(self, stream: Tensor, mask: Tensor | None) -> Tensor:
        """(B, T, width), (T, T) or None for fused attention -> (B, T, width)."""
        B, T, width = stream.shape
        shape = (B, T, 3, self.heads, width // self.heads)
        q, k, v = self.queries_keys_values(self.norm_attention(stream)).view(shape).permute(2, 0, 3, 1, 4)
        if mask is None:
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.transpose(-1, -2)) * (q.shape[-1] ** -0.5) + mask
            mixed = scores.softmax(-1) @ v
        mixed = mixed.transpose(1, 2).reshape(B, T, width)
        stream = stream + self.dropout(self.out(mixed))
        return stream + self.dropout(self.mlp(self.norm_mlp(stream)))


class Transformer(nn.Module):
    """Decoder over `vocabulary` symbols, at most `context` at a time.

    `attention` is "plain", written out, which is as fast at short contexts; or "fused", torch's own, which on
    a GPU keeps no (T, T) scores. Width 768, depth 12 and 12 heads are the size of the smallest GPT-2.
    """

    mask: Tensor

    def __init__(
        self,
        vocabulary: int,
        context: int,
        width: Value = 64,
        depth: Value = 2,
        heads: Value = 4,
        act: str = "gelu",
        dropout: float | str = 0.0,
        attention: str = "plain",
    ) -> None:
        super().__init__()
        width, depth, heads = (
            at_least_one("width", width),
            at_least_one("depth", depth),
            at_least_one("heads", heads),
        )
        if width % heads:
            raise ValueError(f"width={width} must be a multiple of heads={heads}")
        if attention not in ("plain", "fused"):
            raise ValueError(f"attention={attention!r} must be 'plain' or 'fused'")
        self.is_fused = attention == "fused"
        self.embedding = nn.Embedding(vocabulary, width)
        self.position = nn.Parameter(torch.randn(context, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, act, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)
        if not self.is_fused:
            # A buffer is part of every row, context² numbers: fused attention needs none.
            self.register_buffer("mask", torch.full((context, context), -1e9).triu(1), persistent=False)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, symbols: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T, vocabulary) logits of the next symbol."""
        T = symbols.shape[1]
        stream = self.embedding(symbols) + self.position[:T]
        for block in self.blocks:
            stream = block(stream, None if self.is_fused else self.mask[:T, :T])
        return self.head(self.norm(stream))
