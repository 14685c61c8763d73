"""Readable reference of the score-function gradients."""

from __future__ import annotations

from torch import Tensor


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


def score(probs: Tensor, indices: Tensor, coefficients: Tensor) -> Tensor:
    """`sum_s coefficients_s * (e_{indices_s} - p)`, the score of a categorical variable w.r.t. its logits.

    Args:
        probs: `[*variables, C]`.
        indices: int64 `[S, *variables]`.
        coefficients: broadcastable to `indices`.

    Returns:
        `[*variables, C]`.
    """
    total = coefficients.expand(indices.shape).sum(0)
    return scatter(indices, coefficients, probs.shape[-1]) - total.unsqueeze(-1) * probs
