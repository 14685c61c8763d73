"""Readable reference of one-hots and their sums."""

from __future__ import annotations

import torch
from torch import Tensor


def one_hot(indices: Tensor, categories: int, dtype: torch.dtype) -> Tensor:
    """One-hots `[..., C]`. Unlike `torch.nn.functional.one_hot` it does not read the ids, so nothing waits for them."""
    return (indices.unsqueeze(-1) == torch.arange(categories, device=indices.device)).to(dtype)


def scatter(indices: Tensor, coefficients: Tensor, categories: int) -> Tensor:
    """`sum_s coefficients_s * e_{indices_s}`: S numbers a variable, nothing of size `[S, *variables, C]`.

    Args:
        indices: int64 `[S, *variables]`.
        coefficients: broadcastable to `indices`.
        categories: C.

    Returns:
        `[*variables, C]`.
    """
    index = indices.movedim(0, -1)
    source = coefficients.expand(indices.shape).movedim(0, -1)
    return source.new_zeros((*index.shape[:-1], categories)).scatter_add(-1, index, source)


def both_ways(differences: Tensor, others: Tensor | None = None) -> Tensor:
    """`[2P, ...]`, each difference for the first point of its pair and against the second, and others besides."""
    ends = interleave(differences, -differences)
    return ends if others is None else ends + others


def interleave(first: Tensor, second: Tensor) -> Tensor:
    """First points `[P, ...]` and second ones as pairs 2k and 2k + 1, `[2P, ...]`."""
    if first.shape[0] == 1:
        return torch.cat((first, second))
    return torch.stack((first, second), 1).flatten(0, 1)
