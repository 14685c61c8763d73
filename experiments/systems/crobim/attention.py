"""Looking from one set of vectors at another, also where it matters how much each one is looked at."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from experiments.errors import UserError


class Attention(nn.Module):
    """Queries look at others: `softmax(Q K^T / sqrt(D / h)) V` by heads.

    Args:
        width: D.
        heads: h.

    Raises:
        UserError: where the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        if width % heads:
            raise UserError(f"model.width must be a multiple of {heads}, the heads of its attention, not {width}.")
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, queries: Tensor, others: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What the queries `[B, N, D]` find in others `[B, M, D]`, and the logits `[B, h, N, M]` of where they look.

        Args:
            queries, others: the vectors.
            mask: bool `[B, M]`; where it is False there is nothing to look at.
        """
        parts = (self.query(queries), self.key(others), self.value(others))
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        logits = query @ key.mT / math.sqrt(query.shape[-1])
        if mask is not None:
            logits = logits.masked_fill(~mask[:, None, None], -torch.inf)
        found: Tensor = self.out((logits.softmax(-1) @ value).transpose(1, 2).flatten(2))
        return found, logits


class Block(nn.Module):
    """Attention and a layer for each vector by itself, both added to what there was.

    Args:
        width: D.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.own = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, queries: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """See `Attention`; `[B, N, D]`."""
        found = queries + self.attention(self.norms[0](queries), self.norms[1](others), mask)[0]
        return found + self.own(self.norms[2](found))


def tokens(features: Tensor) -> Tensor:
    """A map `[B, D, h, w]` as vectors `[B, h * w, D]`."""
    return features.flatten(2).mT


def as_map(vectors: Tensor, like: Tensor) -> Tensor:
    """Vectors `[B, h * w, D]` as a map, with the height and width of another."""
    return vectors.mT.unflatten(-1, like.shape[-2:])
