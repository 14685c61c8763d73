"""Inverse CDFs by search in serial cumulative sums, of which each row of probabilities has one for all its draws."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

FEW = 256
"""Rows of up to so many bytes are looked at as a whole, which is faster than to wait for a binary search's branches."""


def inverse_cdf(probs: Tensor, noise: Tensor) -> Tensor:
    """See `reference.inverse_cdf`. Nothing of the size of `probs` times the draws is kept.

    Sums one after the other never fall, and rise at possible categories only.
    """
    cdf = probs.cumsum(-1, dtype=torch.promote_types(probs.dtype, noise.dtype))
    lead = cdf.shape[:-1]
    if noise.shape[noise.ndim - len(lead) :] != lead:
        noise = noise.expand(torch.broadcast_shapes(noise.shape, lead))
        cdf = cdf.expand(*noise.shape[noise.ndim - len(lead) :], -1)
        lead = cdf.shape[:-1]
    draws = noise.reshape(noise.shape[: noise.ndim - len(lead)].numel(), *lead) * cdf[..., -1]
    # A row without any mass has no category to draw; whoever asks for one does not look at it.
    return search(cdf, draws).clamp_max_(cdf.shape[-1] - 1).reshape(noise.shape)


def search(cdf: Tensor, threshold: Tensor, right: bool = True) -> Tensor:
    """The first category whose cumulative sum exceeds the threshold; or, if not `right`, reaches it.

    Args:
        cdf: `[*v, C]`, float32 or float64, finite, not falling along C.
        threshold: `[K, *v]`, below the last of the sums.

    Returns:
        int64 `[K, *v]`.
    """
    categories = cdf.shape[-1]
    if categories * cdf.itemsize > FEW:
        return torch.searchsorted(cdf.contiguous(), threshold.movedim(0, -1).contiguous(), right=right).movedim(-1, 0)
    # Comparisons into floats are vectorised, those into booleans are not. Half precision would count as well so far.
    below, ones = torch.empty_like(cdf), cdf.new_ones(categories)
    index = torch.empty(threshold.shape, dtype=torch.int64, device="cpu")
    for draw, one in enumerate(threshold.unsqueeze(-1)):
        (torch.le if right else torch.lt)(cdf, one, out=below)
        index[draw] = below @ ones
    return index


@functools.lru_cache(maxsize=64)
def row_starts(shape: torch.Size) -> Tensor:
    """Where in a flat table of `[*v, C]` every row starts, int64 `[*v]`."""
    lead = shape[:-1]
    return (torch.arange(lead.numel(), device="cpu") * shape[-1]).reshape(lead)


def look_up(entries: Tensor, index: Tensor) -> Tensor:
    """`entries[index]`, of `index`'s shape, for flat entries: several times as fast as by advanced indexing."""
    return entries.index_select(0, index.reshape(-1)).reshape(index.shape)
