"""One-hots and sums of them, fast on the CPU."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from discretegrad.ops.score import reference

LARGEST = 256
"""Up to so many categories one-hots are rows of the unit matrix, which stays in the cache."""


def one_hot(indices: Tensor, categories: int, dtype: torch.dtype) -> Tensor:
    """See `reference.one_hot`: a copy of rows, each written once."""
    if categories > LARGEST:
        return reference.one_hot(indices, categories, dtype)
    rows = unit_matrix(categories, dtype).index_select(0, indices.reshape(-1))
    return rows.reshape(*indices.shape, categories)


def scatter(indices: Tensor, coefficients: Tensor, categories: int) -> Tensor:
    """See `reference.scatter`: in place, without a copy of zeros."""
    index = indices.movedim(0, -1)
    source = coefficients.expand(indices.shape).movedim(0, -1)
    return source.new_zeros((*index.shape[:-1], categories)).scatter_add_(-1, index, source)


@functools.lru_cache(maxsize=64)
def unit_matrix(categories: int, dtype: torch.dtype) -> Tensor:
    """`[C, C]`, on the CPU."""
    return torch.eye(categories, dtype=dtype, device="cpu")
