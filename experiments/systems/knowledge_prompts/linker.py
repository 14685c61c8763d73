"""How well the entities of a name go with a mention of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.parts.text import Tokens

TINY = 1e-12


class Linker(nn.Module):
    """Scores of candidates, by how alike a mention's context and what the model says of a candidate are.

    They are alike by the words that both have, by the mean of their words' embeddings, and by their names; each is a
    cosine, of which the sharpness is learned. Words count by their rarity, and by what is learned of them.

    Args:
        tokens: V.
    """

    rarity: Tensor
    """`[V]`: see `know`."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.register_buffer("rarity", torch.ones(tokens), persistent=False)
        self.log_weights = nn.Parameter(torch.zeros(tokens))
        self.log_sharpness = nn.Parameter(torch.zeros(3))

    def untrained(self) -> Linker:
        """As it was before it has learned anything."""
        fresh = Linker(len(self.rarity)).to(self.rarity)
        fresh.rarity = self.rarity
        return fresh

    def know(self, contexts: Tokens, unread: list[int]) -> None:
        """Take the rarity of words, log(texts / texts with the word), from all contexts.

        Args:
            contexts: in which the entities of all names are meant.
            unread: tokens that are no words.
        """
        there = torch.zeros(len(contexts.ids), len(self.rarity), device=self.rarity.device)
        there.scatter_(1, contexts.ids, contexts.mask.to(there.dtype))
        self.rarity = torch.log((1 + len(there)) / (1 + there.sum(0))).to(self.rarity.dtype)
        self.rarity[unread] = 0

    def forward(self, contexts: Tokens, said: Tokens, names: Tensor, embedded: Tensor) -> Tensor:
        """Logits `[B, 1, N]`.

        Args:
            contexts: `[B]`.
            said: of the candidates, `[B * N]`.
            names: how alike they are, `[B, N]`.
            embedded: the tokens' embeddings, `[V, D]`.
        """
        weights = self.rarity * self.log_weights.exp()
        read = Words.of(contexts, weights).unsqueeze(1)
        own = Words.of(said, weights).unflatten(names.shape)
        words = read.overlap(own) * (read.overlap(read) * own.overlap(own)).clamp(min=TINY).rsqrt()
        meant = F.cosine_similarity(read.mean(embedded), own.mean(embedded), dim=-1)
        alike = torch.stack((words, meant, names.to(words.dtype)), -1)
        return (alike * self.log_sharpness.exp()).sum(-1).unsqueeze(1)


class Words(NamedTuple):
    """Texts as bags of words."""

    ids: Tensor
    """int64 `[..., L]`."""
    weights: Tensor
    """`[..., L]`, 0 behind a text's end."""

    @staticmethod
    def of(texts: Tokens, weights: Tensor) -> Words:
        """Texts `[N]`, of words that weigh `[V]`."""
        return Words(texts.ids, torch.where(texts.mask, weights[texts.ids], 0.0))

    def unsqueeze(self, dim: int) -> Words:
        """As of tensors."""
        return Words(*(column.unsqueeze(dim) for column in self))

    def unflatten(self, sizes: torch.Size) -> Words:
        """Of the first dimension, as of tensors."""
        return Words(*(column.unflatten(0, sizes) for column in self))

    def overlap(self, other: Words) -> Tensor:
        """The scalar product of both bags, `[...]`."""
        same = self.ids.unsqueeze(-1) == other.ids.unsqueeze(-2)
        return (same * self.weights.unsqueeze(-1) * other.weights.unsqueeze(-2)).sum((-2, -1))

    def mean(self, embedded: Tensor) -> Tensor:
        """The sum of the words' embeddings by their weights, `[..., D]`."""
        return (self.weights.unsqueeze(-1) * embedded[self.ids]).sum(-2)
