"""One-hots, and gradients that are sums of them: the score function, and leave-one-out as its collapsed form."""

from __future__ import annotations

import torch
from torch import Tensor

from discretegrad.ops import dispatch
from discretegrad.ops.layout import switch_off
from discretegrad.ops.native import differentiated
from discretegrad.ops.score import fused, native, reference
from discretegrad.ops.score.reference import both_ways, interleave


def one_hot(indices: Tensor, categories: int, dtype: torch.dtype) -> Tensor:
    """See `reference.one_hot`."""
    chosen = dispatch.implementation(indices, dtype)
    if chosen == "native":
        return native.one_hot(indices, categories, dtype)
    if chosen == "triton" and dtype.is_floating_point:
        from discretegrad.ops.score import triton

        return triton.one_hot(indices, categories, dtype)
    return (reference if chosen == "reference" else fused).one_hot(indices, categories, dtype)


def scatter(indices: Tensor, coefficients: Tensor, categories: int, mask: Tensor | None = None) -> Tensor:
    """See `reference.scatter`; 0 where a mask `[*variables]` is False, whatever the ids there."""
    chosen = dispatch.implementation(coefficients)
    if chosen == "native" and not differentiated(coefficients):
        return native.scatter(indices, coefficients, categories, mask)
    if mask is not None:
        indices, coefficients = torch.where(mask, indices, 0), torch.where(mask, coefficients, 0.0)
    if chosen == "triton":
        from discretegrad.ops.score import triton

        return triton.scatter(indices, coefficients, categories)
    return (reference if chosen == "reference" else fused).scatter(indices, coefficients, categories)


def score(probs: Tensor, indices: Tensor, coefficients: Tensor) -> Tensor:
    """`sum_s coefficients_s * (e_{indices_s} - p)`, the score of a categorical variable w.r.t. its logits.

    Args:
        probs: `[*variables, C]`.
        indices: int64 `[S, *variables]`.
        coefficients: broadcastable to `indices`.

    Returns:
        `[*variables, C]`.
    """
    chosen = dispatch.implementation(probs)
    if not differentiated(probs, coefficients):
        if chosen == "triton":
            from discretegrad.ops.score import triton

            return triton.score(probs, indices, coefficients)
        if chosen == "native":
            return native.score(probs, indices, coefficients)
    total = coefficients.expand(indices.shape).sum(0)
    return scatter(indices, coefficients, probs.shape[-1]) - total.unsqueeze(-1) * probs


def of_logits(logits: Tensor, indices: Tensor, coefficients: Tensor, mask: Tensor | None = None) -> Tensor:
    """The same, p the softmax of the logits: kernels write no probabilities, and none where the coefficients sum to 0.

    Args:
        logits: `[*variables, C]`.
        indices, coefficients: as for `score`.
        mask: boolean, broadcastable to `[*variables]`; 0 at a variable where it is False, whatever its logits and ids.

    Returns:
        `[*variables, C]`.
    """
    chosen = dispatch.implementation(logits)
    if not differentiated(logits, coefficients):
        if chosen == "triton":
            from discretegrad.ops.score import triton

            return triton.of_logits(logits, indices, coefficients, mask)
        if chosen == "native":
            return native.of_logits(logits, indices, coefficients, mask)
    if mask is not None:
        indices, coefficients = torch.where(mask, indices, 0), torch.where(mask, coefficients, 0.0)
    return score(switch_off(logits, mask).softmax(-1), indices, coefficients)


__all__ = [
    "both_ways",
    "interleave",
    "of_logits",
    "one_hot",
    "scatter",
    "score",
]
