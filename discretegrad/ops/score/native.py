"""One-hots and sums of them as C kernels: every row is written once."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops import native
from discretegrad.ops.layout import by_group

_one_hot = native.function("one_hot", pointers=2, sizes=2)
_score = native.function("score", pointers=6, sizes=5)


def one_hot(indices: Tensor, categories: int, dtype: torch.dtype) -> Tensor:
    """See `reference.one_hot`."""
    out = native.empty((*indices.shape, categories), dtype)
    _one_hot(dtype, indices.contiguous(), out, indices.numel(), categories, work=out.numel())
    return out


def scatter(indices: Tensor, coefficients: Tensor, categories: int, mask: Tensor | None = None) -> Tensor:
    """See `ops.score.scatter`; without a derivative."""
    return _sum(None, None, mask, indices, coefficients, categories, coefficients.dtype)


def score(probs: Tensor, indices: Tensor, coefficients: Tensor) -> Tensor:
    """See `ops.score.score`; without a derivative."""
    dtype = torch.promote_types(probs.dtype, coefficients.dtype)
    probs = probs.to(dtype).expand(*indices.shape[1:], -1).contiguous()
    return _sum(probs, None, None, indices, coefficients.to(dtype), probs.shape[-1], dtype)


def of_logits(logits: Tensor, indices: Tensor, coefficients: Tensor, mask: Tensor | None = None) -> Tensor:
    """See `ops.score.of_logits`; without a derivative."""
    dtype = torch.promote_types(logits.dtype, coefficients.dtype)
    logits = logits.to(dtype).contiguous()
    return _sum(None, logits, mask, indices, coefficients.to(dtype), logits.shape[-1], dtype)


def _sum(
    probs: Tensor | None,
    logits: Tensor | None,
    mask: Tensor | None,
    indices: Tensor,
    coefficients: Tensor,
    categories: int,
    dtype: torch.dtype,
) -> Tensor:
    points, rows = indices.shape[0], indices.shape[1:].numel()
    grouped, shared_by = by_group(coefficients, indices.shape)
    out = native.empty((*indices.shape[1:], categories), dtype)
    tensors = probs, logits, native.flags(mask, indices.shape[1:]), indices.contiguous(), grouped, out
    _score(dtype, *tensors, rows, categories, points, grouped.shape[1], shared_by, work=out.numel())
    return out
