"""From the hidden states of a text to one vector: the poolers of Gemma Encoder (arXiv 2503.02656).

The paper names them; their definitions are not known to us in full, and the two by attention are as Google's flaxformer
has their relatives. Weights say how much of a token is read: 1, and less where a relaxation leaves some of it out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from experiments.errors import UserError, require_count

LEAST = 1e-6
"""Added to weights before their logarithm, so that a token of weight 0 has a gradient."""
KINDS = ("mean", "first", "last", "keys", "query")


def log_weights(weights: Tensor) -> Tensor:
    """What is added to scores of attention, so that a token of weight w counts w times."""
    return (weights + LEAST).log()


class Mean(nn.Module):
    """The mean over tokens, over the first k of them, or over the last k.

    Args:
        first, last: k; None: all.
    """

    def __init__(self, first: int | None = None, last: int | None = None) -> None:
        super().__init__()
        self.first, self.last = first, last

    def forward(self, hidden: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
        """`[N, H]` of hidden states `[N, L, H]` where the mask, bool `[N, L]`, has tokens; weights are `[N, L]`."""
        place = (mask if weights is None else mask & (weights > 0)).cumsum(1)
        chosen = mask
        if self.first is not None:
            chosen = chosen & (place <= self.first)
        if self.last is not None:
            chosen = chosen & (place > place[:, -1:] - self.last)
        own = torch.where(chosen, 1.0 if weights is None else weights, 0.0).to(hidden.dtype)
        return torch.einsum("nl,nlh->nh", own, hidden) / own.sum(1, keepdim=True)


class Attention(nn.Module):
    """Attention by learned probes over the tokens' keys and values.

    With key-value probes, a vector for each head asks the keys, and the heads' values are mixed by a linear map. With a
    query probe, one vector of width H, zero at the start, is normalised and goes through a projection of queries first,
    as in flaxformer's MultiHeadAttentionPooling: it begins as the mean of the values.

    Args:
        width: H.
        heads: that divide it.
        query: whether the probe is a query.

    Raises:
        UserError: where the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, query: bool) -> None:
        super().__init__()
        require_count("model.heads", heads)
        if width % heads:
            raise UserError(f"model.heads={heads} does not divide the width {width} of the decoder; give another.")
        self.heads = heads
        self.keys, self.values, self.out = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.probe = nn.Parameter(torch.zeros(width) if query else torch.randn(width) * heads**0.5 * width**-0.5)
        self.asked = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) if query else nn.Identity()

    def forward(self, hidden: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
        query = self.asked(self.probe).unflatten(0, (self.heads, -1))
        keys, values = (each(hidden).unflatten(-1, (self.heads, -1)) for each in (self.keys, self.values))
        scores = torch.einsum("hd,nlhd->nhl", query, keys) * query.shape[-1] ** -0.5
        if weights is not None:
            scores = scores + log_weights(weights).unsqueeze(1)
        shares = scores.masked_fill(~mask.unsqueeze(1), -torch.inf).softmax(-1)
        return self.out(torch.einsum("nhl,nlhd->nhd", shares, values).flatten(1))


def make(kind: str, width: int, tokens: int, heads: int) -> nn.Module:
    """A pooler by its name.

    Args:
        kind: mean, first, last, keys or query.
        width: H.
        tokens: k, of first and last.
        heads: of keys and query.

    Raises:
        UserError: for another kind, or what is no count.
    """
    require_count("model.tokens", tokens)
    if kind in ("keys", "query"):
        return Attention(width, heads, kind == "query")
    if kind not in KINDS:
        raise UserError(f"model.pooler is one of {', '.join(KINDS)}, not {kind!r}.")
    return Mean(tokens if kind == "first" else None, tokens if kind == "last" else None)
