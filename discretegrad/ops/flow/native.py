"""Nearly distinct pairs as C kernels: a draw and a gradient look at each logit, and keep nothing of their size."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops import native
from discretegrad.ops.layout import by_group

_pairs = native.function("distinct_pairs", pointers=5, sizes=3)
_flow = native.function("distinct_flow", pointers=7, sizes=5)


def sample_distinct(logits: Tensor, noise: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor, bool]:
    """See `ops.flow.sample_distinct`. Kept are, of every row, two numbers and rho at the points, `[2 + 2P, *v]`."""
    pairs, dtype = noise.shape[1], logits.dtype
    indices = native.empty((2 * pairs, *noise.shape[2:]), torch.int64)
    kept = native.empty((2 + 2 * pairs, *noise.shape[2:]), dtype)
    rows, noise = logits.shape[:-1].numel(), noise.double().contiguous()
    sizes = rows, logits.shape[-1], pairs
    flags = native.flags(mask, logits.shape[:-1])
    sound = _pairs(dtype, logits.contiguous(), noise, flags, indices, kept, *sizes, work=logits.numel())
    return indices, kept, sound


def flow_of_distinct(
    logits: Tensor,
    indices: Tensor,
    coefficients: Tensor,
    others: Tensor | None = None,
    kept: Tensor | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    """See `ops.flow.flow_of_distinct`; without a derivative."""
    dtype, points = torch.promote_types(logits.dtype, coefficients.dtype), indices.shape[0]
    logits = logits.to(dtype).contiguous()
    coefficients, shared_by = by_group(coefficients.to(dtype), indices.shape)
    if others is not None:
        others, other_shared_by = by_group(others.to(dtype), indices.shape)
        assert shared_by == other_shared_by
    kept = None if kept is None else kept.to(dtype).contiguous()
    out = native.empty(logits.shape, dtype)
    sizes = logits.shape[:-1].numel(), logits.shape[-1], points, coefficients.shape[1], shared_by
    tensors = logits, indices.contiguous(), coefficients, others, kept, native.flags(mask, logits.shape[:-1]), out
    _flow(dtype, *tensors, *sizes, work=out.numel())
    return out
